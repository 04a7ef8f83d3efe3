"""PUT: what the door does with an event."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import EventId
from tasks.mailbox import NotNow, Receipt, Wake
from tests.integration.queue.box import QUEUE, Box, again, finish, new_vm, outcome, park, posting


def test_first_event_of_an_idle_vm_wakes_and_the_next_ones_wait_behind_it(box: Box) -> None:
    vm = new_vm()
    items = [posting(vm) for _ in range(3)]
    receipts = [box.mailbox.put(item) for item in items]
    assert [receipt.wake for receipt in receipts] == [Wake(items[0].header, 1), None, None]
    assert box.mail(vm) == [item.header.event_id for item in items]
    assert box.mailbox.pending() == {QUEUE: 1}

    claim = box.claim(items[0].header)
    assert claim.body == items[0].body
    assert claim.waiting == tuple(item.header for item in items[1:])
    assert claim.state is None


def test_many_at_once_keep_their_order_and_wake_each_vm_once(box: Box) -> None:
    vms = [new_vm() for _ in range(5)]
    items = [posting(vm) for _ in range(4) for vm in vms]
    double = posting(vms[0], event_id=items[0].header.event_id)
    receipts = box.mailbox.put_many([*items, double])
    assert [receipt.wake.header for receipt in receipts if receipt.wake] == [item.header for item in items[:5]]
    assert [receipt.event_id for receipt in receipts] == [item.header.event_id for item in [*items, double]]
    assert [receipt.accepted for receipt in receipts] == [True] * 20 + [False]
    for vm in vms:
        assert box.mail(vm) == [item.header.event_id for item in items if item.header.vm_uuid == vm]


def test_known_id_is_refused_with_the_first_ones_outcome_so_far(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    double = posting(vm, event_id=header.event_id)
    other_vm = posting(new_vm(), event_id=header.event_id)

    def refused() -> Receipt:
        receipt = box.mailbox.put(double)
        assert box.mailbox.put(other_vm) == receipt
        assert (receipt.accepted, receipt.wake) == (False, None)
        return receipt

    assert refused().first is None
    claim = box.claim(header)
    assert refused().first is None
    box.mailbox.done(claim, park(claim, "storage_not_found"))
    assert refused().first == outcome(header, Status.PARKED, "storage_not_found")
    assert box.mail(vm) == [header.event_id]

    box.put(vm, "destroy")
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim))
    assert refused().first == outcome(header)
    assert box.mailbox.outcome_of(header.event_id) == outcome(header)
    assert box.mailbox.outcome_of(EventId("never-seen")) is None
    assert len(box.mail(vm)) == 1
    assert box.mailbox.view(other_vm.header.vm_uuid) is None


def test_parked_vm_keeps_what_comes_and_a_destroy_goes_through(box: Box) -> None:
    vm = new_vm()
    parked = box.parked(vm)
    assert box.mailbox.put(posting(vm, "stop")).wake is None
    assert box.due(vm) is None
    assert box.refused(parked) is NotNow.PARKED

    receipt = box.mailbox.put(posting(vm, "destroy"))
    assert receipt.wake == Wake(parked, 1)
    assert box.mailbox.parked(10) == []
    claim = box.claim(parked)
    assert [header.event_type for header in claim.waiting] == ["stop", "destroy"]
    assert (claim.attempt, claim.deaths) == (1, 0)


def test_destroy_is_seen_behind_any_number_of_events(box: Box) -> None:
    vm = new_vm()
    parked = box.parked(vm)
    box.mailbox.put_many([posting(vm, "stop") for _ in range(300)])
    box.put(vm, "destroy")
    box.put(vm, "start")
    types = [header.event_type for header in box.claim(parked).waiting]
    assert (len(types), types[-1]) == (256, "destroy")


@pytest.mark.parametrize(("kind", "wakes"), [("destroy", True), ("stop", True), ("start", False)])
def test_back_off_ends_early_for_what_may_supersede_the_head(box: Box, kind: str, *, wakes: bool) -> None:
    vm = new_vm()
    header = box.put(vm)
    box.mailbox.done(box.claim(header), again(300))
    receipt = box.mailbox.put(posting(vm, kind))
    assert receipt.wake == (Wake(header, 2) if wakes else None)
    due = box.due(vm)
    assert due is not None
    if wakes:
        assert due < 20
        assert box.claim(header).attempt == 2
    else:
        assert due > 250
        assert box.refused(header) is NotNow.TOO_EARLY


def test_event_in_work_or_waiting_is_not_woken_again_by_later_ones(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    box.claim(header)
    for kind in ("stop", "destroy"):
        assert box.mailbox.put(posting(vm, kind)).wake is None
    due = box.due(vm)
    assert due is not None
    assert 25 < due <= 30  # still the lease's end


def test_vm_whose_next_event_has_another_queue_becomes_due_there(box: Box) -> None:
    vm, zone = new_vm(), f"{QUEUE}.zone-1"
    first = box.put(vm)
    second = box.put(vm, queue=zone)
    assert (box.due(vm) is not None, box.due(vm, zone)) == (True, None)
    claim = box.claim(first)
    assert box.mailbox.done(claim, finish(claim)) == Wake(second, 1)
    assert (box.due(vm), box.due(vm, zone) is not None) == (None, True)
    assert box.mailbox.pending() == {QUEUE: 0, zone: 1}
    claim = box.claim(second)
    assert box.mailbox.done(claim, finish(claim)) is None
    assert box.mailbox.pending() == {QUEUE: 0, zone: 0}
