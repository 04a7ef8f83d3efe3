"""Any sequence of what publishers, workers, sweepers, operators and time do, against a model in plain Python.

What it implies has no test of its own: put, claim, renew, done, hold, release, the look for wake-ups and an operator's
actions in any order, by who may and by who may not any more, each of them also when its reply is lost.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

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
EXAMPLES = settings().max_examples // 3
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every sweep is due."""


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


class Mailboxes(RuleBasedStateMachine):
    """Three VMs, two queues."""

    client: redis.Redis
    lossy: redis.Redis
    loss: Loss

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.client, lease=3_000.0, resend=3_000.0)  # no machine is so slow as that
        self.mailbox = self.store.through(self.lossy)
        self.loss.armed = False
        self.vms = [VmModel(new_vm()) for _ in range(3)]
        self.stream: list[Outcome] = []
        self.clock = itertools.count(1)
        self.auditor = Auditor(self.client, self.store.prefix)

    index = st.integers(0, 2)

    @rule()
    def the_next_reply_is_lost(self) -> None:
        self.loss.next()

    @rule(
        index=index,
        kind=st.sampled_from(["start", "start", "stop", "destroy"]),
        queue=st.sampled_from(QUEUES),
        older=st.booleans(),
        many=st.booleans(),
    )
    def put(self, index: int, kind: str, queue: str, *, older: bool, many: bool) -> None:
        vm = self.vms[index]
        item = posting(vm.uuid, kind, queue=queue)
        item = replace(item, header=replace(item.header, sequence=0)) if older else item
        (receipt,) = receipts(self.mailbox.put_many([item])) if many else [self.mailbox.put(item)]
        assert receipt.accepted
        vm.mail.append(item.header)
        vm.seen[item.header.key] = None
        vm.items[item.header.key] = item
        if vm.parked:
            if vm.superseded_by(item.header):
                vm.next_head()
        elif vm.retry_set and vm.superseded_by(item.header):
            vm.retry_set = vm.backing_off = vm.overdue = False
            vm.wake()
        elif not vm.due:
            vm.wake()

    @rule(index=index, which=st.integers(0, 30))
    def put_again(self, index: int, which: int) -> None:
        vm = self.vms[index]
        if vm.seen:
            key = list(vm.seen)[which % len(vm.seen)]
            receipt = self.mailbox.put(replace(vm.items[key], body=b"sealed anew"))
            assert (receipt.accepted, receipt.first) == (False, vm.seen[key])

    @rule(index=index)
    def claim(self, index: int) -> None:
        vm = self.vms[index]
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

    @rule(index=index, queue=st.sampled_from(QUEUES))
    def a_message_comes_twice(self, index: int, queue: str) -> None:
        vm = self.vms[index]
        if vm.head is None or vm.head.queue == queue:
            return
        answer = self.mailbox.claim(Wakeup(vm.head.key, vm.uuid, queue))
        if vm.parked or vm.live or vm.backing_off:
            vm.due |= not vm.parked
            assert isinstance(answer, NotNow)
            return
        assert answer is NotNow.ELSEWHERE
        vm.wake()

    @rule(index=index, which=st.integers(1, 3))
    def renew(self, index: int, which: int) -> None:
        vm = self.vms[index]
        rights: list[Right] = [*vm.claims[-which:][:1], *vm.holds[-which:][:1]]
        for right in rights:
            held = right is vm.holder
            assert self.mailbox.renew(right) == held
            if held:
                vm.live, vm.overdue = True, False

    @rule(
        index=index,
        which=st.integers(1, 2),
        how=st.sampled_from(["finish", "leave", "again", "park", "away", "stay", "gone", "superseded"]),
    )
    def done(self, index: int, which: int, how: str) -> None:
        vm = self.vms[index]
        for claim in vm.claims[-which:][:1]:
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

    @rule(index=index)
    def hold(self, index: int) -> None:
        vm = self.vms[index]
        answer = self.mailbox.hold(vm.uuid)
        if vm.live or vm.mail:
            assert answer is (NotNow.BUSY if vm.live else NotNow.WAITING)
            return
        vm.epoch += 1
        assert isinstance(answer, Held)
        assert answer == Held(vm.uuid, vm.epoch, answer.owner, vm.state)
        vm.holder, vm.live = answer, True
        vm.holds.append(answer)

    @rule(
        index=index,
        which=st.integers(1, 2),
        how=st.sampled_from(["", "state", "gone", "verified"]),
        queue=st.sampled_from(QUEUES),
    )
    def release(self, index: int, which: int, how: str, queue: str) -> None:
        vm = self.vms[index]
        for held in vm.holds[-which:][:1]:
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

    @rule(index=index)
    def time_passes(self, index: int) -> None:
        vm = self.vms[index]
        self.store.age(vm.uuid, AGES)
        vm.live = vm.backing_off = False
        vm.overdue = vm.due

    @rule(queue=st.sampled_from(QUEUES))
    def look_for_wake_ups(self, queue: str) -> None:
        due = [vm for vm in self.vms if vm.overdue and vm.mail[0].queue == queue]
        said = (
            [] if self.loss.armed else [vm for vm in due if queue not in vm.woken]
        )  # asked again, it has sent nothing
        sent = self.mailbox.wake_due(queue, 100)
        assert {one.header for one in sent} == {vm.mail[0] for vm in said}
        assert {one.attempt for one in sent} == {vm.attempts + 1 for vm in said}
        for vm in due:
            vm.overdue = vm.due = False
            vm.wake()

    @rule(queue=st.sampled_from(QUEUES))
    def what_is_parked_for_a_place_is_tried(self, queue: str) -> None:
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

    @rule(index=index, action=st.sampled_from(OperatorAction))
    def an_operator_acts(self, index: int, action: OperatorAction) -> None:
        vm = self.vms[index]
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

    @rule(index=index)
    def somebody_looks(self, index: int) -> None:
        vm = self.vms[index]
        assert self.store.mailbox.snapshot(vm.uuid) == Snapshot(bool(vm.mail) or vm.live, vm.state)
        assert self.store.mail(vm.uuid) == [header.key for header in vm.mail]

    @invariant()
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


@pytest.mark.timeout(900)  # ten seconds of work; thousands of round trips on a loaded machine
def test_store_is_as_the_model_says_after_any_sequence(empty: redis.Redis, redis_server: RedisServer) -> None:
    loss = Loss()
    pool = lossy_pool(redis_server.url.removesuffix("/0") + "/1", loss)
    with redis.Redis(connection_pool=pool) as lossy:
        teach(Store(empty), lossy)
        machine = type("Mailboxes", (Mailboxes,), {"client": empty, "lossy": lossy, "loss": loss})
        run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=50))
    pool.disconnect()
