"""Faults that a test plants: errors, connections that break, answers that take their time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from rigs.xapi.errors import XapiError

IMPORT = "PUT /import_raw_vdi"
EXPORT = "GET /export_raw_vdi"
"""What the HTTP handlers are called where a method is asked for."""


class Kind(Enum):
    """What happens to a call."""

    FAIL = auto()
    DROP_BEFORE = auto()
    DROP_AFTER = auto()
    DELAY = auto()


@dataclass
class Fault:
    """One planted fault.

    Attributes:
        kind: what it does.
        left: how many calls it still meets; `None`: all, until it is cleared.
        description: the `ErrorDescription` of a `FAIL`.
        seconds: the length of a `DELAY`.
        meanwhile: what happens to the host just then.
        passes: how many calls it lets pass before.
        met: the method that it met last.
    """

    kind: Kind
    left: int | None = 1
    description: tuple[str, ...] = ()
    seconds: float = 0.0
    meanwhile: Callable[[], None] | None = None
    passes: int = 0
    met: str = ""

    def break_off(self) -> None:
        """Do what happens to the host when the connection breaks."""
        if self.meanwhile is not None:
            self.meanwhile()


def fail_if_planted(fault: Fault | None) -> None:
    """Raise the error of a `FAIL`; do nothing otherwise.

    Raises:
        XapiError: the planted one.
    """
    if fault is not None and fault.kind is Kind.FAIL:
        raise XapiError(*fault.description)


class Faults:
    """The faults of one pool, by method (`VBD.insert`; `*`: every method).

    Several faults of one method are met one after the other, in the order in which they were planted; delays are met
    together with whatever comes next.
    """

    def __init__(self) -> None:
        self._planted: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._cleared = threading.Event()

    def fail(self, method: str, *description: str, times: int | None = 1) -> None:
        """Answer `description` (code, parameters) instead of doing anything.

        An import answers 200 all the same, takes the body, writes half of it, and fails its task.
        """
        self.plant(method, Fault(Kind.FAIL, times, description))

    def drop(
        self,
        method: str,
        *,
        after_effect: bool = True,
        times: int | None = 1,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Break the connection without an answer: after the call has had its effect, or before.

        An import is broken off before its answer, or after 200 and half of the body. `meanwhile` is what happens to the
        host just then, such as a restart of its toolstack.
        """
        kind = Kind.DROP_AFTER if after_effect else Kind.DROP_BEFORE
        self.plant(method, Fault(kind, times, meanwhile=meanwhile))

    def delay(self, method: str, seconds: float, *, times: int | None = 1) -> None:
        """Wait before the call has its effect, until `clear` at the longest; other calls go on.

        An import waits before its task ends.
        """
        self.plant(method, Fault(Kind.DELAY, times, seconds=seconds))

    def plant(self, method: str, fault: Fault) -> None:
        """Plant one that is made already: it says what it met."""
        with self._lock:
            self._planted.setdefault(method, []).append(fault)

    def clear(self) -> None:
        """Forget every fault, and let those that wait go on."""
        with self._lock:
            self._planted.clear()
            cleared, self._cleared = self._cleared, threading.Event()
        cleared.set()

    def wait(self, seconds: float) -> None:
        """Wait as a planted delay says."""
        if seconds:
            self._cleared.wait(seconds)

    def take(self, method: str) -> tuple[float, Fault | None]:
        """Use up what is planted for one call: the seconds to wait, and what happens then."""
        seconds = 0.0
        with self._lock:
            for name in (method, "*"):
                for fault in list(self._planted.get(name, ())):
                    if fault.passes > 0:
                        fault.passes -= 1
                        continue
                    fault.met = method
                    if fault.left is not None:
                        fault.left -= 1
                        if fault.left <= 0:
                            self._planted[name].remove(fault)
                    if fault.kind is not Kind.DELAY:
                        return seconds, fault
                    seconds += fault.seconds
        return seconds, None
