"""Operator actions on an event: retry, skip."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import EventKey
from tasks.mailbox import FencedError, NotNow, OperatorAction
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome


def test_retry_begins_the_parked_event_anew(store: Store) -> None:
    vm = new_vm()
    header = store.parked(vm)
    behind = store.put(vm)
    assert store.mailbox.act(vm, behind.key, OperatorAction.RETRY, None) == "not_head"
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None
    assert store.sent(header.queue) == [(header.key, 1)]
    assert store.mailbox.parked(10) == []
    assert store.mailbox.outcome_of(header.key) is None  # it waits again
    claim = store.claim(header)
    assert (claim.attempt, claim.deaths) == (1, 0)
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) == "busy"
    store.mailbox.done(claim, finish(claim))
    assert [each.status for each in store.outcomes()] == [Status.PARKED, Status.APPLIED]


def test_retry_ends_a_back_off(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(300))
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None
    assert store.sent(header.queue) == [(header.key, 1)]
    assert store.claim(header).attempt == 1


def test_skip_gives_the_event_up_and_goes_on_with_the_next(store: Store) -> None:
    vm, zone = new_vm(), f"{QUEUE}.zone"
    header = store.parked(vm)
    behind = store.put(vm, queue=zone)
    skipped = outcome(header, Status.SKIPPED, at=2.0)
    assert store.mailbox.act(vm, header.key, OperatorAction.SKIP, skipped) is None
    assert store.sent(behind.queue) == [(behind.key, 1)]
    assert store.mail(vm) == [behind.key]
    assert store.mailbox.outcome_of(header.key) == skipped
    assert store.outcomes()[-1] == skipped
    assert store.mailbox.parked(10) == []
    assert store.due(vm) is None
    assert store.refused(header) is NotNow.ELSEWHERE

    last = outcome(behind, Status.SKIPPED, at=3.0)
    assert store.mailbox.act(vm, behind.key, OperatorAction.SKIP, last) is None
    assert store.mailbox.act(vm, EventKey("any"), OperatorAction.SKIP, last) == "empty"
    assert store.mailbox.pending() == {QUEUE: 0, zone: 1}, "a worker is woken for nothing"
    assert store.refused(behind) is NotNow.EMPTY
    assert store.mailbox.pending() == {QUEUE: 0, zone: 0}
    assert store.ttl("vm", vm) > 0


@pytest.mark.parametrize("action", OperatorAction)
def test_worker_that_comes_back_after_the_action_is_fenced_off(store: Store, action: OperatorAction) -> None:
    vm = new_vm()
    header, behind = store.put(vm), store.put(vm)
    zombie = store.claim(header)
    store.age(vm, 30)
    assert store.mailbox.act(vm, header.key, action, outcome(header, Status.SKIPPED, at=2.0)) is None
    assert not store.mailbox.renew(zombie)
    with pytest.raises(FencedError):
        store.mailbox.done(zombie, finish(zombie))
    claim = store.claim(header if action is OperatorAction.RETRY else behind)
    assert (claim.attempt, claim.deaths) == (1, 0)
