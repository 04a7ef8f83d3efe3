"""The isolation of places that hang: one attempt of the whole fleet waits at such a host or storage, no more.

Processes share no memory, so what they know of places stands in the store (`Places`). An attempt that has waited
somewhere for a while doubts the place; when nobody has come out of it for as long again, or a call there has timed out,
it hangs. Then one attempt at a time may be there: the others leave, are `deferred`, and count as none. Whoever comes
out well ends that.

The same store has the lines for what goes one at a time (`InLine`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from typing_extensions import override

from configdrive.errors import FleetError, PermanentError, TransientCode, TransientError
from configdrive.model import HypervisorName, VmUuid
from configdrive.places import PlaceHangs, deferred, watched_by

_log = logging.getLogger(__name__)

DOUBT_SECONDS = 5.0
"""How long an attempt waits at a place before it doubts it, and how long doubt lasts before it counts as hanging."""

ALONE_SECONDS = 5.0
"""How long an attempt waits in line; then it is deferred, and its worker does something else."""

BEGUN_SECONDS = 15.0
"""How long one waits that has begun, so that only those at work are before it: deferred, it would look anew."""

_PAUSE, _LONGEST_PAUSE = 0.01, 0.2
"""Between two questions whether it is time: for each one that is before, and at most."""

_AT_WORK = 3
"""So many of those in line work on their VMs: enough for one of them to be always there, and none waits for long."""

_LOOKS = 5
"""How often a process looks at its attempts while the first of these times passes."""


class Found(StrEnum):
    """What is known of a place: it is open to all, one attempt may be there and it is this one, or another's."""

    OPEN = "open"
    MINE = "mine"
    TAKEN = "taken"


class Leaving(StrEnum):
    """What one does who is alone no more, or waits no more: works on its VM, is deferred, or has ended."""

    WORKS = "works"
    DEFERRED = "deferred"
    ENDED = "ended"


class Places(Protocol):
    """What the fleet knows of places. An `owner` is one attempt; who is `in_line` is a VM, whatever attempt it has."""

    def enter_place(self, hypervisor: HypervisorName, place: str, owner: str) -> Found:
        """Be the one at a place that hangs; again while one is. `OPEN`: it hangs no more."""

    def doubt_place(self, hypervisor: HypervisorName, place: str, owner: str) -> Found:
        """Say that an attempt has waited there for long, and waits still; again while it does."""

    def come_alone(self, what: str, in_line: str) -> int:
        """Come to something that goes one at a time; again while one waits. Answers how many are before: 0 is in."""

    def come_near(self, what: str, in_line: str) -> int:
        """Come to the same line; answers how many are before, with those who work on their VMs, at it or not."""

    def go_away(self, what: str, in_line: str, leaving: Leaving) -> None:
        """Be there no more, and do not wait now; unless it has ended, the place in line is kept for a while."""

    def leave_place(self, hypervisor: HypervisorName, place: str, owner: str, *, hangs: bool | None) -> None:
        """Be there no more; `hangs`: whether it does, `None` when that is not known."""


class Isolation:
    """Watches the attempts of one process.

    Args:
        places: what the fleet knows.
        doubt: seconds after which a place is doubted (`DOUBT_SECONDS`).
        interrupt: has a thread call `Visit.require_welcome`, though it waits in a call; `None` where nothing can.
    """

    def __init__(
        self, places: Places, *, doubt: float = DOUBT_SECONDS, interrupt: Callable[[int], None] | None = None
    ) -> None:
        self.places = places
        self.doubt = doubt
        self.interrupt = interrupt
        self._visits: set[Visit] = set()
        self._lock = threading.Lock()
        self._watching = False

    @contextmanager
    def watch(self, hypervisor: HypervisorName, owner: str, hanging: frozenset[str], *, vm: VmUuid) -> Iterator[Visit]:
        """Watch the attempt that this thread makes within the block.

        Args:
            hypervisor: whose places.
            owner: of the claim.
            hanging: the places that hung when it was claimed.
            vm: whose attempt it is.
        """
        visit = Visit(self, hypervisor, owner, hanging, vm)
        with self._lock:
            self._visits.add(visit)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="isolation", daemon=True).start()
        try:
            with watched_by(visit):
                yield visit
        finally:
            with self._lock:
                self._visits.discard(visit)
            visit.end()

    def look(self) -> None:
        """Look at all attempts once."""
        with self._lock:
            visits = list(self._visits)
        for visit in visits:
            visit.look()

    def _watch(self) -> None:
        idle = 0
        while True:
            time.sleep(self.doubt / _LOOKS)
            self.look()
            with self._lock:
                idle = 0 if self._visits else idle + 1
                if idle > _LOOKS:
                    self._watching = False
                    return


class InLine:
    """One who has a VM, and waits in line for what goes one at a time; knows of no place that hangs.

    A place in line is the VM's until its work is done: who comes twice does not queue up twice, and who is deferred
    goes on where it was. Whoever is not there when its time comes is passed by, and does not lose its place.

    Args:
        places: what the fleet knows.
        name: the VM, or who else it is.
    """

    def __init__(self, places: Places, name: str) -> None:
        self._places = places
        self._name = name
        self._lines: set[str] = set()
        self._begun: set[str] = set()

    def enter(self, place: str) -> None:
        """See `configdrive.places.Visitor`."""

    def leave(self, error: BaseException | None) -> None:
        """See `configdrive.places.Visitor`."""

    def require_welcome(self) -> None:
        """See `configdrive.places.Visitor`."""

    def end(self) -> None:
        """Give all places in line up, but those where it was deferred."""
        for what in self._lines:
            self._go(what, Leaving.ENDED)

    @contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """Be the only attempt at something; see `configdrive.places.Visitor`."""
        waited = self._wait(what, self._places.come_alone, 0)
        self._begun.add(what)
        try:
            yield waited
        finally:
            self._go(what, Leaving.WORKS)

    def line_up(self, what: str) -> None:
        """Wait in line, but not to its end; see `configdrive.places.Visitor`."""
        self._wait(what, self._places.come_near, _AT_WORK - 1)
        self._begun.add(what)
        self._go(what, Leaving.WORKS)

    def _wait(self, what: str, come: Callable[[str, str], int], most: int) -> bool:
        """Wait until so many are before; answers whether there were more."""
        patience = BEGUN_SECONDS if what in self._begun else ALONE_SECONDS
        until, waited = time.monotonic() + patience, False
        self._lines.add(what)
        while (before := self._before(what, come)) > most:
            waited = True
            if time.monotonic() > until:
                self._lines.discard(what)
                self._go(what, Leaving.DEFERRED)
                detail = f"{what}: {before} attempts of other VMs are before this one"
                raise TransientError(TransientCode.DEFERRED, detail, "wait: each goes on by itself")
            time.sleep(min(before * _PAUSE, _LONGEST_PAUSE))
        return waited

    def _before(self, what: str, come: Callable[[str, str], int]) -> int:
        try:
            return come(what, self._name)
        except Exception as error:  # noqa: BLE001 - Redis may be away: the hypervisor has an order of its own
            _log.warning("nothing is known of %s: %s", what, type(error).__name__)
            return 0

    def _go(self, what: str, leaving: Leaving) -> None:
        try:
            self._places.go_away(what, self._name, leaving)
        except Exception as error:  # noqa: BLE001 - as above: its lease ends
            _log.warning("not said of %s that it was left: %s", what, type(error).__name__)


class Visit(InLine):
    """One attempt, and where it is (`configdrive.places.Visitor`)."""

    def __init__(
        self, isolation: Isolation, hypervisor: HypervisorName, owner: str, hanging: frozenset[str], vm: VmUuid
    ) -> None:
        super().__init__(isolation.places, vm)
        self._owner = owner
        self._isolation = isolation
        self._hypervisor = hypervisor
        self._thread = threading.get_ident()
        self._inside: list[tuple[str, float]] = []
        self._known = set(hanging)
        self._held: set[str] = set()
        self._unwelcome = ""
        self._blamed: BaseException | None = None
        self._waits = False
        self._failed: tuple[str, BaseException] | None = None

    @property
    def failed_at(self) -> str:
        """The place where the latest error came from, the innermost; empty when there was none."""
        return self._failed[0] if self._failed else ""

    @override
    def enter(self, place: str) -> None:
        """Go to a place, unless it hangs and another attempt is there; see `configdrive.places.Visitor`."""
        if place in self._known and place not in self._held:
            match self._ask(place, self._isolation.places.enter_place):
                case Found.TAKEN:
                    error = deferred(place)
                    self._failed = (place, error)
                    raise error
                case Found.MINE:
                    self._held.add(place)
                case Found.OPEN:
                    self._known.discard(place)
        self._inside.append((place, time.monotonic()))

    @override
    def leave(self, error: BaseException | None) -> None:
        """Come out of the place that was entered last."""
        place, since = self._inside.pop()
        self._unwelcome = ""
        waited = time.monotonic() - since >= self._isolation.doubt
        if error is not None and (self._failed is None or not _comes_of(error, self._failed[1])):
            self._failed = (place, error)
        if error is None:
            hangs = False if place in self._known else None
        elif waited and self._blamed is None and not _has_answered(error):
            hangs, self._blamed = True, error  # not also the host around the storage
        else:
            hangs = None
        if hangs is not None or place in self._held:
            self._tell(place, hangs)
        if hangs is False:
            self._known.discard(place)

    @override
    def end(self) -> None:
        """Be nowhere any more."""
        super().end()
        for place in list(self._held):
            self._tell(place, None)

    @override
    def require_welcome(self) -> None:
        """Return unless the attempt is to leave where it is; see `configdrive.places.Visitor`."""
        if self._inside and self._unwelcome == self._inside[-1][0]:
            raise PlaceHangs

    def look(self) -> None:
        """Doubt where the attempt has been for long; called by another thread."""
        for place in list(self._held):
            self._ask(place, self._isolation.places.enter_place)
        inside = self._inside[-1:]
        if not inside or self._waits or time.monotonic() - inside[0][1] < self._isolation.doubt:
            return
        place = inside[0][0]
        self._known.add(place)
        found = self._ask(place, self._isolation.places.doubt_place)
        if self._inside[-1:] != inside:  # it has just come out of it
            return
        if found is Found.MINE:
            self._held.add(place)
        elif found is Found.TAKEN and self._isolation.interrupt is not None:
            _log.warning("%s hangs: leaving it to another attempt", place)
            self._unwelcome = place
            self._isolation.interrupt(self._thread)

    @override
    def _wait(self, what: str, come: Callable[[str, str], int], most: int) -> bool:
        """Wait for others, which says nothing of the places where it is."""
        self._waits, began = True, time.monotonic()
        try:
            return super()._wait(what, come, most)
        finally:
            waited = time.monotonic() - began
            self._inside = [(place, since + waited) for place, since in self._inside]
            self._waits = False

    def _ask(self, place: str, question: Callable[[HypervisorName, str, str], Found]) -> Found:
        try:
            return question(self._hypervisor, place, self._owner)
        except Exception as error:  # noqa: BLE001 - Redis may be away: the attempt has other guards
            _log.warning("nothing is known of %s: %s", place, type(error).__name__)
            return Found.OPEN

    def _tell(self, place: str, hangs: bool | None) -> None:  # noqa: FBT001 - as in `leave_place`
        self._held.discard(place)
        try:
            self._isolation.places.leave_place(self._hypervisor, place, self._owner, hangs=hangs)
        except Exception as error:  # noqa: BLE001 - as above
            _log.warning("not said of %s that it was left: %s", place, type(error).__name__)


def _comes_of(error: BaseException, cause: BaseException) -> bool:
    """Whether an error is that one, or was raised while that one was handled."""
    later: BaseException | None = error
    while later is not None and later is not cause:
        later = later.__cause__ or later.__context__
    return later is cause


def _has_answered(error: BaseException) -> bool:
    """Whether an error says that somebody answered, or that nobody was asked."""
    return isinstance(error, PermanentError) or (
        isinstance(error, FleetError)
        and error.code
        not in {TransientCode.HOST_UNREACHABLE, TransientCode.STORAGE_UNAVAILABLE, TransientCode.TASK_TIMEOUT}
    )
