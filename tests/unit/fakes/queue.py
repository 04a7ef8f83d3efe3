"""A worker's attempts over real mailboxes and a hypervisor in memory, without Celery."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from configdrive.client.postings import Header, Posting
from configdrive.contract.events import parse, short_type
from configdrive.contract.outcome import Outcome
from configdrive.contract.sealing import body_of
from configdrive.lifecycle.reconcile import Attempt, Reconciler
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.verify import Verifier
from configdrive.model import DriveSettings, EventId, VmUuid
from configdrive.ports import Drivers, StepRecord
from tasks.attempt import AttemptObserver, Attempts
from tasks.isolation import Isolation
from tasks.lease import LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import Claim, Dropped, Ending, Leases, Park
from tasks.policy import Limits
from tests.mailboxes import Store
from tests.unit.documents import Json, document
from tests.unit.fakes.fleet import VM, Fleet
from tests.unit.fakes.small import FakeClock

QUEUE = "configdrive.memory"
LIMITS = Limits(attempts=3, unclassified_attempts=2, backoff=8.0, backoff_most=12.0)


class OutOfTimeError(Exception):
    """What a pool raises when the time of an attempt is over."""


class StoreClock(FakeClock):
    """A clock that takes the time of a store along when it is moved."""

    store: Store | None = None

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "time" and self.store is not None:
            self.store.age_all(value - self.time)
        super().__setattr__(name, value)


@dataclass
class RecordingAttempts(AttemptObserver):
    """Remembers the attempts it was notified of."""

    started: list[Claim] = field(default_factory=list)
    ended: list[tuple[Claim, Ending | None]] = field(default_factory=list)

    @override
    def step(self, record: StepRecord) -> None:
        """The fleet's own observer remembers steps."""

    @override
    def attempt_started(self, claim: Claim) -> None:
        self.started.append(claim)

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        self.ended.append((claim, ending))


@dataclass
class Queue:
    """One fleet's mailboxes, and one worker at a time. Time passes for the store as its clock is moved.

    Args:
        store: where the mailboxes are.
        limits: of an attempt.
        keeper: what makes the keeper of leases; left out, one that goes by the clock.
    """

    store: Store = field(default_factory=Store)
    limits: Limits = LIMITS
    keeper: Callable[[Leases], LeaseKeeper] | None = None

    def __post_init__(self) -> None:
        clock = StoreClock()
        self.fleet = Fleet(clock=clock)
        clock.store = self.store
        self.mailbox = self.store.mailbox
        self.observer = RecordingAttempts()
        self.leases = (
            LeaseKeeper(self.mailbox, seconds=30.0, longest=300.0, clock=clock.now)
            if self.keeper is None
            else self.keeper(self.mailbox)
        )
        self.attempts = self.worker(self.fleet.reconciler)
        self.removed: list[str] = []
        self.leftovers = self.asker({self.fleet.driver.name: self.fleet.driver})

    def asker(self, drivers: Drivers) -> Leftovers:
        """Return who asks hosts for what they still have, and verifies VMs."""
        fleet = self.fleet
        verifier = Verifier(drivers, fleet.sealer, fleet.namer, fleet.observer, DriveSettings())
        return Leftovers(self.mailbox, drivers, leases=self.leases, verifier=verifier, observer=self)

    def leftover_removed(self, queue: str) -> None:
        self.removed.append(queue)

    def worker(self, reconciler: Reconciler) -> Attempts:
        return Attempts(
            mailbox=self.mailbox,
            reconciler=reconciler,
            clock=self.fleet.clock,
            limits=self.limits,
            leases=self.leases,
            isolation=Isolation(self.store.places),
            timeouts=(OutOfTimeError,),
            observer=self.observer,
        )

    @property
    def sent(self) -> list[tuple[str, int]]:
        """For which events workers are woken, and which attempts at them."""
        return self.store.sent(QUEUE)

    @property
    def stream(self) -> list[Outcome]:
        return self.store.outcomes()

    def put(self, word: str, **data: Any) -> Header:  # noqa: ANN401 - fields of an event
        """Publish an event, as a publisher does."""
        self.fleet.sequence += 1
        return self.put_document(document(word, **{"sequence": self.fleet.sequence} | data))

    def put_document(self, sent: Json) -> Header:
        event = parse(json.dumps(sent))
        return self.post(event.id, short_type(event.type), body_of(event, self.fleet.sealer), event.data.sequence)

    def post(self, event_id: str, word: str, body: bytes, sequence: int = 1, uuid: str = VM) -> Header:
        header = Header(EventId(event_id), "orchestrator/1", word, VmUuid(uuid), QUEUE, sequence)
        assert self.mailbox.put(Posting(header, body)).accepted
        return header

    def take(self, header: Header) -> Ending | Dropped:
        """Let a worker come for a VM's event."""
        return self.attempts.make(self.store.wakeup(header))

    def ended(self, header: Header) -> Outcome:
        """Let a worker come for an event that ends with it, or is parked."""
        ending = self.take(header)
        assert isinstance(ending, Settled | Park), ending
        return ending.outcome

    def claim(self, header: Header) -> Claim:
        return self.store.claim(header)

    def die_over(self, header: Header, times: int = 1) -> None:
        """Let workers claim an event and never be heard of again."""
        for _ in range(times):
            self.claim(header)
            self.fleet.clock.time += 31

    def raising(self, error: Callable[[], BaseException]) -> None:
        """From now on the use case fails like this."""
        self.attempts = self.worker(_Failing(self.fleet, error))

    def mended(self) -> None:
        self.attempts = self.worker(self.fleet.reconciler)

    def forget_all(self) -> None:
        """Lose Redis."""
        for key in self.store.all_keys():
            self.store.client.delete(self.store.prefix + key)

    def owned(self, uuid: VmUuid = VM) -> bool:
        """Whether somebody has the VM, or had and never gave it back."""
        return self.store.field(uuid, "owner") is not None


class _Failing(Reconciler):
    def __init__(self, fleet: Fleet, error: Callable[[], BaseException]) -> None:
        super().__init__({}, fleet.sealer, fleet.namer, fleet.clock, fleet.observer, drives=DriveSettings())
        self._error = error

    @override
    def handle(self, attempt: Attempt) -> Settled:
        raise self._error()
