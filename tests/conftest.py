"""Settings of the whole suite: a marker from each test's folder, and what Hypothesis may cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from rigs import reaper, simulated
from tests.support import on_ci

HERE = Path(__file__).parent
KINDS = frozenset({"unit", "contract", "integration", "e2e", "chaos"})

# No deadline: the machine is shared with QEMU. On CI Hypothesis takes its own profile, which repeats exactly.
settings.register_profile("laptop", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile("ci" if on_ci() else "laptop")


def pytest_configure() -> None:
    """Whatever a test starts ends with this run, whatever ends the run."""
    reaper.watch_over()
    reaper.heed_interrupts()
    simulated.plug_in()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the kind that its folder names, so that `-m "not e2e"` works."""
    for item in items:
        if item.path.is_relative_to(HERE):
            kind = item.path.relative_to(HERE).parts[0]
            if kind in KINDS:
                item.add_marker(getattr(pytest.mark, kind))
