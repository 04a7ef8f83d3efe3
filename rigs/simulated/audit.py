"""The audit log: one line of JSON for each beginning, change and end of a verb, from all processes, in order.

Tests read it to prove order, overlap and "never the wrong drive" at every step. A process that is killed between a
change and its line, or within the line (it ends where a page of memory does), leaves that one line out; the world
itself is always the truth.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from configdrive.model import Place

FILE_NAME: Final = "audit.jsonl"

KEPT: Final = "attached"
"""The folder with every image that was ever attached, under its name and inode: a later one of the same name is another
file. Hard links, so they cost nothing while the image itself is there."""

Fact = dict[str, object]
"""What a drive or a file was, or has become; never any of its content."""


class Mark(StrEnum):
    """Which part of a verb a line is about."""

    BEGIN = "begin"
    CHANGE = "change"
    END = "end"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Args:
        at: seconds since 1970 UTC.
        tick: nanoseconds of the machine's monotonic clock: the same clock in all its processes.
        pid, thread: who did it.
        verb: a verb of the port, or `world.<verb>` for what the orchestrator or guest did.
        vm: the VM's uuid; empty for a verb without one.
        image: the image's file name.
        place: the storage, as `host/storage` or `storage`.
        before, after: of a change, what the drive or file was and is; `None` is "not there".
        error: of an end, the code; `None` when it went well.
    """

    at: float
    tick: int
    pid: int
    thread: int
    verb: str
    mark: Mark
    vm: str = ""
    image: str | None = None
    place: str | None = None
    before: Fact | None = None
    after: Fact | None = None
    error: str | None = None


class AuditLog:
    """Appends entries, whole lines at a time, whichever processes write.

    Where the folder `attached` is, every image is kept before it comes into a drive, so that a test can look at all
    that guests ever saw. Without the file of the log, nothing is written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._kept = directory / KEPT
        self._enabled = self._path.exists()
        self._keep = self._kept.exists()
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self._enabled

    def write(self, verb: str, mark: Mark, vm: str, *, place: Place | None = None, **more: object) -> None:
        """Append one line; `more` are further fields of an `Entry`."""
        if not self._enabled:
            return
        known = {
            "at": time.time(),
            "tick": time.monotonic_ns(),
            "pid": os.getpid(),
            "thread": threading.get_ident(),
            "verb": verb,
            "mark": mark,
            "vm": vm,
            "place": None if place is None else "/".join(filter(None, (place.host, place.storage))),
            **more,
        }
        fields = {key: value for key, value in known.items() if value is not None}
        os.write(self._open(), b"\n" + json.dumps(fields).encode() + b"\n")  # the first ends a line that was torn

    def keep(self, image: Path) -> None:
        """Keep an image that is about to be attached."""
        if not self._keep:
            return
        with suppress(FileExistsError, FileNotFoundError):  # attached before; or a halted VM was moved before its image
            (self._kept / f"{image.name}.{image.stat().st_ino}").hardlink_to(image)

    def _open(self) -> int:
        with self._lock:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            return self._descriptor

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def begin_audit(directory: Path, *, keep: bool = False) -> None:
    """Have everything written down from now on, and with `keep` every attached image kept, passwords and all."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / FILE_NAME).touch(0o600)
    if keep:
        (directory / KEPT).mkdir(mode=0o700, exist_ok=True)


def read_audit(directory: Path) -> Iterator[Entry]:
    """Read the log of a simulated world, oldest line first; nothing when there is none."""
    path = directory / FILE_NAME
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                fields = json.loads(line)
            except json.JSONDecodeError:  # torn, or empty
                continue
            yield Entry(**{**fields, "mark": Mark(fields["mark"])})
