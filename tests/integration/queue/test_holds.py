"""What is remembered of a VM, what hosts still have of it, and whose images nobody knows: no leftover is lost.

HOLD and RELEASE themselves: `test_mailbox_model`.
"""

from dataclasses import replace
from typing import Any

import pytest

from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import Generation, HostName, HypervisorName, ImageName, InstanceName, VmUuid
from tasks.mailbox import Leftover
from tests.mailboxes import QUEUE, RESEND, Store, finish, new_vm

H1, H2 = HostName("h1"), HostName("h2")
SIMULATED = HypervisorName("simulated")


def left(store: Store, vm: VmUuid, *hosts: HostName) -> None:
    """Have an event leave something of a VM on hosts."""
    store.end(store.put(vm, "stop"), left=tuple(RememberedLeftover(SIMULATED, host) for host in hosts))


def ask_now(store: Store) -> None:
    """Let the time come at which the hosts of a queue are asked."""
    members: Any = store.client.zrange(store.key("left", QUEUE), 0, -1)
    store.client.zadd(store.key("left", QUEUE), dict.fromkeys(members, 0))


def test_a_tombstone_is_kept_until_nothing_is_left_and_then_not_for_ever(store: Store) -> None:
    vm = new_vm()
    claim = store.claim(store.put(vm, "destroy"))
    store.mailbox.done(claim, replace(finish(claim, "gone"), left=(RememberedLeftover(SIMULATED, H1),)))
    assert store.ttl("vm", vm) == -1
    late = store.end(store.put(vm), None)
    assert store.ttl("vm", vm) == -1, "a late event does not begin its end"
    store.mailbox.release(store.hold(vm))
    assert store.ttl("vm", vm) == -1, "and neither does a sweep"
    store.mailbox.release(store.hold(vm), "gone, with nothing left", gone=True, finished=Leftover(QUEUE, H1))
    assert 7190 <= store.ttl("vm", vm) <= 7200
    assert store.mailbox.leftovers(QUEUE) == {}
    late = store.claim(store.put(vm))
    assert late.state == "gone, with nothing left"
    store.mailbox.done(late, finish(late, None))
    assert 7190 <= store.ttl("vm", vm) <= 7200
    assert 3590 <= store.ttl("seen", late.header.key) <= 3600


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
    store.mailbox.release(store.hold(vm), "cleaned", finished=Leftover(QUEUE, H1))
    assert store.mailbox.leftovers(QUEUE) == {H1: [other], H2: [vm]}
    assert store.field(vm, "state") == "cleaned"


def test_what_is_left_already_is_asked_for_no_later_because_it_is_left_again(store: Store) -> None:
    vm = new_vm()
    left(store, vm, H1)
    ask_now(store)
    left(store, vm, H1)
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]


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
    store.end(store.put(vm, "stop", queue=zone), left=found)
    queues = (QUEUE, zone, f"{QUEUE}.bonn", "configdrive.kvm")
    assert [store.mailbox.leftovers(queue) for queue in queues] == [{}, {H1: [vm]}, {H2: [vm]}, {H1: [vm]}]


def test_a_clock_that_was_set_back_lets_no_host_be_asked_later_than_its_pause(store: Store) -> None:
    vm = new_vm()
    left(store, vm, H1)
    store.client.zincrby(store.key("left", QUEUE), 3600_000, f"{vm} {H1}")
    assert store.mailbox.ask_hosts(QUEUE, 30) == []
    store.client.zincrby(store.key("left", QUEUE), -30_000, f"{vm} {H1}")
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]
