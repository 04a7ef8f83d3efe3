"""The files in which the processes of a worker's pool keep their counters, for its main process to read.

prometheus_client's way for several processes: each maps files of its own into memory, the main process adds them up.
They are named after a child's place in the pool, not its process id: the successor of a child that died goes on with
its counters, so they neither fall nor pile up, and takes its gauges back to zero (`WorkMetrics.forget_work`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from billiard import current_process
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

_PREFIX = "configdrive-metrics-"
_LOCK = "in-use"
_YOUNG_SECONDS = 60.0


class MetricFiles:
    """A private directory for the counters' files, as long as this process lives.

    From its making on, every counter that is made without a registry lies in it. What workers that were killed have
    left is removed: nobody holds its lock any more.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        _remove_abandoned(parent)
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
        self._owner = os.getpid()
        self._lock = os.open(self.directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        # Children have it too, by the fork: files are not removed under one that outlives its main process.
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.directory)  # prometheus_client reads it at each file's making
        # The documented way to give the files names of one's own; it is not typed.
        values.ValueClass = MultiProcessValue(_place_in_pool)  # type: ignore[no-untyped-call]

    def collect_into(self, registry: CollectorRegistry) -> None:
        """Have a registry add up what all processes have counted."""
        MultiProcessCollector(registry, str(self.directory))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the directory. In a forked child nothing happens."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.directory, ignore_errors=True)


def _place_in_pool() -> str:
    """Name this process: `main`, or the place of a child in the pool, which its successor takes."""
    place = getattr(current_process(), "index", None)
    return "main" if place is None else f"child{place}"


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            if not (directory / _LOCK).exists():  # being made at this moment, or a stillbirth
                if time.time() - directory.stat().st_mtime > _YOUNG_SECONDS:
                    shutil.rmtree(directory)
                continue
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)
            finally:
                os.close(lock)
