"""PUT: one event into its VM's mailbox, and a worker woken for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventKey
from tasks.mailbox import NotNow
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome, park, posting, receipts

if TYPE_CHECKING:
    from configdrive.client.postings import Posting
    from configdrive.model import VmUuid


def test_first_event_of_an_idle_vm_wakes_and_the_next_ones_wait_behind_it(store: Store) -> None:
    vm = new_vm()
    items = [posting(vm) for _ in range(3)]
    for item in items:
        assert store.mailbox.put(item).accepted
    assert store.sent() == [(items[0].header.key, 1)]
    assert store.mail(vm) == [item.header.key for item in items]
    assert store.mailbox.pending() == {QUEUE: 1}

    claim = store.claim(items[0].header)
    assert claim.body == items[0].body
    assert claim.waiting == tuple(item.header for item in items[1:])
    assert claim.state is None


def test_many_at_once_keep_their_order_and_wake_each_vm_once(store: Store) -> None:
    vms = [new_vm() for _ in range(5)]
    items = [posting(vm) for _ in range(4) for vm in vms]
    double = items[0]
    stored = receipts(store.mailbox.put_many([*items, double]))
    assert store.sent() == [(item.header.key, 1) for item in items[:5]]
    assert [receipt.key for receipt in stored] == [item.header.key for item in [*items, double]]
    assert [receipt.accepted for receipt in stored] == [True] * 20 + [False]
    for vm in vms:
        assert store.mail(vm) == [item.header.key for item in items if item.header.vm_uuid == vm]


def test_an_event_that_comes_again_is_refused_with_its_outcome_so_far(store: Store) -> None:
    vm = new_vm()
    item = posting(vm)
    header = item.header
    store.mailbox.put(item)

    def refused() -> Receipt:
        receipt = store.mailbox.put(replace(item, body=b"sealed anew"))
        assert not receipt.accepted
        return receipt

    assert refused().first is None
    claim = store.claim(header)
    assert refused().first is None
    store.mailbox.done(claim, park(claim, "storage_not_found"))
    assert refused().first == outcome(header, Status.PARKED, "storage_not_found")
    assert store.mail(vm) == [header.key]

    store.put(vm, "destroy")
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim))
    assert refused().first == outcome(header)
    assert store.mailbox.outcome_of(header.key) == outcome(header)
    assert store.mailbox.outcome_of(EventKey("never-seen")) is None
    assert len(store.mail(vm)) == 1


def test_an_id_of_two_sources_is_two_events_and_each_has_its_outcome(store: Store) -> None:
    one, other = posting(new_vm(), event_id="order-1"), posting(new_vm(), event_id="order-1", source="/others")
    assert [receipt.accepted for receipt in receipts(store.mailbox.put_many([one, other]))] == [True, True]
    for item, status in ((one, Status.APPLIED), (other, Status.REJECTED)):
        claim = store.claim(item.header)
        assert claim.body == item.body
        store.mailbox.done(claim, Settled(outcome(item.header, status)))
    found = [store.mailbox.outcome_of(item.header.key) for item in (one, other)]
    assert found == store.outcomes() == [outcome(one.header), outcome(other.header, Status.REJECTED)]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("change", [{"event_type": "stop"}, {"vm_uuid": new_vm()}, {"sequence": 7}])
def test_another_event_under_a_known_source_and_id_is_refused_by_name(
    store: Store, change: dict[str, Any], *, ended: bool
) -> None:
    item = posting(new_vm())
    store.mailbox.put(item)
    if ended:
        claim = store.claim(item.header)
        store.mailbox.done(claim, finish(claim))
    kept: Any = store.client.get(store.key("seen", item.header.key))
    assert (b" = {" in kept) is ended
    before = store.everything()
    another = replace(item, header=replace(item.header, **change))
    (answer,) = store.mailbox.put_many([another])
    with pytest.raises(PermanentError) as caught:
        store.mailbox.put(another)
    assert isinstance(answer, PermanentError)
    for error in (caught.value, answer):
        assert error.code is PermanentCode.ID_CONFLICT
        for words in (f"that of start #{item.header.sequence} of VM {item.header.vm_uuid}", item.header.event_id):
            assert words in error.detail
        assert error.remedy
    assert store.everything() == before


@pytest.mark.parametrize("kind", ["stop", "destroy"])
def test_parked_vm_keeps_what_comes_and_a_newer_stop_or_destroy_goes_through(store: Store, kind: str) -> None:
    vm = new_vm()
    parked = store.parked(vm)
    store.put(vm, "update")
    assert store.sent() == []
    assert store.due(vm) is None
    assert store.refused(parked) is NotNow.PARKED

    store.put(vm, kind)
    assert store.sent() == [(parked.key, 1)]
    assert store.mailbox.parked(10) == []
    claim = store.claim(parked)
    assert [header.event_type for header in claim.waiting] == ["update", kind]
    assert (claim.attempt, claim.deaths) == (1, 0)


@pytest.mark.parametrize(
    ("waiting", "kind", "sequence"), [("start", "stop", 9), ("start", "destroy", 9), ("stop", "stop", 11)]
)
def test_what_has_no_higher_sequence_or_takes_away_no_more_supersedes_nothing(
    store: Store, waiting: str, kind: str, sequence: int
) -> None:
    vm = new_vm()
    first = numbered(vm, waiting, 10)
    store.mailbox.put(first)
    store.mailbox.done(store.claim(first.header), again(300))
    store.mailbox.put(numbered(vm, kind, sequence))
    assert store.refused(first.header) is NotNow.TOO_EARLY, "its back-off goes on"
    store.age(vm, 300)
    claim = store.claim(first.header)
    store.mailbox.done(claim, park(claim))
    assert [uuid for uuid, _ in store.mailbox.parked(10)] == [vm]
    store.mailbox.put(numbered(vm, kind, sequence))
    assert store.refused(first.header) is NotNow.PARKED


def numbered(vm: VmUuid, kind: str, sequence: int) -> Posting:
    item = posting(vm, kind)
    return replace(item, header=replace(item.header, sequence=sequence))


def test_destroy_is_seen_behind_any_number_of_events(store: Store) -> None:
    vm = new_vm()
    parked = store.parked(vm)
    store.mailbox.put_many([posting(vm, "start") for _ in range(300)])
    store.put(vm, "destroy")
    store.put(vm, "start")
    types = [header.event_type for header in store.claim(parked).waiting]
    assert (len(types), types[-1]) == (256, "destroy")


@pytest.mark.parametrize(("kind", "wakes"), [("destroy", True), ("stop", True), ("start", False)])
def test_back_off_ends_early_for_what_may_supersede_the_head(store: Store, kind: str, *, wakes: bool) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(300))
    store.put(vm, kind)
    assert store.sent() == ([(header.key, 2)] if wakes else [])
    due = store.due(vm)
    if wakes:
        assert due is None
        assert store.claim(header).attempt == 2
    else:
        assert due is not None
        assert due > 250
        assert store.refused(header) is NotNow.TOO_EARLY


def test_event_in_work_or_waiting_is_not_woken_again_by_later_ones(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.claim(header)
    for kind in ("stop", "destroy"):
        store.put(vm, kind)
    assert store.sent() == []
    due = store.due(vm)
    assert due is not None
    assert 25 < due <= 30  # still the lease's end


def test_vm_whose_next_event_has_another_queue_is_woken_for_there(store: Store) -> None:
    vm, zone = new_vm(), f"{QUEUE}.zone-1"
    first = store.put(vm)
    second = store.put(vm, queue=zone)
    assert (store.sent(), store.sent(zone)) == ([(first.key, 1)], [])
    claim = store.claim(first)
    store.mailbox.done(claim, finish(claim))
    assert (store.sent(), store.sent(zone)) == ([], [(second.key, 1)])
    assert store.mailbox.pending() == {QUEUE: 0, zone: 1}
    claim = store.claim(second)
    store.mailbox.done(claim, finish(claim))
    assert store.mailbox.pending() == {QUEUE: 0, zone: 0}


def test_a_vm_that_nobody_is_woken_for_any_more_is_found_by_its_next_event(store: Store) -> None:
    vm = new_vm()
    first = store.put(vm)
    store.lose_messages()
    store.client.delete(store.key("wakeups", QUEUE))  # somebody has tidied up
    store.put(vm)
    assert store.sent() == [(first.key, 1)]
