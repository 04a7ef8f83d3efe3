"""A crash: what the worker had in its memory, passwords among it, is not written to a file."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from tests.e2e.site import new_vm

if TYPE_CHECKING:
    from tests.e2e.site import Site


def limits(pid: int) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return " ".join(next(line for line in lines if line.startswith("Max core file size")).split()[4:6])


def test_crashed_child_leaves_no_core_file(site: Site) -> None:
    """The site was started by a process that lets those that it starts write core files."""
    worker = site.workers[0]
    assert site.outcome(new_vm().event("start", guest={"password": "swordfish"})).status is Status.APPLIED
    children = worker.children()
    assert {limits(pid) for pid in (worker.pid, *children)} == {"0 0"}
    before = set(Path.cwd().iterdir())
    os.kill(children[0], signal.SIGSEGV)
    wait_until(lambda: children[0] not in worker.children(), "the child to end", timeout=10)
    assert site.outcome(new_vm().event("start")).status is Status.APPLIED
    assert [path for path in set(Path.cwd().iterdir()) - before if path.name.startswith("core")] == []
