"""Any sequence of what publishers, workers, sweepers, operators and time do, against a model in plain Python.

What it implies has no test of its own: put, claim, renew, done, hold, release, the look for wake-ups and an operator's
actions in any order, by who may and by who may not any more, each of them also when its reply is lost.
"""

import itertools
import json
import random
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import redis
from hypothesis import settings

from configdrive.client.postings import Header, Posting
from configdrive.contract.outcome import Outcome, Status
from configdrive.lifecycle.settled import Settled, Verified
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import EventKey, HostName, HypervisorName, VmUuid
from rigs.invariants import Auditor
from rigs.keyspace import Keyspace
from rigs.redis import RedisServer
from tasks.mailbox import (
    Claim,
    Ending,
    FencedError,
    Held,
    Leftover,
    NotNow,
    OperatorAction,
    Park,
    Retry,
    Right,
    Snapshot,
    Wakeup,
)
from tests.integration.queue.lost_replies import Loss, lossy_pool, teach
from tests.mailboxes import QUEUE, Store, new_vm, outcome, posting, receipts

QUEUES = (QUEUE, f"{QUEUE}.zone")
HOST = HostName("h1")
PLACE = "host h1"
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every sweep is due."""

ENDINGS = ("finish", "leave", "again", "again", "park", "away", "stay", "stay", "gone", "superseded")


@dataclass
class VmModel:
    """What should be known of one VM."""

    uuid: VmUuid
    mail: list[Header] = field(default_factory=list)
    epoch: int = 0
    attempts: int = 0
    deaths: int = 0
    parked: bool = False
    away: bool = False
    trial: bool = False
    holder: Right | None = None
    through: str | None = None
    live: bool = False
    backing_off: bool = False
    retry_set: bool = False
    overdue: bool = False
    state: str | None = None
    gone: bool = False
    left: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    due: bool = False
    woken: set[str] = field(default_factory=set)
    seen: dict[str, Outcome | None] = field(default_factory=dict)
    items: dict[str, Posting] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    holds: list[Held] = field(default_factory=list)

    @property
    def head(self) -> Header | None:
        return self.mail[0] if self.mail else None

    def superseded_by(self, header: Header) -> bool:
        """Whether an event makes the head pointless."""
        takes_away = {"start": {"stop", "destroy"}, "stop": {"destroy"}}.get(self.mail[0].event_type, set())
        return header.event_type in takes_away and header.sequence > self.mail[0].sequence

    def wake(self) -> None:
        """A worker is woken for the head, unless a message is on its way."""
        self.woken.add(self.mail[0].queue)

    def next_head(self) -> None:
        self.attempts = self.deaths = 0
        self.parked = self.due = self.overdue = self.trial = False
        self.give_back()
        if self.mail:
            self.wake()

    def give_back(self) -> None:
        self.holder, self.live = None, False
        self.retry_set = self.backing_off = False


class Mailboxes:
    """Two VMs, two queues, and what befalls them by a seed.

    Not by Hypothesis: it leaves most kinds of steps out of most of its examples, and came to few that need four.
    """

    def __init__(self, client: redis.Redis, lossy: redis.Redis, loss: Loss, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.any = self.chance.choice
        self.loss = loss
        self.loss.armed = False
        self.store = Store(client, lease=3_000.0, resend=3_000.0)  # no machine is so slow as that
        self.mailbox = self.store.through(lossy)
        self.vms = [VmModel(new_vm()) for _ in range(2)]
        self.stream: list[Outcome] = []
        self.clock = itertools.count(1)
        self.auditor = Auditor(client, self.store.prefix)
        self.steps: list[str] = []

    def go_on(self, steps: int) -> None:
        """Take so many steps, and compare after each."""
        for step in self.chance.choices(list(STEPS), list(STEPS.values()), k=steps):
            self.steps.append(step.__name__)
            step(self)
            self.store_is_as_the_model_says()

    def the_next_reply_is_lost(self) -> None:
        self.loss.next()

    def put(self) -> None:
        vm = self.any(self.vms)
        kind = self.any(["start", "start", "stop", "destroy"])
        item = posting(vm.uuid, kind, queue=self.any(QUEUES))
        item = replace(item, header=replace(item.header, sequence=0)) if self.chance.random() < 0.2 else item
        (receipt,) = receipts(self.mailbox.put_many([item])) if self.any([True, False]) else [self.mailbox.put(item)]
        assert receipt.accepted
        vm.mail.append(item.header)
        vm.seen[item.header.key] = None
        vm.items[item.header.key] = item
        if vm.parked:
            if vm.superseded_by(item.header):
                vm.next_head()
        elif vm.retry_set and vm.superseded_by(item.header):
            vm.retry_set = vm.backing_off = vm.due = vm.overdue = False
            vm.wake()
        elif not vm.due:
            vm.wake()

    def put_again(self) -> None:
        vm = self.any(self.vms)
        if vm.seen:
            key = self.any(list(vm.seen))
            receipt = self.mailbox.put(replace(vm.items[key], body=b"sealed anew"))
            assert (receipt.accepted, receipt.first) == (False, vm.seen[key])

    def claim(self) -> None:
        vm = self.any(self.vms)
        header = vm.head or posting(vm.uuid, queue=min(vm.woken, default=QUEUE)).header
        answer = self.mailbox.claim(self.store.wakeup(header))
        vm.woken.discard(header.queue)
        if vm.head is None:
            assert answer is NotNow.EMPTY
            return
        if vm.parked or vm.live or vm.backing_off:
            expected = NotNow.PARKED if vm.parked else NotNow.BUSY if vm.live else NotNow.TOO_EARLY
            assert answer is expected
            vm.due |= not vm.parked
            return
        if isinstance(vm.holder, Claim):
            vm.deaths += 1
            vm.doubted.add(vm.head.queue)
        vm.epoch += 1
        vm.attempts += 1
        assert isinstance(answer, Claim)
        assert answer == Claim(
            vm.head,
            vm.epoch,
            answer.owner,
            vm.attempts,
            vm.deaths,
            f"body of {vm.head.event_id}".encode(),
            vm.state,
            tuple(vm.mail[1:]),
            waited=answer.waited,
            tried=answer.tried,
            trial="unclassified" if vm.trial else "",
        )
        vm.give_back()
        vm.holder, vm.live, vm.due, vm.overdue = answer, True, True, False
        vm.claims.append(answer)

    def a_message_comes_twice(self) -> None:
        vm = self.any(self.vms)
        queue = self.any(QUEUES)
        if vm.head is None or vm.head.queue == queue:
            return
        answer = self.mailbox.claim(Wakeup(vm.head.key, vm.uuid, queue))
        if vm.parked or vm.live or vm.backing_off:
            vm.due |= not vm.parked
            assert isinstance(answer, NotNow)
            return
        assert answer is NotNow.ELSEWHERE
        vm.wake()

    def renew(self) -> None:
        vm = self.any(self.vms)
        which = self.any([1, 2, 3])
        rights: list[Right] = [*vm.claims[-which:][:1], *vm.holds[-which:][:1]]
        for right in rights:
            held = right is vm.holder
            assert self.mailbox.renew(right) == held
            if held:
                vm.live, vm.overdue = True, False

    def done(self) -> None:
        vm = self.any(self.vms)
        how = self.any(ENDINGS)
        for claim in vm.claims[-self.any([1, 1, 2]) :][:1]:
            at = float(next(self.clock))
            status = Status.PARKED if how in {"park", "away", "stay"} else Status.APPLIED
            result = outcome(claim.header, status, at=at)
            endings: dict[str, Ending] = {
                "finish": Settled(result, f"state {at}"),
                "leave": Settled(result, f"state {at}", left=(RememberedLeftover(HypervisorName("simulated"), HOST),)),
                "gone": Settled(result, f"state {at}", gone=True),
                "superseded": Settled(replace(result, status=Status.DROPPED, code=how), f"state {at}"),
                "again": Retry(500, "host_unreachable"),
                "park": Park(result),
                "away": Park(result, PLACE),
                "stay": Park(result, PLACE, stays=claim.trial != ""),
            }
            ending = endings[how]
            if claim is not vm.holder:
                with pytest.raises(FencedError):
                    self.mailbox.done(claim, ending)
                return
            vm.claims.remove(claim)  # a worker says it once
            self.mailbox.done(claim, ending)
            self._ended(vm, how, ending.outcome if isinstance(ending, Settled) else result)

    def _ended(self, vm: VmModel, how: str, result: Outcome) -> None:
        parks, stays = how in {"park", "away", "stay"}, how == "stay" and vm.trial
        if vm.trial and not stays:
            vm.seen[result.key] = None
        vm.trial = False
        if (how == "again" or parks) and vm.through != result.key and any(map(vm.superseded_by, vm.mail)):
            vm.through = result.key
            vm.deaths, vm.due, vm.overdue = 0, False, False
            vm.give_back()
            vm.wake()
            return
        if how == "again":
            vm.give_back()
            vm.retry_set, vm.backing_off, vm.due, vm.overdue = True, True, True, False
            return
        vm.attempts = vm.deaths = 0
        if not stays:
            self.stream.append(result)
            vm.seen[result.key] = result
        if parks:
            vm.give_back()
            vm.away = how != "park"
            vm.through = None
            vm.parked, vm.due, vm.overdue = True, False, False
            return
        vm.state = f"state {result.at}"
        vm.gone |= how == "gone"
        if how == "leave":
            vm.left.add(vm.mail[0].queue)
        if how == "superseded":
            vm.doubted.add(vm.mail[0].queue)
        vm.mail.pop(0)
        vm.next_head()

    def hold(self) -> None:
        vm = self.any(self.vms)
        answer = self.mailbox.hold(vm.uuid)
        if vm.live or vm.mail:
            assert answer is (NotNow.BUSY if vm.live else NotNow.WAITING)
            return
        vm.epoch += 1
        assert isinstance(answer, Held)
        assert answer == Held(vm.uuid, vm.epoch, answer.owner, vm.state)
        vm.holder, vm.live = answer, True
        vm.holds.append(answer)

    def release(self) -> None:
        vm = self.any(self.vms)
        how = self.any(["", "state", "gone", "verified", "verified"])
        queue = self.any(sorted(vm.doubted) if how == "verified" and vm.doubted else QUEUES)
        for held in vm.holds[-self.any([1, 1, 2]) :][:1]:
            state = f"state {next(self.clock)}" if how else None
            doubts = [doubt for doubt in self.store.mailbox.doubts(queue) if doubt.vm_uuid == vm.uuid]
            finished = Leftover(queue, HOST) if how else None
            if how == "verified" and doubts:
                give_back = partial(self.mailbox.release_verified, held, doubts[0], Verified(state))
                settled, finished = {queue}, None
            else:
                give_back = partial(self.mailbox.release, held, state, gone=how == "gone", finished=finished)
                settled = set()
            if held is not vm.holder:
                with pytest.raises(FencedError):
                    give_back()
                return
            vm.holds.remove(held)
            give_back()
            vm.state, vm.gone = state or vm.state, vm.gone or how == "gone"
            vm.left -= {queue} if finished else set()
            vm.doubted -= settled
            vm.next_head()

    def time_passes(self) -> None:
        vm = self.any(self.vms)
        self.store.age(vm.uuid, AGES)
        vm.live = vm.backing_off = False
        vm.overdue = vm.due

    def look_for_wake_ups(self) -> None:
        queue = self.any(QUEUES)
        due = [vm for vm in self.vms if vm.overdue and vm.mail[0].queue == queue]
        said = [vm for vm in due if queue not in vm.woken and not self.loss.armed]  # asked again, it sends nothing
        sent = self.mailbox.wake_due(queue, 100)
        assert {one.header for one in sent} == {vm.mail[0] for vm in said}
        assert {one.attempt for one in sent} == {vm.attempts + 1 for vm in said}
        for vm in due:
            vm.overdue = vm.due = False
            vm.wake()

    def what_is_parked_for_a_place_is_tried(self) -> None:
        queue = self.any(QUEUES)
        waiting = [vm for vm in self.vms if vm.parked and vm.away and vm.mail[0].queue == queue]
        self.store.age_places(AGES, queue)
        lost = self.loss.armed
        sent = {one.header for one in self.mailbox.try_parked(queue, 3_000.0)}
        tried = [vm for vm in waiting if self.store.field(vm.uuid, "trial") is not None]
        assert bool(tried) == bool(waiting)
        assert sent == {vm.mail[0] for vm in tried if queue not in vm.woken and not lost}
        for vm in tried:
            vm.parked, vm.trial = False, True
            vm.wake()

    def an_operator_acts(self) -> None:
        vm = self.any(self.vms)
        action = self.any(list(OperatorAction))
        if vm.head is None:
            assert self.mailbox.act(vm.uuid, EventKey("another"), action, None) == "empty"
            return
        head = vm.head
        assert self.store.mailbox.act(vm.uuid, EventKey("another"), action, None) == "not_head"
        skipped = outcome(head, Status.SKIPPED, at=float(next(self.clock)))
        retried_twice = self.loss.armed and action is OperatorAction.RETRY
        answer = self.mailbox.act(vm.uuid, head.key, action, skipped)
        if vm.live:
            assert answer == "busy"
            return
        vm.epoch += 1 + retried_twice
        if vm.holder is not None or action is OperatorAction.SKIP:
            vm.doubted.add(head.queue)
        vm.seen[head.key] = vm.through = None
        if action is OperatorAction.SKIP:
            self.stream.append(skipped)
            vm.seen[head.key] = skipped
            vm.mail.pop(0)
        assert answer is None
        vm.next_head()

    def somebody_looks(self) -> None:
        vm = self.any(self.vms)
        assert self.store.mailbox.snapshot(vm.uuid) == Snapshot(bool(vm.mail) or vm.live, vm.state)
        assert self.store.mail(vm.uuid) == [header.key for header in vm.mail]

    def store_is_as_the_model_says(self) -> None:
        now = self.auditor.check()
        stream = [entry["outcome"] for _, entry in now.values.get("outcomes", ())]
        assert stream == [result.to_json() for result in self.stream]
        assert {uuid for uuid, _ in now.values.get("parked", ())} == {
            vm.uuid for vm in self.vms if vm.parked or vm.trial
        }
        for queue in QUEUES:
            assert _of_queue(now, "left", queue) == {vm.uuid for vm in self.vms if queue in vm.left}
            assert _of_queue(now, "verify", queue) == {vm.uuid for vm in self.vms if queue in vm.doubted}
        for vm in self.vms:
            self._is_as_the_model_says(now, vm)

    def _is_as_the_model_says(self, now: Keyspace, vm: VmModel) -> None:
        known = now.named("vm").get(vm.uuid, {})
        assert [json.loads(text)["key"] for text in now.named("mail").get(vm.uuid, ())] == [one.key for one in vm.mail]
        due = [queue for queue in QUEUES if vm.uuid in _of_queue(now, "due", queue)]
        assert due == ([vm.mail[0].queue] if vm.due else [])
        assert {queue for queue in QUEUES if any(vm.uuid in text for text in now.values.get(queue, ()))} == vm.woken
        assert [int(known.get(name, 0)) for name in ("epoch", "attempts")] == [vm.epoch, vm.attempts]
        assert ("owner" in known, "parked" in known) == (vm.holder is not None, vm.parked)
        assert known.get("state") == vm.state
        remembered = vm.mail or (vm.state is not None and not vm.gone)
        assert (now.ttls.get(f"vm:{vm.uuid}", -1) >= 0) == (vm.epoch > 0 and not remembered)


def _of_queue(now: Keyspace, kind: str, queue: str) -> set[str]:
    """Return the VMs that a queue's set of this kind names."""
    return {member.split()[0] for member, _ in now.named(kind).get(queue, ())}


STEPS = {
    Mailboxes.put: 4,
    Mailboxes.put_again: 1,
    Mailboxes.claim: 6,
    Mailboxes.a_message_comes_twice: 1,
    Mailboxes.renew: 1,
    Mailboxes.done: 8,
    Mailboxes.hold: 2,
    Mailboxes.release: 2,
    Mailboxes.time_passes: 2,
    Mailboxes.look_for_wake_ups: 2,
    Mailboxes.what_is_parked_for_a_place_is_tried: 3,
    Mailboxes.an_operator_acts: 1,
    Mailboxes.the_next_reply_is_lost: 3,
    Mailboxes.somebody_looks: 1,
}
"""What happens, and how often."""


@pytest.mark.timeout(900)  # seconds of work; thousands of round trips on a loaded machine
def test_store_is_as_the_model_says_after_any_sequence(empty: redis.Redis, redis_server: RedisServer) -> None:
    loss = Loss()
    pool = lossy_pool(redis_server.url.removesuffix("/0") + "/1", loss)
    with redis.Redis(connection_pool=pool) as lossy:
        teach(Store(empty), lossy)
        for seed in range(settings().max_examples):
            machine = Mailboxes(empty, lossy, loss, seed)
            try:
                machine.go_on(80)
            except Exception as error:
                error.add_note(f"seed {seed}: {machine.steps}")
                raise
            empty.flushdb()
    pool.disconnect()
