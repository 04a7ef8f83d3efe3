"""One VM's life over the real store and the real use case, worked on by workers that are interrupted; and its twin.

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

from configdrive.client.postings import Header, Posting
from configdrive.contract.events import LifecycleEvent, parse, short_type
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import body_of
from configdrive.errors import StaleCode
from configdrive.lifecycle import state
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.lifecycle.settled import Settled
from configdrive.model import DriveSettings, EventId, EventKey
from rigs.invariants import Auditor
from tasks.attempt import Attempts
from tasks.isolation import Isolation
from tasks.lease import KeptLease, LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import Claim, Dropped, Ending, NotNow, OperatorAction, Park, Wakeup
from tasks.policy import Limits
from tasks.storage_sweep import Finding, StorageSweeper
from tests.integration.queue.interruptions import STOPPED, Killed, PointedMailbox, Points
from tests.integration.queue.lost_replies import Loss
from tests.mailboxes import Store
from tests.unit.documents import OTHER_UUID, Json, document
from tests.unit.fakes.cloud import Cloud, Machine, MemoryDriver
from tests.unit.fakes.fleet import HOST_1, VM, Fleet, foreign_image, read_image
from tests.unit.fakes.queue import RecordingAttempts
from tests.unit.fakes.small import FakeClock, FakeNamer, RecordingObserver
from workers.config.key_ring import KeyRing
from workers.config.keys import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from configdrive.lifecycle.state import VmState
    from configdrive.model import PowerState, StorageName, StoredImage
    from tasks.mailbox import Leases, Right
    from tests.integration.queue.interruptions import Trouble

QUEUE = "configdrive.memory"
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every wake-up is due."""

KEY = Key.generate()
LIMITS = Limits(attempts=3, unclassified_attempts=3, backoff=8.0, backoff_most=12.0)


class Asking(LeaseKeeper):
    """Time flies: each step finds its confirmation old, and asks. Nobody renews from the side."""

    def __init__(self, mailbox: Leases) -> None:
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
        self.store = Store(client, lease=3_000.0)  # no machine is so slow that a lease runs out by itself
        self.auditor = Auditor(client, self.store.prefix)
        self.points = Points(loss, self)
        self.cloud, self.twin = Cloud(), Fleet()
        self.cloud.hook = self.points.at_driver
        self.neighbour = _settle_in(self.cloud, root)
        _settle_in(self.twin.cloud, root)
        self.clock = FakeClock()
        self.keys = KeyRing(lambda: [KEY])
        self.mailbox = PointedMailbox(lossy, self.store.options, self.points)
        self.doubled: list[Wakeup] = []
        self.events: dict[EventKey, LifecycleEvent] = {}
        self.unended: list[EventKey] = []
        self.ended: list[Outcome] = []
        self.seen = 0
        self.overtaken = False
        self.uncertain = False
        """An operator gave up an event that was half done: until the next one that makes or removes a drive, the twin
        says nothing of this VM's files."""
        self.sequence = itertools.count(1)
        self.attempts = self._worker()
        self._verified: bytes | None = None

    def _worker(self) -> Attempts:
        driver = MemoryDriver(self.cloud)
        leases = Asking(self.mailbox)
        self.sweeper = StorageSweeper(
            mailbox=self.mailbox,
            driver=driver,
            clock=self.clock,
            leases=leases,
            grace=0.0,
            leftovers=Leftovers(self.mailbox, {driver.name: driver}, leases=leases),
        )
        return Attempts(
            mailbox=self.mailbox,
            reconciler=Reconciler(
                {driver.name: driver},
                self.keys,
                FakeNamer(),
                self.clock,
                RecordingObserver(),
                drives=DriveSettings(),
                leave_after=2,
            ),
            clock=self.clock,
            limits=LIMITS,
            leases=leases,
            isolation=Isolation(self.store.places),
            timeouts=(),
            observer=RecordingAttempts(),
        )

    # --- those who send -------------------------------------------------------------------------------------------

    def posting(self, word: str, data: Json) -> tuple[Posting, LifecycleEvent]:
        """Check and seal an event, as a publisher does."""
        event = parse(json.dumps(document(word, **{"sequence": next(self.sequence)} | data)))
        header = Header(EventId(event.id), event.source, short_type(event.type), VM, QUEUE, event.data.sequence)
        return Posting(header, body_of(event, self.keys)), event

    def publish(self, word: str, data: Json, trouble: Trouble | None = None) -> None:
        """Publish an event; a publisher that was killed over it publishes it again, and is told that it is known."""
        posting, event = self.posting(word, data)
        self.events[posting.header.key] = event
        self.unended.append(posting.header.key)
        if self.process(lambda: self._put(posting), trouble):
            return
        known = self.store.client.exists(self.store.key("seen", posting.header.key))
        assert self.store.mailbox.put(posting).accepted is not bool(known)

    def _put(self, posting: Posting) -> None:
        assert self.mailbox.put(posting).accepted

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

    @property
    def wakeups(self) -> list[Wakeup]:
        """The messages in Celery's list, and those that came twice; oldest first."""
        return [message.wakeup for message in self.store.messages(QUEUE)] + self.doubled

    def take_wakeup(self, which: int) -> Wakeup:
        """Take one of the messages, as a worker does; at times they overtake each other."""
        wakeup = self.wakeups[which % len(self.wakeups)]
        if wakeup in self.doubled:
            self.doubled.remove(wakeup)
        else:
            key = self.store.prefix + QUEUE
            texts: Any = self.store.client.lrange(key, 0, -1)
            self.store.client.lrem(key, 1, texts[::-1][which % len(self.wakeups)])
        return wakeup

    def work(self, which: int, trouble: Trouble | None) -> None:
        """Let a worker take one of the messages."""
        wakeup = self.take_wakeup(which)
        endings: list[Ending | Dropped] = []
        self.overtaken = False
        self.process(lambda: endings.append(self.attempts.make(wakeup)), trouble)
        if self.overtaken and trouble is not None and trouble.mishap in STOPPED:
            assert endings == [Dropped(StaleCode.LEASE_LOST)]

    def sweep_storage(self, trouble: Trouble | None) -> None:
        """Let the storage be swept: of a VM whose life went as it should it finds nothing to delete."""
        found: list[Finding] = []
        quiet = self.quiet
        self.process(lambda: found.extend(self.sweeper.sweep(self.sweeper.look())), trouble)
        assert not quiet or not [finding for finding in found if finding.why.goes]

    def take_over(self) -> None:
        """Let another worker have its way: not while the first one's lease lasts, only when it is over."""
        head = self.head
        if head is None:
            self.time_passes()
            return
        if self.store.field(VM, "owner") is not None:
            assert self.attempts.make(self._own(head)) == Dropped(NotNow.BUSY)
        while head is not None:
            self.time_passes()
            ended = isinstance(self.attempts.make(self._own(head)), Settled | Park)
            self.overtaken |= ended
            head = self.head if ended and self.head != head else None

    def begin_and_die(self) -> None:
        self.time_passes()
        head = self.head
        self.overtaken = head is not None and isinstance(self.store.mailbox.claim(self._own(head)), Claim)

    def _own(self, head: EventKey) -> Wakeup:
        return Wakeup(head, VM, QUEUE)

    # --- the world ------------------------------------------------------------------------------------------------

    def time_passes(self) -> None:
        self.clock.time += 1
        self.store.age(VM, AGES)

    def wake_ups_are_sent(self) -> None:
        """Let the look for wake-ups be made, as often as makes a lost one be found."""
        for _ in range(4):
            self.store.age_queue(AGES, QUEUE)
            self.store.mailbox.wake_due(QUEUE, 10)

    def act(self, action: OperatorAction) -> None:
        """An operator retries or skips the head."""
        head = self.head
        assert head is not None
        self.clock.time += 1
        event = self.events[head]
        half_done = head in self.mailbox.claims
        skipped = Outcome(
            event.id,
            event.source,
            short_type(event.type),
            VM,
            event.data.sequence,
            Status.SKIPPED,
            self.clock.now(),
            None,
        )
        answer = self.store.mailbox.act(VM, head, action, skipped if action is OperatorAction.SKIP else None)
        if action is OperatorAction.SKIP and answer != "busy":
            self.uncertain |= half_done
        self._settle()

    def power(self, power: PowerState) -> None:
        self.cloud.machines[VM].power = self.twin.machine.power = power

    # --- what must be ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> EventKey | None:
        mail = self.store.mail(VM)
        return mail[0] if mail else None

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and nothing was given up half done: then this VM is as its twin."""
        return not self.unended and not self.uncertain

    def _settle(self) -> None:
        """Let the twin have what has ended since; events end in their order, each once."""
        outcomes = self.store.outcomes()
        for outcome in outcomes[self.seen :]:
            if outcome.status is Status.PARKED:
                assert outcome.key == self.unended[0]
                continue
            assert outcome.key == self.unended.pop(0)
            self.ended.append(outcome)
            if outcome.status is not Status.SKIPPED:
                self._follow(outcome)
        self.seen = len(outcomes)

    def _follow(self, outcome: Outcome) -> None:
        event = self.events[EventKey(outcome.key)]
        waiting = tuple(header.event_type for header in self.mailbox.claims[EventKey(outcome.key)].waiting)
        settled = self.twin.handle(event, waiting=waiting)
        assert (outcome.status, outcome.code) == (settled.outcome.status, settled.outcome.code)
        if outcome.status is Status.APPLIED and short_type(event.type) in {"start", "stop", "destroy"}:
            self.uncertain = False

    def remembered(self) -> VmState:
        return state.load(self.store.field(VM, "state"), self.keys, VM)

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
