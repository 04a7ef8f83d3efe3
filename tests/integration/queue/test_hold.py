"""HOLD, RELEASE, OWING: tidying up after a VM never gets in the way of its events, and no debt is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import Generation, HostName, ImageName, InstanceName
from rigs.process import wait_until
from tasks.mailbox import Debt, FencedError, Glance, Held, NotNow, PersonsWord, Wake
from tests.integration.queue.box import QUEUE, RESEND, Box, again, finish, new_vm, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import VmUuid
    from tasks.mailbox import Claim, Finish

H1, H2 = HostName("h1"), HostName("h2")
ZONE = f"{QUEUE}.zone"


def hold(box: Box, vm: VmUuid) -> Held:
    held = box.mailbox.hold(vm)
    assert isinstance(held, Held), held
    return held


def done(box: Box, vm: VmUuid, kind: str = "start", *, gone: bool = False) -> None:
    """Have an event of a VM come and go."""
    claim = box.claim(box.put(vm, kind))
    box.mailbox.done(claim, finish(claim, gone=gone))


def leaving(claim: Claim, *hosts: HostName, state: str | None = '{"sequence":1}') -> Finish:
    return replace(finish(claim, state), left_on=hosts)


def left(box: Box, vm: VmUuid, *hosts: HostName, queue: str = QUEUE) -> None:
    """Have an event leave something of a VM on hosts."""
    claim = box.claim(box.put(vm, "stop", queue=queue))
    box.mailbox.done(claim, leaving(claim, *hosts))


def ask_now(box: Box, queue: str = QUEUE) -> None:
    """Let the time come at which the hosts of a queue are asked."""
    members: Any = box.client.zrange(box.key("left", queue), 0, -1)
    box.client.zadd(box.key("left", queue), dict.fromkeys(members, 0))


# --- hold and release -------------------------------------------------------------------------------------------------


def test_a_vm_without_events_is_held_by_one_at_a_time(box: Box) -> None:
    vm = new_vm()
    done(box, vm)
    held = hold(box, vm)
    assert held == Held(vm, 2, '{"sequence":1}')
    assert box.mailbox.hold(vm) is NotNow.BUSY
    assert box.mailbox.renew(held)
    assert box.mailbox.release(held) is None
    assert not box.mailbox.renew(held)
    assert box.field(vm, "state") == '{"sequence":1}'
    assert box.ttl("vm", vm) == -1
    assert hold(box, vm).epoch == 3


def test_a_vm_whose_events_wait_is_not_held(box: Box) -> None:
    waiting, parked, backing_off = new_vm(), new_vm(), new_vm()
    box.put(waiting)
    box.parked(parked)
    box.mailbox.done(box.claim(box.put(backing_off)), again(40))
    for vm in (waiting, parked, backing_off):
        assert box.mailbox.hold(vm) is NotNow.WAITING


def test_a_vm_that_a_worker_is_at_is_not_held_until_the_worker_is_dead_and_then_its_event_goes_first(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    box.claim(header)
    assert box.mailbox.hold(vm) is NotNow.BUSY
    box.age(vm, 30)
    assert box.mailbox.hold(vm) is NotNow.WAITING


def test_an_event_that_comes_meanwhile_waits_and_is_woken(box: Box) -> None:
    vm = new_vm()
    done(box, vm)
    held = hold(box, vm)
    header = box.put(vm, queue=ZONE)
    assert box.refused(header) is NotNow.BUSY
    behind = box.put(vm)
    assert box.mailbox.renew(held)
    assert box.due(vm, ZONE) == pytest.approx(30, abs=1), "nobody is woken while it is held"
    assert box.mailbox.release(held, "tidied up") == Wake(header, 1)
    assert box.due(vm, ZONE) == pytest.approx(RESEND, abs=1)
    claim = box.claim(header)
    assert (claim.state, claim.epoch, claim.attempt, claim.deaths) == ("tidied up", 3, 1, 0)
    assert claim.waiting == (behind,)


def test_of_a_holder_that_dies_the_event_hears_at_the_end_of_its_lease_and_is_not_to_blame(box: Box) -> None:
    vm = new_vm()
    done(box, vm)
    held = hold(box, vm)
    header = box.put(vm)
    box.age(vm, 20)
    assert box.mailbox.sweep(QUEUE, 10) == []
    box.age(vm, 20)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 1)]
    claim = box.claim(header)
    assert (claim.attempt, claim.deaths) == (1, 0)
    with pytest.raises(FencedError):
        box.mailbox.release(held, "too late", gone=True)
    assert not box.mailbox.renew(held)
    assert box.mailbox.renew(claim)
    assert box.field(vm, "state") == '{"sequence":1}'
    box.age(vm, 40)
    assert box.claim(header).deaths == 1, "a worker's death counts, as ever"


def test_a_hold_that_ran_out_passes_on_and_its_old_holder_can_do_nothing(box: Box) -> None:
    vm = new_vm()
    left(box, vm, H1)
    old = hold(box, vm)
    box.age(vm, 30)
    new = hold(box, vm)
    before = {key: box.client.dump(box.prefix + key) for key in box.all_keys()}
    assert not box.mailbox.renew(old)
    with pytest.raises(FencedError):
        box.mailbox.release(old, "the old one's", gone=True, paid=Debt(QUEUE, H1))
    assert {key: box.client.dump(box.prefix + key) for key in box.all_keys()} == before
    assert box.mailbox.release(new, "the new one's") is None
    assert box.field(vm, "state") == "the new one's"


@pytest.mark.parametrize("word", list(PersonsWord))
def test_a_person_does_not_interrupt_a_hold(box: Box, word: PersonsWord) -> None:
    vm = new_vm()
    held = hold(box, vm)
    header = box.put(vm)
    assert box.mailbox.word(vm, header.event_id, word, outcome(header, Status.SKIPPED)) == "busy"
    assert box.mailbox.renew(held)


# --- what is remembered, and for how long -----------------------------------------------------------------------------


def test_of_a_vm_that_nothing_is_known_of_nothing_stays(make_box: Callable[..., Box]) -> None:
    box = make_box(tombstone=1)
    dead, released = new_vm(), new_vm()
    assert hold(box, dead).state is None
    box.mailbox.release(hold(box, released))
    wait_until(lambda: not box.all_keys(), "both to be forgotten", timeout=5)


def test_what_is_adopted_stays_although_nothing_was_known_of_the_vm_before(box: Box) -> None:
    vm = new_vm()
    box.mailbox.release(hold(box, vm))
    assert box.ttl("vm", vm) > 0
    box.mailbox.release(hold(box, vm), "adopted")
    assert (box.field(vm, "state"), box.ttl("vm", vm)) == ("adopted", -1)
    box.mailbox.release(hold(box, vm))
    assert box.ttl("vm", vm) == -1


def test_an_event_for_a_vm_that_is_held_and_of_which_nothing_was_known_is_not_forgotten(box: Box) -> None:
    vm = new_vm()
    held = hold(box, vm)
    header = box.put(vm)
    assert box.ttl("vm", vm) == -1
    assert box.mailbox.release(held) == Wake(header, 1)
    assert box.ttl("vm", vm) == -1
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim))
    assert box.ttl("vm", vm) == -1


def test_a_tombstone_is_kept_until_nothing_is_left_and_then_not_for_ever(box: Box) -> None:
    vm = new_vm()
    claim = box.claim(box.put(vm, "destroy"))
    box.mailbox.done(claim, leaving(claim, H1, state="gone"))
    assert box.ttl("vm", vm) == -1
    late = box.claim(box.put(vm))
    box.mailbox.done(late, finish(late, None))
    assert box.ttl("vm", vm) == -1, "a late event does not begin its end"
    box.mailbox.release(hold(box, vm))
    assert box.ttl("vm", vm) == -1, "and neither does a sweep"
    box.mailbox.release(hold(box, vm), "gone, with nothing left", gone=True, paid=Debt(QUEUE, H1))
    assert 7190 <= box.ttl("vm", vm) <= 7200
    assert box.mailbox.owed(QUEUE) == {}
    late = box.claim(box.put(vm))
    assert late.state == "gone, with nothing left"
    box.mailbox.done(late, finish(late, None))
    assert 7190 <= box.ttl("vm", vm) <= 7200


def test_a_glance_sees_who_is_at_it_and_what_is_remembered(box: Box) -> None:
    vm = new_vm()
    assert box.mailbox.glance(vm) == Glance(in_work=False, state=None)
    assert box.all_keys() == set()
    header = box.put(vm)
    assert box.mailbox.glance(vm) == Glance(in_work=True, state=None)
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim, "known"))
    assert box.mailbox.glance(vm) == Glance(in_work=False, state="known")
    hold(box, vm)
    assert box.mailbox.glance(vm) == Glance(in_work=True, state="known")
    box.age(vm, 30)
    assert box.mailbox.glance(vm) == Glance(in_work=False, state="known")


# --- what hosts owe ---------------------------------------------------------------------------------------------------


def test_what_is_left_is_owed_from_one_resend_time_on_and_asked_for_at_its_pace(box: Box) -> None:
    vm, other = new_vm(), new_vm()
    left(box, vm, H1, H2)
    left(box, other, H1)
    assert box.mailbox.hosts_owing(QUEUE, 30) == []
    due: Any = box.client.zscore(box.key("left", QUEUE), f"{vm} h1")
    assert due / 1000 - box.now() == pytest.approx(RESEND, abs=1)
    ask_now(box)
    assert sorted(box.mailbox.hosts_owing(QUEUE, 30)) == [H1, H2], "each once"
    assert box.mailbox.hosts_owing(QUEUE, 30) == [], "one sweeper of many asks"
    owed = box.mailbox.owed(QUEUE)
    assert {host: sorted(vms) for host, vms in owed.items()} == {H1: sorted([vm, other]), H2: [vm]}
    ask_now(box)
    assert box.mailbox.hosts_owing(QUEUE, 0.05) != []
    time.sleep(0.1)
    assert sorted(box.mailbox.hosts_owing(QUEUE, 30)) == [H1, H2]


def test_a_payment_takes_one_debt_and_no_other(box: Box) -> None:
    vm, other = new_vm(), new_vm()
    left(box, vm, H1, H2)
    left(box, other, H1)
    box.mailbox.release(hold(box, vm), "paid", paid=Debt(QUEUE, H1))
    assert box.mailbox.owed(QUEUE) == {H1: [other], H2: [vm]}
    assert box.field(vm, "state") == "paid"


def test_a_host_may_be_asked_once_in_a_while(box: Box) -> None:
    assert box.mailbox.may_ask(QUEUE, H1, 0.2)
    assert not box.mailbox.may_ask(QUEUE, H1, 0.2)
    assert box.mailbox.may_ask(QUEUE, H2, 0.2)
    assert box.mailbox.may_ask(ZONE, H1, 0.2)
    wait_until(lambda: box.mailbox.may_ask(QUEUE, H1, 0.2), "its time to come again", timeout=5)


def test_queues_owe_by_themselves(box: Box) -> None:
    vm, other = new_vm(), new_vm()
    left(box, vm, H1)
    left(box, other, H1, queue=ZONE)
    ask_now(box)
    assert (box.mailbox.hosts_owing(QUEUE, 30), box.mailbox.hosts_owing(ZONE, 30)) == ([H1], [])
    assert (box.mailbox.owed(QUEUE), box.mailbox.owed(ZONE)) == ({H1: [vm]}, {H1: [other]})


def test_what_is_owed_already_is_asked_for_no_later_because_it_is_left_again(box: Box) -> None:
    vm = new_vm()
    left(box, vm, H1)
    ask_now(box)
    left(box, vm, H1)
    assert box.mailbox.hosts_owing(QUEUE, 30) == [H1]


def test_an_attempt_that_did_not_end_the_event_leaves_no_debt(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    old = box.claim(header)
    box.age(vm, 30)
    box.claim(header)
    with pytest.raises(FencedError):
        box.mailbox.done(old, leaving(old, H1))
    assert box.mailbox.owed(QUEUE) == {}


# --- strays -----------------------------------------------------------------------------------------------------------


def test_for_how_long_an_image_is_nobody_s_is_told_by_the_store_s_clock(box: Box) -> None:
    image = ImageName.of(InstanceName("i-2-14-VM"), new_vm(), Generation(3))
    other = ImageName.of(image.instance_name, image.vm_uuid, Generation(4))
    assert box.mailbox.stray_for(image, note=False) is None
    assert box.mailbox.stray_for(image, note=True) == pytest.approx(0, abs=1)
    box.client.zincrby(box.key("strays"), -60_000, str(image))
    assert box.mailbox.stray_for(image, note=True) == pytest.approx(60, abs=1)
    assert box.mailbox.stray_for(image, note=False) == pytest.approx(60, abs=1)
    assert box.mailbox.stray_for(other, note=False) is None
    box.mailbox.forget_stray(image)
    box.mailbox.forget_stray(image)
    assert box.mailbox.stray_for(image, note=False) is None
