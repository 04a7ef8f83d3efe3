"""Faults on demand: files in the world's `faults` folder say at which point of which verb something goes wrong.

A file is one JSON object with the fields of a `Fault`. It fires `times` times across all processes, whichever comes
first, and is then gone; an empty folder costs one look. Several for one point fire in the order of their names.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from configdrive.errors import PermanentCode, PermanentError, StaleCode, TransientCode, error_of
from workers.hypervisors.simulated.inventory import Verb

FOLDER: Final = "faults"


class Point(StrEnum):
    """Where in a verb: before it does anything, halfway, when all is done.

    Halfway is with half of the bytes written (upload, copy), or at each storage (observe).
    """

    BEFORE = "before"
    MIDDLE = "middle"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a verb is: at which VM, host and storage."""

    vm: str | None
    host: str | None
    storage: str | None = None


class _At(BaseModel):
    """Which verb, and where in it; `vm` (uuid), `host` and `storage` narrow it down.

    `times` 0 fires until the file is removed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verb: Verb
    when: Point = Point.BEFORE
    vm: str | None = None
    host: str | None = None
    storage: str | None = None
    times: int = Field(default=1, ge=0)

    def matches(self, verb: Verb, point: Point, spot: Spot) -> bool:
        """Say whether this is the place."""
        return (
            (self.verb, self.when) == (verb, point)
            and self.vm in {None, spot.vm}
            and self.host in {None, spot.host}
            and self.storage in {None, spot.storage}
        )


class Raise(_At):
    """The verb fails with this code."""

    action: Literal["raise"] = "raise"
    code: TransientCode | PermanentCode | StaleCode


class Hang(_At):
    """The hypervisor does not answer for `seconds`; the driver's own time limit still holds.

    With `until` it does not answer before that file is there, whatever the limit.
    """

    action: Literal["hang"] = "hang"
    seconds: float = Field(default=0.02, gt=0)
    until: Path | None = None


class Kill(_At):
    """The process that runs the verb dies by SIGKILL."""

    action: Literal["kill"] = "kill"


class Freeze(_At):
    """The process that runs the verb stands still (SIGSTOP) for `seconds`; 0: until somebody lets it go on."""

    action: Literal["freeze"] = "freeze"
    seconds: float = Field(default=0.0, ge=0)


Fault = Raise | Hang | Kill | Freeze

FREEZES: Final = "freezes"
"""The file with a line for each process that stood still by a fault: its id, since when, until when (in ticks)."""

_FAULT: Final[TypeAdapter[Fault]] = TypeAdapter(Annotated[Fault, Field(discriminator="action")])


class Faults:
    """The faults that are waiting in one world."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    def prepare(self) -> None:
        """Make the folder if it is not there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def inject(self, fault: Fault) -> Path:
        """Lay a fault down, and say where: its file can be removed. Faults fire in the order of their injection."""
        path = self._folder / f"{time.time_ns()}-{os.getpid()}-{threading.get_ident()}.json"
        _write(path, fault)
        return path

    def clear(self) -> None:
        """Take all faults away."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def fire(self, verb: Verb, point: Point, spot: Spot, wait: Callable[[float], None]) -> None:
        """Let happen what waits for this point; `wait` is how the driver waits for a hypervisor, in seconds.

        Raises:
            FleetError: as the fault says; `MISCONFIGURED` when a file is no fault.
        """
        with os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
        for name in names:
            path = self._folder / name
            fault = _read(path)
            if fault is not None and fault.matches(verb, point, spot) and _take(path, fault):
                self._act(fault, wait)

    def freezes(self) -> list[tuple[int, int, int]]:
        """Return the processes that stood still by a fault and went on, since when and until (audit log's ticks)."""
        path = self._folder.parent / FREEZES
        lines = path.read_text("ascii").splitlines() if path.exists() else []
        return [(int(pid), int(since), int(until)) for pid, since, until in map(str.split, lines)]

    def _act(self, fault: Fault, wait: Callable[[float], None]) -> None:
        match fault:
            case Raise(code=code):
                raise error_of(code, f"injected {fault.when} {fault.verb}")
            case Hang(seconds=seconds, until=until):
                if until is None:
                    wait(seconds)
                while until is not None and not until.exists():
                    wait(seconds)
            case Kill():
                os.kill(os.getpid(), signal.SIGKILL)
            case Freeze(seconds=seconds):
                self._freeze(seconds)

    def _freeze(self, seconds: float) -> None:
        if seconds:  # by a process of its own: nothing in this one runs meanwhile
            waker = ["sh", "-c", 'sleep "$1"; kill -CONT "$2"', "waker", str(seconds), str(os.getpid())]
            subprocess.Popen(waker, start_new_session=True)
        since = time.monotonic_ns()
        os.kill(os.getpid(), signal.SIGSTOP)
        with (self._folder.parent / FREEZES).open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {since} {time.monotonic_ns()}\n")


def _read(path: Path) -> Fault | None:
    try:
        return _FAULT.validate_json(path.read_bytes())
    except FileNotFoundError:  # somebody else was first
        return None
    except ValidationError as error:
        raise PermanentError(
            PermanentCode.MISCONFIGURED, f"{path.name} is no fault: {error.errors()[0]['msg']}", "mend or remove it"
        ) from error


def _take(path: Path, fault: Fault) -> bool:
    """Use a fault up once; say whether it was still there for us."""
    if fault.times == 0:
        return True
    claim = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.rename(claim)  # of all who read it, one wins
    except FileNotFoundError:
        return False
    left = _FAULT.validate_json(claim.read_bytes())  # another may have used it up once since we read it
    if left.times > 1:
        _write(path, left.model_copy(update={"times": left.times - 1}))
    claim.unlink()
    return True


def _write(path: Path, fault: Fault) -> None:
    part = path.with_name(f"{path.name}.part-{threading.get_ident()}")
    part.write_text(fault.model_dump_json(), encoding="utf-8")
    part.rename(path)
