"""Times, outcomes and fences of attempts; who may do what, in any order: `test_mailbox_model`."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from configdrive.model import VmUuid
from tasks.mailbox import Claim, FencedError, NotNow, OperatorAction, Retry, Wakeup
from tests.mailboxes import LEASE, QUEUE, Store, again, finish, new_vm, outcome, park, posting


def test_of_many_workers_that_claim_at_once_one_wins(store: Store) -> None:
    workers = 8
    barrier = threading.Barrier(workers)

    def try_it(wakeup: Wakeup) -> Claim | NotNow:
        barrier.wait()
        return store.mailbox.claim(wakeup)

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(20):
            header = store.put(new_vm())
            answers = list(pool.map(try_it, [store.wakeup(header)] * workers))
            assert sum(isinstance(answer, Claim) for answer in answers) == 1
            assert answers.count(NotNow.BUSY) == workers - 1


def test_operators_see_of_a_back_off_when_it_ends_and_why_it_is(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(40))
    view = store.view(vm)
    assert (view.attempts, view.owner, view.leased_until, view.reason) == (1, None, None, "host_unreachable")
    assert view.due is not None
    assert 39 < view.due - store.now() <= 40
    store.age(vm, 40)
    store.end(header)
    view = store.view(vm)
    assert (view.attempts, view.reason, view.due, view.mail) == (0, None, None, ())


def test_operators_see_what_is_parked_longest_first_and_why_it_is(store: Store) -> None:
    vm, other = new_vm(), new_vm()
    header = store.put(vm)
    claim = store.claim(header)
    store.mailbox.done(claim, park(claim, "not_its_drive"))
    store.client.zincrby(store.key("parked"), -1000, vm)  # a second ago
    store.parked(other)
    assert [uuid for uuid, _ in store.mailbox.parked(10)] == [vm, other]
    assert all(abs(at - store.now()) < 5 for _, at in store.mailbox.parked(10))
    view = store.view(vm)
    assert (view.parked, view.due, view.owner, view.mail) == ("not_its_drive", None, None, (header,))
    assert store.mailbox.pending() == {QUEUE: 0}


def test_outcomes_can_be_followed_from_any_position(store: Store) -> None:
    assert store.mailbox.end_of_outcomes() == "0"
    headers = [store.put(new_vm()) for _ in range(3)]
    claims = [store.claim(header) for header in headers]
    store.mailbox.done(claims[0], finish(claims[0]))
    position = store.mailbox.end_of_outcomes()
    for claim in claims[1:]:
        store.mailbox.done(claim, finish(claim))
    found = list(store.mailbox.outcomes(position, 0.01))
    assert [each for _, each in found] == [outcome(header) for header in headers[1:]]
    assert list(store.mailbox.outcomes(found[-1][0], 0.01)) == []
    assert [each for _, each in store.mailbox.outcomes("0", 0.01)] == [outcome(header) for header in headers]


def test_an_outcome_of_a_newer_version_is_passed_over(store: Store) -> None:
    newer = outcome(posting(new_vm()).header).to_json().replace('"applied"', '"postponed"')
    store.client.xadd(store.key("outcomes"), {"event": "x", "outcome": newer})
    store.client.xadd(store.key("outcomes"), {"foo": "bar"})
    found = list(store.mailbox.outcomes("0", 0.01))
    assert [each for _, each in found] == [None, None]
    assert list(store.mailbox.outcomes(found[-1][0], 0.01)) == [], "the position moves on"


def test_an_owner_is_fenced_off_although_the_epoch_was_handed_out_twice(store: Store) -> None:
    """A Redis that comes back with an older copy of its data counts the epochs from there."""
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(0))
    before: Any = store.client.dump(store.key("vm", vm))
    old = store.claim(header)
    store.client.restore(store.key("vm", vm), 0, before, replace=True)
    new = store.claim(header)
    assert (old.epoch, old.owner != new.owner) == (new.epoch, True)
    assert not store.mailbox.renew(old)
    for ending in (finish(old, "the old one's"), again(300), park(old)):
        with pytest.raises(FencedError):
            store.mailbox.done(old, ending)
    assert store.mailbox.renew(new)
    store.mailbox.done(new, finish(new, "the new one's"))
    assert store.field(vm, "state") == "the new one's"
    assert store.field(vm, "owner") is None
    store.mailbox.done(new, finish(new, "the new one's"))  # its answer was lost
    assert len(store.outcomes()) == 1


HOUR = 3600


def test_a_clock_that_was_set_back_makes_no_lease_and_no_back_off_longer(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    claim = store.claim(header)
    store.age(vm, -HOUR)
    assert store.refused(header) is NotNow.BUSY
    assert LEASE - 5 < store.due(vm) <= LEASE
    assert store.mailbox.renew(claim), "the living go on"
    store.age(vm, LEASE + 1)
    claim = store.claim(header)
    assert claim.deaths == 1, "the dead end after one lease"

    store.mailbox.done(claim, again(8))
    store.age(vm, -HOUR)
    assert store.due_now() == []
    assert 3 < store.due(vm) <= 8
    store.age(vm, 9)
    assert store.due_now() == [(header.key, 3)]


def test_a_clock_that_was_set_back_holds_up_no_hold_and_no_operator(store: Store) -> None:
    vm = new_vm()
    store.hold(vm)
    store.age(vm, -HOUR)
    assert not store.mailbox.snapshot(vm).in_work, "who lives renews it, and then it is as long as ever"
    assert store.mailbox.hold(vm) is NotNow.BUSY
    header = store.put(vm)
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) == "busy"
    store.age(vm, LEASE + 1)
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None


def posted(store: Store, vm: VmUuid, ago: float) -> None:
    """Have the VM's next event be posted so many seconds ago."""
    key, at = store.key("mail", vm), round((store.now() - ago) * 1000)
    text: Any = store.client.lindex(key, 0)
    store.client.lset(key, 0, json.dumps(json.loads(text) | {"at": at}, separators=(",", ":")))


def test_a_claim_says_how_long_its_event_has_waited(store: Store) -> None:
    """By Redis' clock, and not less than nothing when that was set back."""
    vm = new_vm()
    header = store.put(vm)
    assert 0 <= store.claim(header).waited < LEASE
    for ago, expected in ((100, 100), (-HOUR, 0)):
        posted(store, vm, ago)
        store.age(vm, LEASE + 1)
        assert expected <= store.claim(header).waited < expected + LEASE


def test_a_claim_says_for_how_long_its_event_is_tried(store: Store) -> None:
    """Not for how long it waited in a backlog, and anew after an operator's retry."""
    vm = new_vm()
    header = store.put(vm)

    def tried(begun: float | None = None) -> float:
        if begun is not None:
            store.client.hset(store.key("vm", vm), "begun", round((store.now() - begun) * 1000))
        claim = store.claim(header)
        store.mailbox.done(claim, Retry(0.0, "deferred", counted=False))
        store.age(vm, 1)
        return claim.tried

    posted(store, vm, HOUR)
    assert tried() == 0
    assert HOUR <= tried(HOUR) < 2 * HOUR
    assert tried(-HOUR) == 0, "the clock was set back"
    assert tried() < HOUR, "it counts from then"
    assert tried(HOUR) >= HOUR
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None
    assert tried() == 0
