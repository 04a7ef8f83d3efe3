"""The reaper: a process beside this one that ends all that rigs have started when this one ends, whatever ends it.

A parent-death signal (`rigs.process`) reaches a daemon and not what the daemon has forked, and nothing reaches either
when a run hangs in its clean-up. What a rig starts inherits a mark in its environment; the reaper looks for that.
"""

import contextlib
import os
import select
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

MARK: Final = "RIGS_OF"
"""The variable that names the runs whose rigs a process belongs to: a run within a run belongs to both."""

_PATIENCE: Final = 4.0
"""Seconds that an interrupted run has to take its rigs down in order."""

_REPORT: Final = 3.0
"""Seconds that it has from then on to print what it has found: within ten nothing of a run is left."""

_lines: dict[int, int] = {}
"""Process id -> what its reaper listens to."""


def watch_over() -> None:
    """Have a reaper for this process; what it starts from now on is marked. Once is enough."""
    if os.getpid() in _lines:
        return
    token = uuid.uuid4().hex
    argv = [sys.executable, "-I", "-S", __file__, token, str(os.getpid())]
    heard, said = os.pipe()
    os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, heard, 0)], setsid=True)
    os.close(heard)
    _lines[os.getpid()] = said
    os.environ[MARK] = f"{os.environ.get(MARK, '')}:{token}"


def heed_interrupts() -> None:
    """Let an interrupt end this process within seconds: what hangs in its clean-up by then is ended by the reaper."""

    def strike(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(_lines[os.getpid()], b".")
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        watch_over()
        signal.signal(signal.SIGINT, strike)


def marked(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that is not made from this process' own, with the mark."""
    return {**environment, MARK: os.environ.get(MARK, "")}


def processes_with(mark: bytes) -> Iterator[int]:
    """Yield the ids of all processes in whose first environment these bytes stand."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes():
                yield int(process.name)


def _end_all(token: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while found := [pid for pid in processes_with(token.encode()) if pid != os.getpid()]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _run(token: str, owner: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        pidfd = os.pidfd_open(owner)
    except ProcessLookupError:
        _end_all(token, _PATIENCE)
        return
    select.select([pidfd, sys.stdin], [], [])
    if not select.select([pidfd], [], [], _PATIENCE)[0]:
        _end_all(token, _PATIENCE)
        if not select.select([pidfd], [], [], _REPORT)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _end_all(token, _PATIENCE)


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]))
