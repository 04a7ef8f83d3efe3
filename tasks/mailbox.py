"""The VM's mailbox as the tasks see it: a port for each of its users, and the plain data that goes through them.

Semantics of an SQS FIFO message group: the events of one VM are worked on one at a time and in order, those of
different VMs never wait for one another. A mailbox entry lives until its outcome is written, whatever process dies.
All times are the store's own, so that workers' clocks do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from configdrive.client.postings import Header
from configdrive.contract.outcome import Outcome
from configdrive.lifecycle.settled import Settled, Verified
from configdrive.model import EventKey, HostName, HypervisorName, ImageName, Intent, VmUuid


@dataclass(frozen=True, slots=True)
class Wakeup:
    """The message with which a worker comes: its task's id is the key of the event that was next when it was sent.

    Args:
        queue: from which it was taken.
        number: of the message among those of its queue; 0 of none.
    """

    key: EventKey
    vm_uuid: VmUuid
    queue: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a VM's next event.

    Args:
        epoch: the fencing token, with `owner`; only the newest may change anything.
        owner: another for every claim. A store that lost its newest writes hands an epoch out twice.
        attempt: how many times this event was begun, this time included.
        deaths: how many of them ended with a worker that never gave its lease back.
        body: the event's JSON; empty when it is missing.
        state: what is remembered of the VM; `None` when nothing.
        waiting: the headers of the events behind it, oldest first.
        intents: what earlier attempts were about to do, and no event has looked at since.
        waited: seconds since the event was posted.
        tried: seconds since its first attempt; an operator's retry begins anew.
        hanging: the hosts and storages that hang (`tasks.isolation`).
        trial: the code that the event was parked for, when this attempt finds out whether the place that was away is
            back; else empty.
    """

    header: Header
    epoch: int
    owner: str
    attempt: int
    deaths: int
    body: bytes
    state: str | None
    waiting: tuple[Header, ...]
    intents: tuple[Intent, ...] = ()
    waited: float = 0.0
    tried: float = 0.0
    hanging: frozenset[str] = frozenset()
    trial: str = ""

    @property
    def vm_uuid(self) -> VmUuid:
        """The VM."""
        return self.header.vm_uuid


@dataclass(frozen=True, slots=True)
class Held:
    """The right to work on a VM for which no event waits. `epoch`, `owner` and `state` as in a claim."""

    vm_uuid: VmUuid
    epoch: int
    owner: str
    state: str | None


Right = Claim | Held


class NotNow(StrEnum):
    """Why a claim was not given: no event, parked, a back-off, a worker is at it, or the event is another queue's.

    And why a hold was not: an event waits, or a worker is at it.
    """

    WAITING = "waiting"
    EMPTY = "empty"
    PARKED = "parked"
    TOO_EARLY = "too_early"
    BUSY = "busy"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the event again after `delay` seconds; `code` says why. What is not `counted` was no attempt.

    `detail` names the host or storage, for who looks at Flower; it is not stored.
    """

    delay: float
    code: str
    counted: bool = True
    detail: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Park:
    """Leave the event at the head until an operator retries or skips it, or the place is back that was away.

    Args:
        outcome: what is published.
        away: the host or storage whose absence is the cause; empty for another cause.
        stays: it was a trial, which has found nothing new: nothing is published again.
    """

    outcome: Outcome
    away: str = ""
    stays: bool = False


Ending = Settled | Retry | Park
"""How an attempt ends, as the policy decides it, the mailbox stores it, and Flower shows it."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """There was nothing to do, or the work is another's by now; nothing is stored.

    `outcome` is what the event came to earlier, when that is known.
    """

    why: str
    outcome: Outcome | None = None


class FencedError(Exception):
    """Another worker has taken the VM over; nothing was written."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a host has of a VM, as it was noted when an event of this queue ended."""

    queue: str
    host: HostName


@dataclass(frozen=True, slots=True)
class Doubt:
    """A VM that a worker may have left half-done. Its `mark` is another when that was noted again, or is looked at."""

    queue: str
    vm_uuid: VmUuid
    mark: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A VM at a moment, without any right to it: whether its events wait or are in work, and what is remembered."""

    in_work: bool
    state: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be taken as an event: when (seconds since 1970 UTC), from where, and why. Never its content."""

    at: float
    origin: str
    reason: str
    event_id: str | None = None
    vm_uuid: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class VmView:
    """One VM as operators see it. Times are seconds since 1970 UTC; `state` is the record at rest, secrets sealed.

    `message` is the number of the wake-up that is on its way for it, `due` when it is looked at again without one.
    `intents` are effects that were about to be tried, of which no event has said yet what became of them; `unverified`:
    a worker may have left the VM half-done, and nobody has looked since; `away`: the host or storage that the parked
    event waits for.
    """

    uuid: VmUuid
    mail: tuple[Header, ...]
    state: str | None
    parked: str | None
    attempts: int
    owner: str | None
    leased_until: float | None
    due: float | None
    message: int | None
    reason: str | None
    intents: tuple[Intent, ...] = ()
    unverified: bool = False
    away: str | None = None


class OperatorAction(StrEnum):
    """What an operator does with a waiting or parked event."""

    RETRY = "retry"
    SKIP = "skip"


class Leases(Protocol):
    """Leases that are there, of either kind."""

    def renew(self, right: Right) -> bool:
        """Keep the lease; false when it is another's by now."""

    def intend(self, right: Right, intents: Collection[Intent]) -> bool:
        """Keep the lease, and write down what is about to be done under it; false as for `renew`."""


class DeadLetters(Protocol):
    """The dead-letter list, as those see it who write on it."""

    def dead_letter(self, letter: DeadLetter) -> None:
        """Put something on the dead-letter list."""


class Doubts(Protocol):
    """The VMs that are to be verified, as those see it who may have left one half-done."""

    def note_doubt(self, queue: str, vm_uuid: VmUuid, intents: Collection[Intent] = ()) -> None:
        """Have a VM verified: a worker went on with it when it was another's already, and may have done these."""


class AttemptMailbox(Leases, DeadLetters, Doubts, Protocol):
    """What an attempt at an event needs."""

    def claim(self, wakeup: Wakeup) -> Claim | NotNow:
        """Take the lease on a VM for its next event, whatever event the message names."""

    def done(self, claim: Claim, ending: Ending) -> None:
        """End the attempt, and wake a worker for the VM's next event.

        Raises:
            FencedError: another worker has the VM by now.
        """

    def outcome_of(self, key: EventKey) -> Outcome | None:
        """Return the outcome so far; `None` while the event waits or when it is not known (any more)."""


class HoldMailbox(Leases, Protocol):
    """What tidies up after VMs needs: leases on those for which no event waits."""

    def intents(self, vm_uuid: VmUuid) -> tuple[Intent, ...]:
        """Return what attempts were about to do, and nobody has looked at since."""

    def hold(self, vm_uuid: VmUuid) -> Held | NotNow:
        """Take the lease on a VM for which no event waits; what comes meanwhile waits for `release`."""

    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, finished: Leftover | None = None
    ) -> None:
        """Give a hold back, and wake a worker when an event has come meanwhile.

        Args:
            held: the hold.
            state: what to remember (`None`: as it was).
            gone: it is a tombstone now.
            finished: a host that has nothing of the VM any more.

        Raises:
            FencedError: another worker has the VM by now.
        """


class LeftoverMailbox(HoldMailbox, Doubts, Protocol):
    """What those need who ask hosts for what they still have of VMs."""

    def leftovers(self, queue: str) -> dict[HostName, list[VmUuid]]:
        """Return the VMs of a queue of which hosts still have something."""

    def doubts(self, queue: str) -> list[Doubt]:
        """Return the VMs of a queue that are to be verified."""

    def release_verified(self, held: Held, doubt: Doubt, found: Verified) -> None:
        """Give back the hold on a VM that was verified, and write what came of it. A doubt that is new since stays.

        Raises:
            FencedError: another worker has the VM by now.
        """

    def question_arrived(self, queue: str, host: HostName, number: int) -> None:
        """Note that a worker has come with the question to a host, so that it may be sent again."""


@dataclass(frozen=True, slots=True)
class SweepCounts:
    """What sweeps of one hypervisor's storages found, in numbers: the last one, and all of them added up.

    Args:
        images: of the last one, by what is said of them (`configdrive.lifecycle.orphans.Why`).
        away: hosts that did not answer in the last one.
        rounds: how many there were.
        deleted: images that were deleted, by the reason.
        failed: images that should have been and could not be, by the error's code.
        at: when the last one ended, or was begun; seconds since 1970 UTC.
    """

    images: Mapping[str, int] = field(default_factory=dict)
    away: int = 0
    rounds: int = 0
    deleted: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    at: float = 0.0

    def followed_by(self, other: SweepCounts) -> SweepCounts:
        """Return these with those of a later one added."""
        return replace(
            other,
            rounds=self.rounds + other.rounds,
            deleted=dict(Counter(self.deleted) + Counter(other.deleted)),
            failed=dict(Counter(self.failed) + Counter(other.failed)),
        )


class SweeperMailbox(HoldMailbox, Doubts, Protocol):
    """What the storage sweeper needs."""

    def snapshot(self, vm_uuid: VmUuid) -> Snapshot:
        """Look at a VM."""

    def orphan_for(self, image: ImageName, *, note: bool) -> float | None:
        """Return for how many seconds an image is known to be nobody's; `note` it from now on."""

    def forget_orphan(self, image: ImageName) -> None:
        """Note that an image is gone, or is somebody's."""

    def sweep_is_due(self, hypervisor: HypervisorName, seconds: float) -> bool:
        """Say whether a hypervisor's storages are to be swept now, the last sweep being so long ago; to one who asks.

        Of a fleet that never swept the time begins with the first question.
        """

    def drives_are_due(self, hypervisor: HypervisorName, seconds: float) -> bool:
        """Say whether a hypervisor's drives are to be looked at now; to one who asks, so often."""

    def note_sweep(self, hypervisor: HypervisorName, found: SweepCounts) -> None:
        """Note that a hypervisor's storages were swept just now, and what was found."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A wake-up that was sent: for this event, which begins its `attempt`-th time."""

    header: Header
    attempt: int


class WakeupMailbox(Protocol):
    """What keeps the queues going."""

    def wake_due(self, queue: str, limit: int, *, at_once: bool = False) -> Sequence[Sent]:
        """Send the wake-ups of one queue that are due or were lost; `at_once`: also those lost a moment ago."""

    def try_parked(self, queue: str, pause: float) -> Sequence[Sent]:
        """Wake workers for events that are parked because a place was away: one for each place, every `pause` seconds.

        And for all others of a place at which that one has found it back.
        """

    def ask_hosts(self, queue: str, pause: float) -> list[HostName]:
        """Have hosts asked that still have something of a queue's VMs; again after `pause` seconds.

        And have the queue's VMs verified that may have been left half-done.
        """
