"""The VM's mailbox as the tasks see it: a door (`Mailbox`) and the plain data that goes through it.

Semantics of an SQS FIFO message group: the events of one VM are worked on one at a time and in order, those of
different VMs never wait for one another. A mailbox entry lives until its outcome is written, whatever process dies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from configdrive.contract.outcome import Outcome
from configdrive.model import EventId, HostName, ImageName, VmUuid


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the clear of an event: enough to wake a worker and to decide on what waits.

    `event_type` is the short word (`deploy`), `queue` the Celery queue's name, `traceparent` the publisher's W3C trace.
    """

    event_id: EventId
    event_type: str
    vm_uuid: VmUuid
    queue: str
    sequence: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """An event on its way into a mailbox. `body` is its JSON, secrets sealed."""

    header: Header
    body: bytes


@dataclass(frozen=True, slots=True)
class Wake:
    """A wake-up that must be sent: for this event, which begins its `attempt`-th time."""

    header: Header
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a posting.

    `accepted` is false for an event id that is known already; `first` is then the first one's outcome so far (`None`
    while it waits). `wake`: a wake-up that the publisher has to send.
    """

    event_id: EventId
    accepted: bool
    first: Outcome | None = None
    wake: Wake | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a VM's head event.

    Args:
        epoch: the fencing token; only the newest may change anything.
        attempt: how many times this event was begun, this time included.
        deaths: how many of them ended with a worker that never gave its lease back.
        body: the event's JSON; empty when it is missing.
        state: what is remembered of the VM; `None` when nothing.
        waiting: the headers of the events behind it, oldest first.
    """

    header: Header
    epoch: int
    attempt: int
    deaths: int
    body: bytes
    state: str | None
    waiting: tuple[Header, ...]

    @property
    def vm_uuid(self) -> VmUuid:
        """The VM."""
        return self.header.vm_uuid


@dataclass(frozen=True, slots=True)
class Held:
    """The right to work on a VM for which no event waits. `epoch` and `state` as in a claim."""

    vm_uuid: VmUuid
    epoch: int
    state: str | None


Right = Claim | Held


@dataclass(frozen=True, slots=True)
class Debt:
    """What a host has of a VM, as it was noted when an event of this queue ended."""

    queue: str
    host: HostName


@dataclass(frozen=True, slots=True)
class Glance:
    """A VM at a moment, without any right to it: whether its events wait or are in work, and what is remembered."""

    in_work: bool
    state: str | None


class NotNow(StrEnum):
    """Why a claim was not given: no mail, another event is at the head, parked, a back-off, or a worker is at it.

    And why a hold was not: an event waits, or a worker is at it.
    """

    WAITING = "waiting"
    EMPTY = "empty"
    NOT_HEAD = "not_head"
    PARKED = "parked"
    TOO_EARLY = "too_early"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Finish:
    """The event is done with. `state` is what to remember (`None`: as it was); `gone` makes it a tombstone.

    `left_on` are the hosts that have to be asked again for what they could not give up (`Mailbox.hosts_owing`).
    """

    outcome: Outcome
    state: str | None = None
    gone: bool = False
    left_on: tuple[HostName, ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """Try the event again after `delay` seconds; `code` says why."""

    delay: float
    code: str


@dataclass(frozen=True, slots=True)
class ParkIt:
    """Leave the event at the head until a person retries or skips it."""

    outcome: Outcome


Ending = Finish | Again | ParkIt


class FencedError(Exception):
    """Another worker has taken the VM over; nothing was written."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be taken as an event: when (seconds since 1970 UTC), from where, and why. Never its content."""

    at: float
    origin: str
    reason: str
    event_id: str | None = None
    vm_uuid: str | None = None


@dataclass(frozen=True, slots=True)
class VmView:
    """One VM as operators see it. Times are seconds since 1970 UTC; `state` is the record at rest, boxes closed."""

    uuid: VmUuid
    mail: tuple[Header, ...]
    state: str | None
    parked: str | None
    attempts: int
    owner: str | None
    leased_until: float | None
    due: float | None
    reason: str | None


class PersonsWord(StrEnum):
    """What a person says to a waiting or parked event."""

    RETRY = "retry"
    SKIP = "skip"


class Mailbox(Protocol):
    """The store of all mailboxes. All times are the store's own, so that workers' clocks do not matter."""

    def put(self, posting: Posting) -> Receipt:
        """Take one event in, once."""

    def put_many(self, postings: Sequence[Posting]) -> list[Receipt]:
        """Take many events in, in order, with one round trip."""

    def claim(self, vm_uuid: VmUuid, event_id: EventId) -> Claim | NotNow:
        """Take the lease on a VM, if this event is at its head."""

    def renew(self, right: Right) -> bool:
        """Keep the lease; false when it is another's by now."""

    def done(self, claim: Claim, ending: Ending) -> Wake | None:
        """End the turn; answers the wake-up to send for the VM's next event.

        Raises:
            FencedError: another worker has the VM by now.
        """

    def hold(self, vm_uuid: VmUuid) -> Held | NotNow:
        """Take the lease on a VM for which no event waits; what comes meanwhile waits for `release`."""

    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, paid: Debt | None = None
    ) -> Wake | None:
        """Give a hold back; answers the wake-up to send when an event has come meanwhile.

        Args:
            held: the hold.
            state: what to remember (`None`: as it was).
            gone: it is a tombstone now.
            paid: a host that has nothing of the VM any more.

        Raises:
            FencedError: another worker has the VM by now.
        """

    def glance(self, vm_uuid: VmUuid) -> Glance:
        """Look at a VM."""

    def stray_for(self, image: ImageName, *, note: bool) -> float | None:
        """Return for how many seconds an image is known to be nobody's; `note` it from now on."""

    def forget_stray(self, image: ImageName) -> None:
        """Note that an image is gone, or is somebody's."""

    def sweep(self, queue: str, limit: int) -> list[Wake]:
        """Find wake-ups that are missing or due on one queue."""

    def hosts_owing(self, queue: str, pause: float) -> list[HostName]:
        """Find the hosts that still have something of a queue's VMs and are to be asked now; again after `pause` s."""

    def may_ask(self, queue: str, host: HostName, seconds: float) -> bool:
        """Say whether a host may be asked now: once in so many seconds."""

    def owed(self, queue: str) -> dict[HostName, list[VmUuid]]:
        """Return the VMs of a queue of which hosts still have something."""

    def word(self, vm_uuid: VmUuid, event_id: EventId, word: PersonsWord, outcome: Outcome | None) -> Wake | str | None:
        """Carry out a person's word on the head event; a string says why it could not be."""

    def outcome_of(self, event_id: EventId) -> Outcome | None:
        """Return the outcome so far; `None` while the event waits or when it is not known (any more)."""

    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        """Follow the outcome stream from a position (`$`: only new ones, `0`: all that are kept)."""

    def end_of_outcomes(self) -> str:
        """Return the stream's present end, to follow from without missing what comes between two calls."""

    def bury(self, letter: DeadLetter) -> None:
        """Put something on the dead-letter list."""

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
