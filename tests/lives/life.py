"""One VM's life over the real store and the real use case, on a hypervisor in memory; and what must be at any time.

One long file: what befalls a life and what must hold of it are read together.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import redis
from typing_extensions import override

from configdrive.client.postings import Header, Posting, queue_name
from configdrive.contract.events import parse, short_type
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import body_of
from configdrive.errors import StaleCode
from configdrive.iso.ecma119 import DamagedImageError
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.lifecycle.verify import Verifier
from configdrive.model import DriveSettings, EventId, EventKey, HostName, PowerState, StorageName, StoredImage, VmUuid
from rigs.invariants import Auditor
from tasks.attempt import Attempts
from tasks.isolation import Isolation
from tasks.lease import KeptLease, LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import Claim, Dropped, Ending, Leases, NotNow, OperatorAction, Right, Wakeup
from tasks.policy import Limits
from tasks.storage_sweep import StorageSweeper
from tests.integration.queue.lost_replies import Loss
from tests.lives.asked import TAKES_AWAY, Asked, Content, Sent
from tests.lives.interruptions import STOPPED, Killed, PointedMailbox, Points, Trouble, UnforeseenError
from tests.mailboxes import LEASE, RESEND, Message, Store
from tests.unit.documents import OTHER_UUID, Json, document
from tests.unit.fakes.cloud import At, Cloud, Machine, MemoryDriver
from tests.unit.fakes.fleet import HOST_1, VM, foreign_image
from tests.unit.fakes.queue import RecordingAttempts
from tests.unit.fakes.small import FakeClock, FakeNamer, RecordingObserver
from workers.cli.sequence import set_sequence
from workers.config.key_ring import KeyRing
from workers.config.keys import Key

SOURCE = "orchestrator/1"
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every wake-up is due."""

ROUNDS = 4
"""After so many looks a lost wake-up is found, and whatever can be tidied up is."""

LONGEST = 120.0
"""Seconds of a fleet's time within which an event ends or is parked once it is the next one, and all of them once
nothing is in the way any more."""

HERE = "here"
"""In the place of a host's name: the one that the VM is on, as an orchestrator knows it."""

KEY = Key.generate()
LIMITS = Limits(attempts=4, unclassified_attempts=3, backoff=8.0, backoff_most=12.0)


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
        identities: whether storages say who they are.
        found: whether the VM has a CD drive of its user's.
    """

    def __init__(  # noqa: PLR0913 - all by name but the connections
        self,
        client: redis.Redis,
        lossy: redis.Redis,
        loss: Loss,
        *,
        root: StorageName,
        identities: bool = False,
        found: bool = False,
    ) -> None:
        self.store = Store(client, lease=3_000.0, resend=0.0)  # no machine is so slow that a lease runs out by itself
        self.auditor = Auditor(client, self.store.prefix)
        self.points = Points(loss, self)
        self.cloud = Cloud(identities=identities)
        self.cloud.machines[VM] = Machine(HOST_1, root, slot=found, found=found)
        self.neighbour = foreign_image(self.cloud, OTHER_UUID)
        self.cloud.machines[self.neighbour.name.vm_uuid] = Machine(HOST_1, root, slot=True, medium=self.neighbour)
        self.cloud.hook = self._at_driver
        self.clock = FakeClock()
        self.keys = KeyRing(lambda: [KEY])
        self.mailbox = PointedMailbox(lossy, self.store.options, self.points)
        self.asked = Asked()
        self.sequence = 0
        self.doubled: list[Wakeup] = []
        self.events: dict[EventKey, Sent] = {}
        self.unended: list[EventKey] = []
        self.ended: list[EventKey] = []
        self.named: set[str] = set()
        """Hosts that events which have ended named: of no other can the fleet know that the VM is there."""
        self.believed: set[str] = set()
        """Those of them on which the fleet believes it to be, or to come."""
        self.zone: str | None = None
        self.queues: list[str] = []
        """Those on which there were events: of the VM's zones, and the general one."""
        self.lost = 0
        """Events that waited when Redis was lost."""
        self._heard = "-"
        self.overtaken = False
        self._another = False
        self._at_work: list[EventKey] = []
        self.disturbed = False
        """Somebody else had their hands in the VM's drive, or moved it: until the next event that puts something in the
        drive, or empties it, nothing is said of it."""
        self._before: dict[VmUuid, StoredImage | None] = {}
        self._within = False
        self._contents: dict[bytes, Content] = {}
        self._violations: list[str] = []
        self._changed = True
        self._work()

    def _work(self) -> None:
        drivers = {MemoryDriver.name: MemoryDriver(self.cloud)}
        leases, namer, observer = Asking(self.mailbox), FakeNamer(), RecordingObserver()
        verifier = Verifier(drivers, self.keys, namer, observer, DriveSettings())
        self.leftovers = Leftovers(self.mailbox, drivers, leases=leases, verifier=verifier)
        self.sweeper = StorageSweeper(
            mailbox=self.mailbox,
            driver=drivers[MemoryDriver.name],
            clock=self.clock,
            leases=leases,
            grace=0.0,
            leftovers=self.leftovers,
        )
        self.attempts = Attempts(
            mailbox=self.mailbox,
            reconciler=Reconciler(drivers, self.keys, namer, self.clock, observer, drives=DriveSettings()),
            clock=self.clock,
            limits=LIMITS,
            leases=leases,
            timeouts=(),
            isolation=Isolation(self.store.places, doubt=3_000.0),  # nor so slow that a place seems to hang
            observer=RecordingAttempts(),
        )

    # --- those who send -------------------------------------------------------------------------------------------

    def publish(self, word: str, data: Json, trouble: Trouble | None = None, *, back: int = -1) -> None:
        """Publish an event; a publisher that was killed over it publishes it again, and is told that it is known.

        `back`: so many numbers before the newest; -1 is the next one.
        """
        machine = self.cloud.machines.get(VM)
        if data.get("host") == HERE:
            data = data | {"host": HOST_1 if machine is None else machine.host}
        number = max(0, self.sequence - back)
        self.sequence = max(self.sequence, number)
        queue = queue_name(MemoryDriver.name, self.zone)
        self.queues = list(dict.fromkeys((*self.queues, queue)))
        sent = Sent(f"event-{len(self.events)}", word, number, data, queue)
        zone = {} if self.zone is None else {"zone": self.zone}
        event = parse(json.dumps(document(word, **{"sequence": number} | zone | data) | {"id": sent.event_id}))
        header = Header(EventId(event.id), event.source, short_type(event.type), VM, queue, number)
        posting = Posting(header, body_of(event, self.keys))
        self.events[header.key] = sent
        self.unended.append(header.key)
        if self.process(lambda: self._put(posting), trouble):
            return
        known = self.store.client.exists(self.store.key("seen", header.key))
        assert self.store.mailbox.put(posting).accepted is not bool(known)

    def _put(self, posting: Posting) -> None:
        assert self.mailbox.put(posting).accepted

    # --- those who work -------------------------------------------------------------------------------------------

    def process(self, job: Callable[[], object], trouble: Trouble | None) -> bool:
        """Let a process do something, with trouble ahead; says whether it came to the end of it."""
        self.points.arm(trouble)
        self._changed = True
        self.overtaken = self._another = False
        self._at_work = self.unended[:1]
        try:
            job()
        except (Killed, UnforeseenError):
            return False
        finally:
            self.points.disarm()
            self._settle()
        return True

    @property
    def wakeups(self) -> list[Wakeup]:
        """What the messages in Celery's lists say, and those that came twice; oldest first."""
        return [message.wakeup for message in self._messages] + self.doubled

    @property
    def _messages(self) -> list[Message]:
        return [message for queue in self.queues for message in self.store.messages(queue)]

    def take_wakeup(self, which: int) -> Wakeup:
        """Take one of the messages, as a worker does; at times they overtake each other."""
        messages = self._messages
        which %= len(messages) + len(self.doubled)
        if which >= len(messages):
            return self.doubled.pop(which - len(messages))
        self.store.lose_message(messages[which])
        return messages[which].wakeup

    def work(self, which: int, trouble: Trouble | None) -> None:
        """Let a worker take one of the messages."""
        wakeup = self.take_wakeup(which)
        endings: list[Ending | Dropped] = []
        self.process(lambda: endings.append(self.attempts.make(wakeup)), trouble)
        if self.overtaken and endings and trouble is not None and trouble.mishap in STOPPED:
            assert isinstance(endings[0], Dropped), "a worker ended what was another's"

    def tidy_up(self, trouble: Trouble | None = None) -> None:
        """Ask hosts for what they still have, and verify what may be half-done."""
        self.process(self._tidy, trouble)

    def _tidy(self) -> None:
        for queue in self.queues:
            self.leftovers.verify_all(queue)
        for _ in self.leftovers.ask_all(self.queues):
            pass

    def sweep_storage(self, trouble: Trouble | None) -> None:
        """Let the storage be swept: what is in any VM's drive stays."""
        before = set(self.cloud.files)
        self.process(lambda: list(self.sweeper.sweep(self.sweeper.look())), trouble)
        gone = before - set(self.cloud.files)
        assert not gone & self.media if not self.overtaken else True, "a sweep has deleted what is in a drive"

    def take_over(self, meanwhile: Sequence[tuple[str, Json]] = ()) -> None:
        """Let another worker have its way: not while the first one's lease lasts, only when it is over."""
        head = self.head
        if head is not None and int(self.store.field(VM, "until") or 0) > self.store.now() * 1000:
            answer = self.attempts.make(self._own(head))
            assert isinstance(answer, Dropped)
            assert answer.why == NotNow.BUSY
        for word, data in meanwhile:
            self.publish(word, data)
        for _ in range(len(self.unended) + 1):
            self.time_passes()
            head = self.head
            if head is not None:
                self._another = True
                self.overtaken |= not isinstance(self.attempts.make(self._own(head)), Dropped)
                self._another = False
                self._settle()
        self.overtaken |= self.store.field(VM, "owner") is None

    def begin_and_die(self) -> None:
        """Let another worker claim the VM, and never be heard of again."""
        self.time_passes()
        head = self.head
        self.overtaken = head is not None and isinstance(self.store.mailbox.claim(self._own(head)), Claim)

    def _own(self, head: EventKey) -> Wakeup:
        return Wakeup(head, VM, self.events[head].queue)

    @property
    def _is_too_late(self) -> bool:
        """Whether a worker goes on with an event that another one has ended meanwhile."""
        return self.overtaken and not self._another and self.unended[:1] != self._at_work

    def _at_driver(self, verb: str, at: At) -> None:
        """Pass a point of a verb; what a worker that was overtaken takes out then must be what it had looked at.

        Who was overtaken within the driver's call, between its look and its change, cannot know; the VM is verified.
        """
        was_late = self._is_too_late
        self.points.at_driver(verb, at)
        if at is At.BEFORE:
            self._before = {uuid: machine.medium for uuid, machine in self.cloud.machines.items()}
        elif at is At.DURING:
            self._within = self._is_too_late and not was_late
        elif verb == "detach" and self._is_too_late and not self._within:
            was, now = self._before.get(VM), self.cloud.machines.get(VM)
            lost = was is not None and now is not None and now.medium is None
            if lost and was is not None and not self.disturbed and self.content(was) == self.asked.drive:
                self._violations.append("an overtaken worker has emptied a drive that is another event's")

    # --- the world ------------------------------------------------------------------------------------------------

    def time_passes(self) -> None:
        """Let leases run out and back-offs end."""
        self._changed = True
        self.clock.time += 1
        self.store.age(VM, AGES)

    def wake_ups_are_sent(self) -> None:
        """Let the look for wake-ups be made, as often as makes a lost one be found."""
        for queue in self.queues if self.unended else ():
            for _ in range(ROUNDS):
                self.store.mailbox.wake_due(queue, 10)

    def act(self, action: OperatorAction) -> None:
        """Let an operator retry or skip the head."""
        head = self.head
        assert head is not None
        self._changed = True
        self.clock.time += 1
        sent = self.events[head]
        skipped = Outcome(sent.event_id, SOURCE, sent.word, VM, sent.sequence, Status.SKIPPED, self.clock.now(), None)
        self.store.mailbox.act(VM, head, action, skipped if action is OperatorAction.SKIP else None)
        self._settle()

    def set_counter(self, back: int) -> None:
        """Let an operator set the number that the VM's next event must exceed; the publisher goes on from there."""
        number = max(-1, self.sequence - back)
        if set_sequence(self.store.mailbox, VM, number, "a restored database") == number:
            self.asked.sequence = self.sequence = number

    def redis_is_lost(self) -> None:
        """Let Redis come back empty, and an operator adopt what there is; the events that waited are lost."""
        self.cloud.down.clear()
        self.forget()
        self.lost += len(self.unended)
        self.unended.clear()
        self.doubled.clear()
        self.mailbox.claims.clear()
        self.named.clear()
        self.believed.clear()
        self.auditor = Auditor(self.store.client, self.store.prefix)
        self.asked, self.disturbed, self._heard = Asked(), True, "-"
        for adopted in self.sweeper.adopt(self.sweeper.look(), dry_run=False):
            if adopted.uuid == VM and adopted.record.vm is not None:
                self.named.add(adopted.record.vm.host)
                self.believed.add(adopted.record.vm.host)
                self.asked = Asked(adopted.record.sequence, known=True, adopted=True)

    def power(self, power: PowerState) -> None:
        """Power the VM on or off."""
        if VM in self.cloud.machines:
            self.cloud.machines[VM].power = power

    def moves(self, host: HostName, *, remains: bool, restarted: bool) -> None:
        """Let the VM move: with its medium, if that is there too; `restarted` by HA, without it.

        `remains`: the old host keeps a definition.
        """
        machine = self.cloud.machines.get(VM)
        if machine is None or host == machine.host or host not in self.cloud.hosts:
            return
        if remains and machine.host in self.cloud.hosts:
            self.cloud.remains.append(
                (VM, Machine(machine.host, machine.root, slot=machine.slot, medium=machine.medium))
            )
        self.cloud.remains = [one for one in self.cloud.remains if (one[0], one[1].host) != (VM, host)]
        machine.medium = None if restarted else self._same(machine.medium, host)
        machine.host, machine.found = host, False
        self.named -= {host} - self.believed  # it went there without a word
        self.disturbed = True

    def _same(self, medium: StoredImage | None, host: HostName) -> StoredImage | None:
        if medium is None or medium.place.host is None:
            return medium
        place = self.cloud.place(medium.place.storage, host)
        return next((one for one in self.cloud.files if (one.name, one.place) == (medium.name, place)), None)

    def is_undefined(self) -> None:
        """Undefine the VM wherever it is."""
        self.cloud.machines.pop(VM, None)
        self.cloud.remains = [one for one in self.cloud.remains if one[0] != VM]
        self.disturbed = True

    def is_defined(self, host: HostName, root: StorageName) -> None:
        """Define the VM that is not; what the host still had of it is replaced."""
        self.cloud.remains = [one for one in self.cloud.remains if (one[0], one[1].host) != (VM, host)]
        self.cloud.machines[VM] = Machine(host, root)
        self.disturbed = True

    def is_cloned(self, uuid: VmUuid) -> None:
        """Make a copy of the VM, whose definition names the same image."""
        machine = self.cloud.machines.get(VM)
        if machine is not None:
            self.cloud.machines[uuid] = Machine(machine.host, machine.root, slot=machine.slot, medium=machine.medium)

    def goes_for_good(self, host: HostName) -> None:
        """Take a host out of the inventory, with all that is on it; its VMs are gone."""
        self.cloud.hosts.discard(host)
        self.cloud.machines = {uuid: one for uuid, one in self.cloud.machines.items() if one.host != host}
        self.cloud.remains = [one for one in self.cloud.remains if one[1].host != host]
        self.cloud.files = {one: content for one, content in self.cloud.files.items() if one.place.host != host}
        self.disturbed = True

    # --- what must be ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> EventKey | None:
        """The event that comes next."""
        first: Any = self.store.client.lindex(self.store.key("mail", VM), 0)
        return None if first is None else EventKey(json.loads(first)["key"])

    @property
    def media(self) -> set[StoredImage]:
        """What is in any VM's drive."""
        every = (*self.cloud.machines.values(), *(one for _, one in self.cloud.remains))
        return {machine.medium for machine in every if machine.medium is not None}

    @property
    def own(self) -> list[Machine]:
        """The VM, wherever it is defined."""
        here = [machine for uuid, machine in self.cloud.machines.items() if uuid == VM]
        return here + [machine for uuid, machine in self.cloud.remains if uuid == VM]

    def content(self, stored: StoredImage) -> Content:
        """Read what the guest would; half an image fails."""
        assert stored in self.cloud.files, "what is in the drive was deleted"
        image = self.cloud.files[stored]
        if image not in self._contents:
            try:
                self._contents[image] = Content.of(image)
            except DamagedImageError as error:
                raise AssertionError("the guest cannot read what is there") from error
        return self._contents[image]

    def _settle(self) -> None:
        """Hear what has ended since. The product takes an error within a step for a hypervisor's: it is kept."""
        assert not self._violations, self._violations
        try:
            self._hear()
        except AssertionError as error:
            self._violations.append(str(error))
            raise

    def _hear(self) -> None:
        entries: Any = self.store.client.xrange(self.store.key("outcomes"), min=self._heard)
        for position, fields in entries:
            self._heard = f"({position.decode()}"
            outcome = Outcome.from_json(fields[b"outcome"])
            key = EventKey(outcome.key)
            assert self.unended[:1] == [key], "events end in their order, each once"
            if outcome.status is Status.PARKED:
                continue
            self.unended.pop(0)
            self.ended.append(key)
            sent, machine = self.events[key], self.cloud.machines.get(VM)
            self._names(sent, outcome)
            live = machine is not None and machine.power is PowerState.RUNNING and sent.host in {None, machine.host}
            waiting = [self.events[one] for one in self.unended]
            if self.asked.hear(sent, outcome, waiting, live=None if live and sent.host is None else live):
                self._done(sent, outcome)
            elif sent.word == "deploy" and outcome.status is Status.APPLIED:
                # what the drive held is another installation's from now on: a verification does not bring it back
                self.disturbed |= self._is_there("verify")

    def _names(self, sent: Sent, outcome: Outcome) -> None:
        """Note where the fleet knows the VM to be, or to go, from an event that has ended.

        Not from one of a VM that is gone: nothing is looked at for it, wherever it says that the VM was.
        """
        if outcome.code == StaleCode.VM_GONE:
            return
        hosts = {str(host) for host in (sent.host, sent.data.get("destination")) if host is not None}
        self.named |= hosts
        only = outcome.status is Status.APPLIED and sent.word in {"start", "stop"} and sent.host is not None
        self.believed = hosts if only else self.believed | hosts

    def _done(self, sent: Sent, outcome: Outcome) -> None:
        """See what an event has done, that puts something in the drive or empties it."""
        self.disturbed = False
        if sent.word in TAKES_AWAY:
            self._nothing_is_left(outcome)
            return
        expected = self.asked.drive
        here = self.cloud.machines.get(VM)
        there = [one for one in self.own if one.host == sent.host or one.medium in {None, *self.cloud.files}]
        held = [machine for machine in there if self._in_drive(machine) == expected]
        assert held or expected is None, outcome
        self.disturbed = here not in held

    def _in_drive(self, machine: Machine) -> Content | None:
        return None if machine.medium is None else self.content(machine.medium)

    def _nothing_is_left(self, outcome: Outcome) -> None:
        """See that nothing is left of the VM, or that the outcome says where."""
        said = set(outcome.facts.get("left_behind", "").split(", "))
        for stored in self.cloud.images_of(VM):
            assert f"{stored.place.storage}@{stored.place.host or 'shared'}" in said, (outcome, stored)
        for machine in self.own:
            filled = machine.medium is not None and machine.medium.name.vm_uuid == VM
            if filled and machine.host in self.named:
                assert f"drive@{machine.host}" in said, outcome
            self.disturbed |= filled

    def check(self) -> None:
        """See that all is as it must be, now.

        Raises:
            AssertionError: it is not.
        """
        if self._changed:
            self.auditor.check()
        self._changed = False
        assert not self._violations, self._violations
        self._others_are_spared()
        for machine in self.own:
            if machine.medium is not None and machine.medium in self.cloud.files:
                assert machine.medium.name.vm_uuid == VM
                self.content(machine.medium)
        if self.unended and self.unended[0] in self.mailbox.claims:
            return  # in the middle of it
        if self.asked.adopted or self._is_there("verify", "left"):
            return  # nobody knows, or that may be seen to first
        self._drive_is_what_was_asked_for()

    def _is_there(self, *kinds: str) -> bool:
        """Whether any of the queues has a key of these kinds."""
        keys = [self.store.key(kind, queue) for kind in kinds for queue in self.queues]
        return bool(keys and self.store.client.exists(*keys))

    def _others_are_spared(self) -> None:
        other = self.cloud.machines.get(self.neighbour.name.vm_uuid)
        assert other is None or other.medium == self.neighbour
        assert self.cloud.files.get(self.neighbour) == b"not for you"
        assert all(machine.slot for machine in self.own if machine.found), "the user's own drive is gone"

    def _drive_is_what_was_asked_for(self) -> None:
        asked = [content for content in (self.asked.drive, self.asked.staged) if content is not None]
        for stored in self.cloud.images_of(VM):
            assert self.content(stored) in asked, stored
        machine = self.cloud.machines.get(VM)
        if machine is None or self.disturbed:
            return
        assert self._in_drive(machine) == self.asked.drive

    def all_is_worked_on(self) -> float:
        """Let everything be tried until it ends or is parked; returns the seconds that a fleet would take for it.

        Raises:
            AssertionError: an event came to no end although it was the next one for long enough.
        """
        every = waited = 0.0
        for _ in range(ROUNDS * (len(self.unended) + 1)):
            if not self.unended:
                break
            ended, pause = len(self.ended), self._pause()
            self.time_passes()
            self.wake_ups_are_sent()
            while self.wakeups:
                self.work(0, None)
            self.check()
            every, waited = every + pause, waited + pause
            assert waited <= LONGEST, f"{self.unended[:1]} has no end after {waited} s"
            waited = waited if len(self.ended) == ended else 0.0
        return every

    def _pause(self) -> float:
        """Return the seconds until the VM's next event is tried: a dead worker's lease, a back-off, a lost wake-up."""
        fields: Any = self.store.client.hmget(self.store.key("vm", VM), ["owner", "retry_at", "parked"])
        owner, retry_at, parked = fields
        if parked is not None:
            return 0.0
        lost = 0.0 if retry_at is not None or self.wakeups else 2 * RESEND
        lease = LEASE if owner is not None else 0.0
        back_off = 0.0 if retry_at is None else max(0.0, int(retry_at) / 1000 - self.store.now())
        return lost + lease + back_off

    def comes_to_rest(self) -> None:
        """Let everybody be back, and all be done that can be done without an operator."""
        self.cloud.down.clear()
        assert self.all_is_worked_on() <= LONGEST, "nothing was in the way any more"
        for _ in range(ROUNDS):
            if self._is_there("verify", "left"):
                self.tidy_up()
        self.time_passes()
        self.tidy_up()
        self._is_at_rest()
        self.check()

    def _is_at_rest(self) -> None:
        if self.unended:
            head, *waiting = (self.events[one] for one in self.unended)
            assert self.store.field(VM, "parked") is not None, "it neither ends nor is parked"
            assert not any(map(head.is_superseded_by, waiting)), "what takes away waits behind what is parked"
            assert head.word not in TAKES_AWAY, "what takes away is parked"
            return
        assert not self._is_there("verify")

    def secrets_at_rest(self, *secrets: str) -> list[str]:
        """Return those of the secrets that lie on Redis."""
        seen: Any = self.auditor.check().values
        return [secret for secret in secrets if secret in repr(seen)]

    def forget(self) -> None:
        """Delete all that the store has of this life."""
        self.store.client.delete(*self.store.client.keys(f"{self.store.prefix}*"))
