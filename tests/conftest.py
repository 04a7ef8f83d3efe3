"""Settings of the whole suite: a marker from each test's folder, and what Hypothesis may cost."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rigs import process, reaper, simulated
from tests.support import on_ci

HERE = Path(__file__).parent
KINDS = frozenset({"unit", "contract", "integration", "e2e", "chaos"})

# No deadline: the machine is shared with QEMU. A third of Hypothesis' usual examples find what was broken on purpose as
# well, in a third of the CPU; on CI they repeat exactly. How fast examples come is the machine's, as "ci" has it.
_SLOW = [HealthCheck.too_slow]
settings.register_profile("laptop", deadline=None, max_examples=33, suppress_health_check=_SLOW)
settings.register_profile("repeated", settings.get_profile("ci"), max_examples=33)
settings.register_profile("thorough", deadline=None, max_examples=5000, suppress_health_check=_SLOW)
settings.load_profile("repeated" if on_ci() else "laptop")


# Containers set this variable. With it, each of the processes that run the tests rewrites the asserts of all of them
# (a minute and a half of CPU), and each of the hundreds that they start compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# A limit of a wait is for a machine that does nothing else; a failing test may take its time.
process.patience = 20


def pytest_configure() -> None:
    """Whatever a test starts ends with this run, whatever ends the run."""
    reaper.watch_over()
    reaper.heed_interrupts()
    simulated.plug_in()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:  # noqa: ANN401 - xdist's own
    """With `-n`, files go to processes as `tests.schedule` says."""
    from tests.schedule import Schedule  # noqa: PLC0415 - xdist may be missing

    return Schedule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the kind that its folder names, so that `-m "not e2e"` works."""
    for item in items:
        if item.path.is_relative_to(HERE):
            kind = item.path.relative_to(HERE).parts[0]
            if kind in KINDS:
                item.add_marker(getattr(pytest.mark, kind))
