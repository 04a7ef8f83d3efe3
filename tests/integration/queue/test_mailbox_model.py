"""Any sequence of what publishers, workers, sweepers, operators and time do, against a model in plain Python."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from configdrive.contract.outcome import Outcome, Status
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import HostName, HypervisorName
from rigs.invariants import Auditor
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
    Snapshot,
    Wakeup,
)
from tests.integration.queue.vm_model import VmModel
from tests.mailboxes import QUEUE, Store, new_vm, outcome, posting

if TYPE_CHECKING:
    import redis

    from tasks.mailbox import Right

QUEUES = (QUEUE, f"{QUEUE}.zone")
HOST = HostName("h1")
PLACE = "host h1"
EXAMPLES = settings().max_examples // 3
AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over and every sweep is due."""


class Mailboxes(RuleBasedStateMachine):
    """Three VMs, two queues."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.client, lease=3_000.0, resend=3_000.0)  # no machine is so slow as that
        self.vms = [VmModel(new_vm()) for _ in range(3)]
        self.stream: list[Outcome] = []
        self.clock = itertools.count(1)
        self.auditor = Auditor(self.client, self.store.prefix)

    index = st.integers(0, 2)

    @rule(index=index, kind=st.sampled_from(["start", "start", "stop", "destroy"]), queue=st.sampled_from(QUEUES))
    def put(self, index: int, kind: str, queue: str) -> None:
        vm = self.vms[index]
        item = posting(vm.uuid, kind, queue=queue)
        assert self.store.mailbox.put(item).accepted
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
            receipt = self.store.mailbox.put(vm.items[key])
            assert (receipt.accepted, receipt.first) == (False, vm.seen[key])

    @rule(index=index)
    def claim(self, index: int) -> None:
        vm = self.vms[index]
        if vm.head is None:
            return
        answer = self.store.mailbox.claim(self.store.wakeup(vm.head))
        vm.woken.discard(vm.head.queue)
        if vm.parked or vm.live or vm.backing_off:
            expected = NotNow.PARKED if vm.parked else NotNow.BUSY if vm.live else NotNow.TOO_EARLY
            assert answer is expected
            vm.due |= not vm.parked
            return
        vm.deaths += isinstance(vm.holder, Claim)
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
        answer = self.store.mailbox.claim(Wakeup(vm.head.key, vm.uuid, queue))
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
            assert self.store.mailbox.renew(right) == held
            if held:
                vm.live, vm.overdue = True, False

    @rule(
        index=index,
        which=st.integers(1, 2),
        how=st.sampled_from(["finish", "leave", "again", "park", "away", "stay", "gone"]),
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
                "again": Retry(500, "host_unreachable"),
                "park": Park(result),
                "away": Park(result, PLACE),
                "stay": Park(result, PLACE, stays=claim.trial != ""),
            }
            ending = endings[how]
            if claim is not vm.holder:
                with pytest.raises(FencedError):
                    self.store.mailbox.done(claim, ending)
                return
            vm.claims.remove(claim)  # a worker says it once
            self.store.mailbox.done(claim, ending)
            self._ended(vm, how, result)

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
        vm.mail.pop(0)
        vm.next_head()

    @rule(index=index)
    def hold(self, index: int) -> None:
        vm = self.vms[index]
        answer = self.store.mailbox.hold(vm.uuid)
        if vm.live or vm.mail:
            assert answer is (NotNow.BUSY if vm.live else NotNow.WAITING)
            return
        vm.epoch += 1
        assert isinstance(answer, Held)
        assert answer == Held(vm.uuid, vm.epoch, answer.owner, vm.state)
        vm.holder, vm.live = answer, True
        vm.holds.append(answer)

    @rule(
        index=index, which=st.integers(1, 2), how=st.sampled_from(["", "state", "gone"]), queue=st.sampled_from(QUEUES)
    )
    def release(self, index: int, which: int, how: str, queue: str) -> None:
        vm = self.vms[index]
        for held in vm.holds[-which:][:1]:
            state = f"state {next(self.clock)}" if how else None
            finished = Leftover(queue, HOST) if how else None
            if held is not vm.holder:
                with pytest.raises(FencedError):
                    self.store.mailbox.release(held, state, gone=how == "gone", finished=finished)
                return
            vm.holds.remove(held)
            self.store.mailbox.release(held, state, gone=how == "gone", finished=finished)
            vm.state, vm.gone = state or vm.state, vm.gone or how == "gone"
            vm.left -= {queue} if finished else set()
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
        sent = self.store.mailbox.wake_due(queue, 100)
        assert {one.header for one in sent} == {vm.mail[0] for vm in due if queue not in vm.woken}
        assert {one.attempt for one in sent} == {vm.attempts + 1 for vm in due if queue not in vm.woken}
        for vm in due:
            vm.overdue = vm.due = False
            vm.wake()

    @rule(queue=st.sampled_from(QUEUES))
    def what_is_parked_for_a_place_is_tried(self, queue: str) -> None:
        waiting = [vm for vm in self.vms if vm.parked and vm.away and vm.mail[0].queue == queue]
        self.store.age_places(AGES, queue)
        sent = {one.header for one in self.store.mailbox.try_parked(queue, 3_000.0)}
        tried = [vm for vm in waiting if self.store.field(vm.uuid, "trial") is not None]
        assert bool(tried) == bool(waiting)
        assert sent == {vm.mail[0] for vm in tried if queue not in vm.woken}
        for vm in tried:
            vm.parked, vm.trial = False, True
            vm.wake()

    @rule(index=index, action=st.sampled_from(OperatorAction))
    def an_operator_acts(self, index: int, action: OperatorAction) -> None:
        vm = self.vms[index]
        if vm.head is None:
            return
        head = vm.head
        skipped = outcome(head, Status.SKIPPED, at=float(next(self.clock)))
        answer = self.store.mailbox.act(vm.uuid, head.key, action, skipped)
        if vm.live:
            assert answer == "busy"
            return
        vm.epoch += 1
        vm.seen[head.key] = vm.through = None
        if action is OperatorAction.SKIP:
            self.stream.append(skipped)
            vm.seen[head.key] = skipped
            vm.mail.pop(0)
        assert answer is None
        vm.next_head()

    @invariant()
    def store_is_as_the_model_says(self) -> None:
        assert self.store.outcomes() == self.stream
        assert {uuid for uuid, _ in self.store.mailbox.parked(10)} == {
            vm.uuid for vm in self.vms if vm.parked or vm.trial
        }
        for queue in QUEUES:
            left = {uuid for vms in self.store.mailbox.leftovers(queue).values() for uuid in vms}
            assert left == {vm.uuid for vm in self.vms if queue in vm.left}
        for vm in self.vms:
            self._is_as_the_model_says(vm)

    @invariant()
    def the_scripts_invariants_hold(self) -> None:
        self.auditor.check()

    def _is_as_the_model_says(self, vm: VmModel) -> None:
        assert self.store.mail(vm.uuid) == [header.key for header in vm.mail]
        bodies = self.store.bodies(vm.uuid)
        assert bodies == {header.key for header in vm.mail}
        due = [queue for queue in QUEUES if self.store.due(vm.uuid, queue) is not None]
        assert due == ([vm.mail[0].queue] if vm.due else [])
        woken = {
            message.queue
            for queue in QUEUES
            for message in self.store.messages(queue)
            if message.wakeup.vm_uuid == vm.uuid
        }
        assert woken == vm.woken
        assert int(self.store.field(vm.uuid, "epoch") or 0) == vm.epoch
        assert int(self.store.field(vm.uuid, "attempts") or 0) == vm.attempts
        assert (self.store.field(vm.uuid, "owner") is not None) == (vm.holder is not None)
        assert (self.store.field(vm.uuid, "parked") is not None) == vm.parked
        assert self.store.field(vm.uuid, "state") == vm.state
        assert self.store.mailbox.snapshot(vm.uuid) == Snapshot(bool(vm.mail) or vm.live, vm.state)
        remembered = vm.mail or (vm.state is not None and not vm.gone)
        assert (self.store.ttl("vm", vm.uuid) >= 0) == (vm.epoch > 0 and not remembered)


@pytest.mark.timeout(900)  # ten seconds of work; thousands of round trips on a loaded machine
def test_store_is_as_the_model_says_after_any_sequence(empty: redis.Redis) -> None:
    machine = type("Mailboxes", (Mailboxes,), {"client": empty})
    run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=50))
