"""SWEEP: whatever should be on its way and is not, is found."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import EventId
from tasks.mailbox import NotNow, PersonsWord, Wake
from tests.integration.queue.box import LEASE, QUEUE, RESEND, Box, again, finish, new_vm, outcome


def test_lost_wake_up_is_found_after_the_resend_time_and_then_ever_more_rarely(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    assert box.mailbox.sweep(QUEUE, 10) == []
    growth = [1, 2, 4, 8, 16, 32, 64, 64, 64]
    due = RESEND
    for factor in growth:
        box.age(vm, due)
        assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 1)]
        assert box.mailbox.sweep(QUEUE, 10) == []  # one sweeper of many has found it
        found = box.due(vm)
        assert found == pytest.approx(RESEND * factor, abs=1)
        due = RESEND * factor
    claim = box.claim(header)
    assert (claim.attempt, claim.deaths) == (1, 0)  # a lost message is nobody's fault
    box.mailbox.done(claim, again(1))
    box.age(vm, 1)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 2)]
    assert box.due(vm) == pytest.approx(RESEND, abs=1)  # once claimed, the growth begins anew


def test_dead_workers_lease_is_found_when_it_has_run_out(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    claim = box.claim(header)
    assert box.due(vm) == pytest.approx(30, abs=1)
    box.age(vm, 20)
    assert box.mailbox.sweep(QUEUE, 10) == []
    assert box.mailbox.renew(claim)
    assert box.due(vm) == pytest.approx(30, abs=1)
    box.age(vm, 30)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 2)]
    assert box.claim(header).deaths == 1


def test_live_lease_is_left_alone_even_when_its_due_time_was_lost(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    box.claim(header)
    box.client.zadd(box.key("due", QUEUE), {vm: 0})
    assert box.mailbox.sweep(QUEUE, 10) == []
    assert box.due(vm) == pytest.approx(30, abs=1)


def test_each_queue_is_swept_by_itself_oldest_first_and_no_more_than_asked(box: Box) -> None:
    headers = [box.put(new_vm()) for _ in range(5)]
    zone = box.put(new_vm(), queue=f"{QUEUE}.zone")
    for number, header in enumerate([*headers, zone]):
        box.age(header.vm_uuid, 100 - number)
    assert box.mailbox.sweep(QUEUE, 2) == [Wake(header, 1) for header in headers[:2]]
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 1) for header in headers[2:]]
    assert box.mailbox.sweep(f"{QUEUE}.zone", 10) == [Wake(zone, 1)]
    assert box.mailbox.sweep("configdrive.nobody", 10) == []


def test_what_is_parked_or_empty_is_not_kept_due(box: Box) -> None:
    parked, empty = new_vm(), new_vm()
    box.parked(parked)
    header = box.put(empty)
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim))
    box.client.zadd(box.key("due", QUEUE), {parked: 0, empty: 0, new_vm(): 0})
    assert box.mailbox.sweep(QUEUE, 10) == []
    assert box.mailbox.pending() == {QUEUE: 0}


def test_garbage_behind_a_skipped_event_is_buried_too(box: Box) -> None:
    vm = new_vm()
    header = box.parked(vm)
    box.client.rpush(box.key("mail", vm), "garbage")
    behind = box.put(vm)
    skipped = outcome(header, Status.SKIPPED, at=2.0)
    assert box.mailbox.word(vm, header.event_id, PersonsWord.SKIP, skipped) is None
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(behind, 1)]
    assert [letter.vm_uuid for letter in box.mailbox.dead_letters(10)] == [vm]


@pytest.mark.parametrize("garbage", ["garbage", "5", "null", "[]", "{}", '{"id":"x","queue":7}', b"\xff\xfe"])
def test_garbage_in_a_mailbox_is_buried_and_holds_up_nobody(box: Box, garbage: str | bytes) -> None:
    vm, other = new_vm(), new_vm()
    first, second = box.put(vm), box.put(other)
    third = box.put(vm)
    box.client.linsert(box.key("mail", vm), "BEFORE", box.client.lindex(box.key("mail", vm), 1), garbage)  # type: ignore[arg-type]  # no awaitable
    claim = box.claim(first)
    assert claim.waiting == (third,)
    box.mailbox.done(claim, finish(claim))
    assert box.refused(first) is NotNow.NOT_HEAD
    box.age(other, RESEND + 5)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(second, 1), Wake(third, 1)]
    (letter,) = box.mailbox.dead_letters(10)
    assert (letter.origin, letter.reason, letter.vm_uuid, letter.event_id) == ("mailbox", "not a header", vm, None)
    assert abs(letter.at - box.now()) < 5
    claim = box.claim(third)
    box.mailbox.done(claim, finish(claim))
    assert box.mail(vm) == []


LIKE_A_HEADER = '{{"id":"stranger","type":"start","vm":"{vm}","queue":"%s","sequence":1,"x":%s}}'


@pytest.mark.parametrize("x", ["0x10", '"\xff"', '"\t"'], ids=["hexadecimal", "no UTF-8", "control character"])
def test_what_only_the_script_can_read_as_a_header_is_buried_too(box: Box, x: str) -> None:
    vm, other = new_vm(), new_vm()
    first, second = box.put(vm), box.put(other)
    strange = (LIKE_A_HEADER % (QUEUE, x)).format(vm=vm).encode("latin-1")
    box.client.rpush(box.key("mail", vm), strange)
    third = box.put(vm)
    claim = box.claim(first)
    assert claim.waiting == (third,)
    assert box.mailbox.done(claim, finish(claim)) is None
    assert box.mailbox.claim(vm, EventId("stranger")) is NotNow.NOT_HEAD
    box.age(vm, LEASE + 5)
    box.age(other, RESEND + 5)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(second, 1)], "the other VM's wake-up does not suffer"
    (letter,) = box.mailbox.dead_letters(10)
    assert (letter.origin, letter.reason, letter.vm_uuid) == ("mailbox", "not a header", vm)
    assert [wake.header for wake in box.mailbox.sweep(QUEUE, 10)] == [third], "at once"
    claim = box.claim(third)
    box.mailbox.done(claim, finish(claim))
    assert box.mail(vm) == []
