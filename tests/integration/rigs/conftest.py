"""The rigs themselves, as their own tests use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.guest import GuestKernel
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="package")
def guest() -> GuestKernel:
    with require_rig():
        return GuestKernel.prepare()


@pytest.fixture
def killed_after() -> Callable[..., list[int]]:
    """Run a script that prints process ids, one a line, kill it with SIGKILL, and return the ids."""

    def run(script: str, *arguments: str) -> list[int]:
        with subprocess.Popen(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            pids = [int(line) for line in iter(process.stdout.readline, "\n")]
            process.kill()
        return pids

    return run


def gone(pid: int) -> bool:
    """Say whether a process has ended (one that nobody has asked for its exit status yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
