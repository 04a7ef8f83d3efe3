"""One VM's life over the real store and the real use case, worked on by workers that have mishaps; and its twin.

The twin lives in memory: the same events in the order in which they really ended, each handled once and undisturbed.
Whenever nothing waits, both must be the same: files, media, and what is remembered.
"""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from configdrive.contract.events import LifecycleEvent, parse, short_type
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import body_of
from configdrive.errors import StaleCode
from configdrive.lifecycle import state
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.model import EventId
from rigs.invariants import Auditor
from tasks.attempt import Ended, Nothing, Turns, Verdict
from tasks.lease import KeptLease, LeaseKeeper
from tasks.mailbox import Claim, Header, NotNow, PersonsWord, Posting, Wake
from tasks.policy import Limits
from tasks.storage_sweep import Finding, Storekeeper
from tests.integration.queue.box import Box
from tests.integration.queue.lossy import Loss
from tests.integration.queue.mishaps import STOPPED, Killed, PointedMailbox, Points
from tests.unit.documents import OTHER_UUID, Json, document
from tests.unit.fakes.cloud import Cloud, Machine, MemoryDriver
from tests.unit.fakes.fleet import HOST_1, VM, Fleet, foreign_image, read_image
from tests.unit.fakes.small import FakeClock, RecordingObserver
from workers.config.key_ring import KeyRing
from workers.config.keys import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from configdrive.lifecycle.state import VmState
    from configdrive.model import PowerState, StorageName, StoredImage
    from tasks.mailbox import Mailbox, Right
    from tests.integration.queue.mishaps import Trouble

QUEUE = "configdrive.memory"
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every wake-up is due."""

KEY = Key.generate()
LIMITS = Limits(attempts=3, unclassified_attempts=3, backoff=8.0, backoff_most=12.0)


class Asking(LeaseKeeper):
    """Time flies: each step finds its confirmation old, and asks. Nobody renews from the side."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__(mailbox, seconds=3_000.0, longest=1e9, clock=partial(next, itertools.count()))

    @override
    @contextmanager
    def keep(self, right: Right, asked: float) -> Iterator[KeptLease]:
        yield KeptLease(self, right, asked)


class Life:
    """What befalls one VM.

    Args:
        client: to the store, for looking and for a publisher whose replies all arrive.
        lossy: to the same store; it loses replies when `loss` says so.
        root: the storage of the VM's root disk.
    """

    def __init__(self, client: redis.Redis, lossy: redis.Redis, loss: Loss, root: StorageName) -> None:
        self.box = Box(client, lease=3_000.0)  # no machine is so slow that a lease runs out by itself
        self.auditor = Auditor(client, self.box.prefix)
        self.points = Points(loss, self)
        self.cloud, self.twin = Cloud(), Fleet()
        self.cloud.hook = self.points.at_driver
        self.neighbour = _settle_in(self.cloud, root)
        _settle_in(self.twin.cloud, root)
        self.clock = FakeClock()
        self.keys = KeyRing(lambda: [KEY])
        self.mailbox = PointedMailbox(lossy, self.box.options, self.points)
        self.wakes: list[Wake] = []
        self.events: dict[EventId, LifecycleEvent] = {}
        self.unended: list[EventId] = []
        self.ended: list[Outcome] = []
        self.told = 0
        self.overtaken = False
        self.uncertain = False
        """A person gave up an event that was half done: until the next one that makes or removes a drive, the twin says
        nothing of this VM's files."""
        self.sequence = itertools.count(1)
        self.turns = self._worker()
        self._verified: bytes | None = None

    def _worker(self) -> Turns:
        driver = MemoryDriver(self.cloud)
        leases = Asking(self.mailbox)
        self.keeper = Storekeeper(
            mailbox=self.mailbox,
            driver=driver,
            clock=self.clock,
            leases=leases,
            grace=0.0,
            wake=self._sent,
        )
        return Turns(
            mailbox=self.mailbox,
            reconciler=Reconciler(
                {driver.name: driver}, self.keys, self.clock, RecordingObserver(), label="config", leave_after=2
            ),
            clock=self.clock,
            limits=LIMITS,
            leases=leases,
            timeouts=(),
            wake=self._sent,
        )

    def _sent(self, wake: Wake) -> None:
        self.points.at_wake()
        self.wakes.append(wake)

    # --- those who send -------------------------------------------------------------------------------------------

    def posting(self, word: str, data: Json) -> tuple[Posting, LifecycleEvent]:
        """Check and seal an event, as `LifecyclePublisher` does."""
        event = parse(json.dumps(document(word, **{"sequence": next(self.sequence)} | data)))
        header = Header(EventId(event.id), short_type(event.type), VM, QUEUE, event.data.sequence)
        return Posting(header, body_of(event, self.keys)), event

    def publish(self, word: str, data: Json, trouble: Trouble | None = None) -> None:
        """Publish an event; a publisher that was killed over it publishes it again, and is told that it is known."""
        posting, event = self.posting(word, data)
        self.events[posting.header.event_id] = event
        self.unended.append(posting.header.event_id)
        if self.process(lambda: self._put(posting), trouble):
            return
        known = self.box.client.exists(self.box.key("seen", posting.header.event_id))
        receipt = self.box.mailbox.put(posting)
        assert receipt.accepted is not bool(known)
        if receipt.wake is not None:
            self.wakes.append(receipt.wake)

    def _put(self, posting: Posting) -> None:
        receipt = self.mailbox.put(posting)
        assert receipt.accepted
        if receipt.wake is not None:
            self._sent(receipt.wake)

    # --- those who work -------------------------------------------------------------------------------------------

    def process(self, job: Callable[[], object], trouble: Trouble | None) -> bool:
        """Let a process do something, with trouble ahead; says whether it lived to the end of it."""
        self.points.arm(trouble)
        try:
            job()
        except Killed:
            return False
        finally:
            self.points.disarm()
            self._settle()
        return True

    def work(self, which: int, trouble: Trouble | None) -> None:
        """Let a worker take one of the wake-ups."""
        wake = self.wakes.pop(which % len(self.wakes))
        verdicts: list[Verdict] = []
        self.overtaken = False
        self.process(lambda: verdicts.append(self.turns.take(VM, wake.header.event_id)), trouble)
        if self.overtaken and trouble is not None and trouble.mishap in STOPPED:
            assert verdicts == [Nothing(StaleCode.LEASE_LOST)]

    def sweep_storage(self, trouble: Trouble | None) -> None:
        """Let the storage be swept: of a VM whose life went as it should it finds nothing to delete."""
        found: list[Finding] = []
        quiet = self.quiet
        self.process(lambda: found.extend(self.keeper.sweep(self.keeper.look())), trouble)
        assert not quiet or not [finding for finding in found if finding.why.goes]

    def take_over(self) -> None:
        """Let another worker have a turn: not while the first one's lease lasts, only when it is over."""
        head = self.head
        if head is None:
            self.time_passes()
            return
        if self.box.field(VM, "owner") is not None:
            assert self.turns.take(VM, head) == Nothing(NotNow.BUSY)
        while head is not None:
            self.time_passes()
            ended = isinstance(self.turns.take(VM, head), Ended)
            self.overtaken |= ended
            head = self.head if ended and self.head != head else None

    def begin_and_die(self) -> None:
        self.time_passes()
        head = self.head
        self.overtaken = head is not None and isinstance(self.box.mailbox.claim(VM, head), Claim)

    # --- the world ------------------------------------------------------------------------------------------------

    def time_passes(self) -> None:
        self.clock.time += 1
        self.box.age(VM, AGES)

    def wake_ups_are_sent(self) -> None:
        self.wakes += self.box.mailbox.sweep(QUEUE, 10)

    def word(self, word: PersonsWord) -> None:
        """A person speaks on the head."""
        head = self.head
        assert head is not None
        self.clock.time += 1
        event = self.events[head]
        half_done = head in self.mailbox.claims
        skipped = Outcome(
            event.id, short_type(event.type), VM, event.data.sequence, Status.SKIPPED, self.clock.now(), None
        )
        answer = self.box.mailbox.word(VM, head, word, skipped if word is PersonsWord.SKIP else None)
        if isinstance(answer, Wake):
            self.wakes.append(answer)
        if word is PersonsWord.SKIP and answer != "busy":
            self.uncertain |= half_done
        self._settle()

    def power(self, power: PowerState) -> None:
        self.cloud.machines[VM].power = self.twin.machine.power = power

    # --- what must be ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> EventId | None:
        mail = self.box.mail(VM)
        return mail[0] if mail else None

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and nothing was given up half done: then this VM is as its twin."""
        return not self.unended and not self.uncertain

    def _settle(self) -> None:
        """Let the twin have what has ended since; events end in their order, each once."""
        told = self.box.outcomes()
        for outcome in told[self.told :]:
            if outcome.status is Status.PARKED:
                assert outcome.event_id == self.unended[0]
                continue
            assert outcome.event_id == self.unended.pop(0)
            self.ended.append(outcome)
            if outcome.status is not Status.SKIPPED:
                self._follow(outcome)
        self.told = len(told)

    def _follow(self, outcome: Outcome) -> None:
        event = self.events[EventId(outcome.event_id)]
        waiting = tuple(header.event_type for header in self.mailbox.claims[EventId(outcome.event_id)].waiting)
        settled = self.twin.handle(event, waiting=waiting)
        assert (outcome.status, outcome.code) == (settled.outcome.status, settled.outcome.code)
        if outcome.status is Status.APPLIED and short_type(event.type) in {"start", "stop", "destroy"}:
            self.uncertain = False

    def remembered(self) -> VmState:
        return state.load(self.box.field(VM, "state"), self.keys, VM)

    def check(self) -> None:
        """See that all is as it must be, now.

        Raises:
            AssertionError: it is not.
        """
        self.auditor.check()
        neighbour = self.cloud.machines[self.neighbour.name.vm_uuid]
        assert neighbour.medium == self.neighbour
        assert self.cloud.files[self.neighbour] == b"not for you"
        medium = self.cloud.machines[VM].medium
        if medium is not None:
            assert medium.name.vm_uuid == VM
            content = self.cloud.files[medium]
            if content != self._verified:
                read_image(content)
                self._verified = content
        if self.quiet:
            assert self.head is None
            assert medium == self.twin.machine.medium
            assert self.cloud.files == self.twin.cloud.files
            assert self.remembered() == self.twin.known()

    def secrets_at_rest(self, *secrets: str) -> list[str]:
        """Return those of the secrets that lie on Redis."""
        seen: Any = self.auditor.check().values
        return [secret for secret in secrets if secret in repr(seen)]


def _settle_in(cloud: Cloud, root: StorageName) -> StoredImage:
    """Define the VM, and beside it another with a drive of its own, which is returned."""
    neighbour = foreign_image(cloud, OTHER_UUID)
    cloud.machines[VM] = Machine(HOST_1, root)
    cloud.machines[neighbour.name.vm_uuid] = Machine(HOST_1, root, slot=True, medium=neighbour)
    return neighbour
