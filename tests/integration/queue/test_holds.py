"""HOLD, RELEASE, LEFTOVERS: tidying up after a VM never gets in the way of its events, and no leftover is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import Generation, HostName, HypervisorName, ImageName, InstanceName
from rigs.process import wait_until
from tasks.mailbox import FencedError, Held, Leftover, NotNow, OperatorAction, Snapshot
from tests.mailboxes import QUEUE, RESEND, Store, again, finish, new_vm, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.lifecycle.settled import Settled
    from configdrive.model import VmUuid
    from tasks.mailbox import Claim

H1, H2 = HostName("h1"), HostName("h2")
ZONE = f"{QUEUE}.zone"


SIMULATED = HypervisorName("simulated")


def hold(store: Store, vm: VmUuid) -> Held:
    held = store.mailbox.hold(vm)
    assert isinstance(held, Held), held
    return held


def done(store: Store, vm: VmUuid, kind: str = "start", *, gone: bool = False) -> None:
    """Have an event of a VM come and go."""
    claim = store.claim(store.put(vm, kind))
    store.mailbox.done(claim, finish(claim, gone=gone))


def leaving(claim: Claim, *hosts: HostName, state: str | None = '{"sequence":1}') -> Settled:
    return replace(finish(claim, state), left=tuple(RememberedLeftover(SIMULATED, host) for host in hosts))


def left(store: Store, vm: VmUuid, *hosts: HostName, queue: str = QUEUE) -> None:
    """Have an event leave something of a VM on hosts."""
    claim = store.claim(store.put(vm, "stop", queue=queue))
    store.mailbox.done(claim, leaving(claim, *hosts))


def ask_now(store: Store, queue: str = QUEUE) -> None:
    """Let the time come at which the hosts of a queue are asked."""
    members: Any = store.client.zrange(store.key("left", queue), 0, -1)
    store.client.zadd(store.key("left", queue), dict.fromkeys(members, 0))


# --- hold and release -------------------------------------------------------------------------------------------------


def test_a_vm_without_events_is_held_by_one_at_a_time(store: Store) -> None:
    vm = new_vm()
    done(store, vm)
    held = hold(store, vm)
    assert held == Held(vm, 2, held.owner, '{"sequence":1}')
    assert store.mailbox.hold(vm) is NotNow.BUSY
    assert store.mailbox.renew(held)
    store.mailbox.release(held)
    assert store.sent() == []
    assert not store.mailbox.renew(held)
    assert store.field(vm, "state") == '{"sequence":1}'
    assert store.ttl("vm", vm) == -1
    assert hold(store, vm).epoch == 3


def test_a_vm_whose_events_wait_is_not_held(store: Store) -> None:
    waiting, parked, backing_off = new_vm(), new_vm(), new_vm()
    store.put(waiting)
    store.parked(parked)
    store.mailbox.done(store.claim(store.put(backing_off)), again(40))
    for vm in (waiting, parked, backing_off):
        assert store.mailbox.hold(vm) is NotNow.WAITING


def test_a_vm_that_a_worker_is_at_is_not_held_until_the_worker_is_dead_and_then_its_event_goes_first(
    store: Store,
) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.claim(header)
    assert store.mailbox.hold(vm) is NotNow.BUSY
    store.age(vm, 30)
    assert store.mailbox.hold(vm) is NotNow.WAITING


def test_an_event_that_comes_meanwhile_waits_and_is_woken(store: Store) -> None:
    vm = new_vm()
    done(store, vm)
    held = hold(store, vm)
    header = store.put(vm, queue=ZONE)
    assert store.refused(header) is NotNow.BUSY
    behind = store.put(vm)
    assert store.mailbox.renew(held)
    assert store.due(vm, ZONE) == pytest.approx(30, abs=1), "the end of the hold, should the holder die"
    assert store.sent(ZONE) == []
    store.mailbox.release(held, "tidied up")
    assert store.sent(ZONE) == [(header.key, 1)]
    assert store.due(vm, ZONE) is None
    claim = store.claim(header)
    assert (claim.state, claim.epoch, claim.attempt, claim.deaths) == ("tidied up", 3, 1, 0)
    assert claim.waiting == (behind,)


def test_of_a_holder_that_dies_the_event_hears_at_the_end_of_its_lease_and_is_not_to_blame(store: Store) -> None:
    vm = new_vm()
    done(store, vm)
    held = hold(store, vm)
    header = store.put(vm)
    assert store.refused(header) is NotNow.BUSY
    store.age(vm, 20)
    assert store.due_now() == []
    store.age(vm, 20)
    assert store.due_now() == [(header.key, 1)]
    claim = store.claim(header)
    assert (claim.attempt, claim.deaths) == (1, 0)
    with pytest.raises(FencedError):
        store.mailbox.release(held, "too late", gone=True)
    assert not store.mailbox.renew(held)
    assert store.mailbox.renew(claim)
    assert store.field(vm, "state") == '{"sequence":1}'
    store.age(vm, 40)
    assert store.claim(header).deaths == 1, "a worker's death counts, as ever"


def test_a_hold_that_ran_out_passes_on_and_its_old_holder_can_do_nothing(store: Store) -> None:
    vm = new_vm()
    left(store, vm, H1)
    old = hold(store, vm)
    store.age(vm, 30)
    new = hold(store, vm)
    before = {key: store.client.dump(store.prefix + key) for key in store.all_keys()}
    assert not store.mailbox.renew(old)
    with pytest.raises(FencedError):
        store.mailbox.release(old, "the old one's", gone=True, finished=Leftover(QUEUE, H1))
    assert {key: store.client.dump(store.prefix + key) for key in store.all_keys()} == before
    store.mailbox.release(new, "the new one's")
    assert store.field(vm, "state") == "the new one's"


@pytest.mark.parametrize("action", list(OperatorAction))
def test_an_operator_does_not_interrupt_a_hold(store: Store, action: OperatorAction) -> None:
    vm = new_vm()
    held = hold(store, vm)
    header = store.put(vm)
    assert store.mailbox.act(vm, header.key, action, outcome(header, Status.SKIPPED)) == "busy"
    assert store.mailbox.renew(held)


# --- what is remembered, and for how long -----------------------------------------------------------------------------


def test_of_a_vm_that_nothing_is_known_of_nothing_stays(make_store: Callable[..., Store]) -> None:
    store = make_store(tombstone=1)
    dead, released = new_vm(), new_vm()
    assert hold(store, dead).state is None
    store.mailbox.release(hold(store, released))
    wait_until(lambda: not store.all_keys(), "both to be forgotten", timeout=5)


def test_what_is_adopted_stays_although_nothing_was_known_of_the_vm_before(store: Store) -> None:
    vm = new_vm()
    store.mailbox.release(hold(store, vm))
    assert store.ttl("vm", vm) > 0
    store.mailbox.release(hold(store, vm), "adopted")
    assert (store.field(vm, "state"), store.ttl("vm", vm)) == ("adopted", -1)
    store.mailbox.release(hold(store, vm))
    assert store.ttl("vm", vm) == -1


def test_an_event_for_a_vm_that_is_held_and_of_which_nothing_was_known_is_not_forgotten(store: Store) -> None:
    vm = new_vm()
    held = hold(store, vm)
    header = store.put(vm)
    assert store.ttl("vm", vm) == -1
    store.mailbox.release(held)
    assert store.sent() == [(header.key, 1)]
    assert store.ttl("vm", vm) == -1
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim))
    assert store.ttl("vm", vm) == -1


def test_a_tombstone_is_kept_until_nothing_is_left_and_then_not_for_ever(store: Store) -> None:
    vm = new_vm()
    claim = store.claim(store.put(vm, "destroy"))
    store.mailbox.done(claim, leaving(claim, H1, state="gone"))
    assert store.ttl("vm", vm) == -1
    late = store.claim(store.put(vm))
    store.mailbox.done(late, finish(late, None))
    assert store.ttl("vm", vm) == -1, "a late event does not begin its end"
    store.mailbox.release(hold(store, vm))
    assert store.ttl("vm", vm) == -1, "and neither does a sweep"
    store.mailbox.release(hold(store, vm), "gone, with nothing left", gone=True, finished=Leftover(QUEUE, H1))
    assert 7190 <= store.ttl("vm", vm) <= 7200
    assert store.mailbox.leftovers(QUEUE) == {}
    late = store.claim(store.put(vm))
    assert late.state == "gone, with nothing left"
    store.mailbox.done(late, finish(late, None))
    assert 7190 <= store.ttl("vm", vm) <= 7200


def test_a_snapshot_shows_who_is_at_it_and_what_is_remembered(store: Store) -> None:
    vm = new_vm()
    assert store.mailbox.snapshot(vm) == Snapshot(in_work=False, state=None)
    assert store.all_keys() == set()
    header = store.put(vm)
    assert store.mailbox.snapshot(vm) == Snapshot(in_work=True, state=None)
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim, "known"))
    assert store.mailbox.snapshot(vm) == Snapshot(in_work=False, state="known")
    hold(store, vm)
    assert store.mailbox.snapshot(vm) == Snapshot(in_work=True, state="known")
    store.age(vm, 30)
    assert store.mailbox.snapshot(vm) == Snapshot(in_work=False, state="known")


# --- what hosts still have --------------------------------------------------------------------------------------------


def test_what_is_left_is_asked_for_from_one_resend_time_on_and_at_its_pace(store: Store) -> None:
    vm, other = new_vm(), new_vm()
    left(store, vm, H1, H2)
    left(store, other, H1)
    assert store.mailbox.ask_hosts(QUEUE, 30) == []
    due: Any = store.client.zscore(store.key("left", QUEUE), f"{vm} h1")
    assert due / 1000 - store.now() == pytest.approx(RESEND, abs=1)
    ask_now(store)
    assert sorted(store.mailbox.ask_hosts(QUEUE, 30)) == [H1, H2], "each once"
    assert sorted(message.arguments[0] for message in store.messages()) == [H1, H2]
    assert store.mailbox.ask_hosts(QUEUE, 30) == [], "one worker of many sends it"
    found = store.mailbox.leftovers(QUEUE)
    assert {host: sorted(vms) for host, vms in found.items()} == {H1: sorted([vm, other]), H2: [vm]}


def test_a_host_whose_message_was_not_taken_yet_gets_no_other(store: Store) -> None:
    left(store, new_vm(), H1)
    for _ in range(3):
        ask_now(store)
        store.mailbox.ask_hosts(QUEUE, 30)
    (message,) = store.messages()
    store.mailbox.question_arrived(QUEUE, H1, message.number)
    ask_now(store)
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]


def test_a_question_that_was_lost_is_sent_again(store: Store) -> None:
    left(store, new_vm(), H1)
    ask_now(store)
    assert store.mailbox.ask_hosts(QUEUE, 0.001) == [H1]
    store.lose_messages()
    asked = []
    for _ in range(4):
        ask_now(store)
        assert store.due_now() == []
        asked += store.mailbox.ask_hosts(QUEUE, 0.001)
        store.age_queue(RESEND / 2)
    assert asked == [H1]


def test_what_is_finished_on_one_host_is_still_left_on_another(store: Store) -> None:
    vm, other = new_vm(), new_vm()
    left(store, vm, H1, H2)
    left(store, other, H1)
    store.mailbox.release(hold(store, vm), "cleaned", finished=Leftover(QUEUE, H1))
    assert store.mailbox.leftovers(QUEUE) == {H1: [other], H2: [vm]}
    assert store.field(vm, "state") == "cleaned"


def test_each_queue_has_leftovers_of_its_own(store: Store) -> None:
    vm, other = new_vm(), new_vm()
    left(store, vm, H1)
    left(store, other, H1, queue=ZONE)
    ask_now(store)
    assert (store.mailbox.ask_hosts(QUEUE, 30), store.mailbox.ask_hosts(ZONE, 30)) == ([H1], [])
    assert (store.mailbox.leftovers(QUEUE), store.mailbox.leftovers(ZONE)) == ({H1: [vm]}, {H1: [other]})


def test_what_is_left_already_is_asked_for_no_later_because_it_is_left_again(store: Store) -> None:
    vm = new_vm()
    left(store, vm, H1)
    ask_now(store)
    left(store, vm, H1)
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]


def test_an_attempt_that_did_not_end_the_event_notes_no_leftover(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    old = store.claim(header)
    store.age(vm, 30)
    store.claim(header)
    with pytest.raises(FencedError):
        store.mailbox.done(old, leaving(old, H1))
    assert store.mailbox.leftovers(QUEUE) == {}


# --- orphans ----------------------------------------------------------------------------------------------------------


def test_for_how_long_an_image_is_nobody_s_goes_by_the_store_s_clock(store: Store) -> None:
    image = ImageName.of(InstanceName("i-2-14-VM"), new_vm(), Generation(3))
    other = ImageName.of(image.instance_name, image.vm_uuid, Generation(4))
    assert store.mailbox.orphan_for(image, note=False) is None
    assert store.mailbox.orphan_for(image, note=True) == pytest.approx(0, abs=1)
    store.client.zincrby(store.key("orphans"), -60_000, str(image))
    assert store.mailbox.orphan_for(image, note=True) == pytest.approx(60, abs=1)
    assert store.mailbox.orphan_for(image, note=False) == pytest.approx(60, abs=1)
    assert store.mailbox.orphan_for(other, note=False) is None
    store.mailbox.forget_orphan(image)
    store.mailbox.forget_orphan(image)
    assert store.mailbox.orphan_for(image, note=False) is None


def test_what_is_left_is_asked_for_by_the_workers_of_its_own_hypervisor_and_zone(store: Store) -> None:
    """By those of the event, when the zone is not known and the hypervisor is theirs."""
    vm, zone = new_vm(), f"{QUEUE}.berlin"
    kvm = HypervisorName("kvm")
    found = (RememberedLeftover(SIMULATED, H1), RememberedLeftover(SIMULATED, H2, "bonn"), RememberedLeftover(kvm, H1))
    claim = store.claim(store.put(vm, "stop", queue=zone))
    store.mailbox.done(claim, replace(finish(claim), left=found))
    queues = (QUEUE, zone, f"{QUEUE}.bonn", "configdrive.kvm")
    assert [store.mailbox.leftovers(queue) for queue in queues] == [{}, {H1: [vm]}, {H2: [vm]}, {H1: [vm]}]


def test_a_clock_that_was_set_back_lets_no_host_be_asked_later_than_its_pause(store: Store) -> None:
    vm = new_vm()
    left(store, vm, H1)
    store.client.zincrby(store.key("left", QUEUE), 3600_000, f"{vm} {H1}")
    assert store.mailbox.ask_hosts(QUEUE, 30) == []
    store.client.zincrby(store.key("left", QUEUE), -30_000, f"{vm} {H1}")
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]
