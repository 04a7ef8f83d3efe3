"""PUT: one event into its VM's mailbox, and a worker woken for it."""

from dataclasses import replace
from typing import Any

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle.settled import Settled
from tests.mailboxes import QUEUE, Store, new_vm, outcome, posting, receipts


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
        store.end(item.header)
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


def test_destroy_is_seen_behind_any_number_of_events(store: Store) -> None:
    vm = new_vm()
    parked = store.parked(vm)
    store.mailbox.put_many([posting(vm, "start") for _ in range(300)])
    store.put(vm, "destroy")
    store.put(vm, "start")
    types = [header.event_type for header in store.claim(parked).waiting]
    assert (len(types), types[-1]) == (256, "destroy")


def test_a_vm_that_nobody_is_woken_for_any_more_is_found_by_its_next_event(store: Store) -> None:
    vm = new_vm()
    first = store.put(vm)
    store.lose_messages()
    store.client.delete(store.key("wakeups", QUEUE))  # somebody has tidied up
    store.put(vm)
    assert store.sent() == [(first.key, 1)]
