"""CLAIM, RENEW, DONE: one worker at a time per VM, whatever happens to it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from tasks.mailbox import Claim, FencedError, Held, NotNow, OperatorAction, Retry, Wakeup
from tests.mailboxes import LEASE, QUEUE, Store, again, finish, new_vm, outcome, park, posting

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_next_event_is_claimed_whatever_the_message_names_and_only_once(store: Store) -> None:
    vm = new_vm()
    first, second = store.put(vm), store.put(vm)
    claim = store.mailbox.claim(replace(store.wakeup(first), key=second.key))
    assert isinstance(claim, Claim)
    assert (claim.header, claim.epoch, claim.attempt, claim.deaths) == (first, 1, 1, 0)
    assert store.refused(first) is NotNow.BUSY
    store.mailbox.done(claim, finish(claim, "state 1"))
    assert store.sent() == [(second.key, 1)]
    claim = store.claim(second)
    assert (claim.epoch, claim.attempt, claim.state) == (2, 1, "state 1")
    store.mailbox.done(claim, finish(claim, None))
    assert store.refused(second) is NotNow.EMPTY
    assert store.sent() == []
    assert store.field(vm, "state") == "state 1"
    assert store.outcomes() == [outcome(first), outcome(second)]
    kept = {"queues", f"queue:{QUEUE}", f"vm:{vm}", f"seen:{first.key}", f"seen:{second.key}", "outcomes"}
    assert store.all_keys() == kept


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


def test_lease_that_is_not_renewed_passes_on_and_its_old_holder_can_do_nothing(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    old = store.claim(header)
    for _ in range(4):
        store.age(vm, LEASE / 2)
        assert store.mailbox.renew(old)
    assert store.refused(header) is NotNow.BUSY
    store.age(vm, LEASE + 1)
    new = store.claim(header)
    assert (new.epoch, new.attempt, new.deaths) == (2, 2, 1)

    before = {key: store.client.dump(store.prefix + key) for key in store.all_keys()}
    assert not store.mailbox.renew(old)
    for ending in (finish(old, "the old one's", gone=True), again(0.01), park(old)):
        with pytest.raises(FencedError):
            store.mailbox.done(old, ending)
    assert {key: store.client.dump(store.prefix + key) for key in store.all_keys()} == before
    assert store.mailbox.renew(new)
    store.mailbox.done(new, finish(new))
    assert not store.mailbox.renew(new)
    with pytest.raises(FencedError):
        store.mailbox.done(old, finish(old, "the old one's"))
    assert store.field(vm, "state") == '{"sequence":1}'
    assert len(store.outcomes()) == 1


def test_back_off_is_a_due_time_that_a_doubled_message_does_not_shorten(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(40))
    view = store.mailbox.view(vm)
    assert view is not None
    assert (view.attempts, view.owner, view.leased_until, view.reason) == (1, None, None, "host_unreachable")
    assert view.due is not None
    assert 39 < view.due - store.now() <= 40
    assert store.refused(header) is NotNow.TOO_EARLY
    assert store.due_now() == []
    store.age(vm, 40)
    assert store.due_now() == store.sent() == [(header.key, 2)]
    claim = store.claim(header)
    assert (claim.attempt, claim.deaths) == (2, 0)
    store.mailbox.done(claim, finish(claim))
    view = store.mailbox.view(vm)
    assert view is not None
    assert (view.attempts, view.reason, view.due, view.mail) == (0, None, None, ())


def test_parked_event_waits_for_an_operator_and_is_listed(store: Store) -> None:
    vm, other = new_vm(), new_vm()
    header = store.put(vm)
    claim = store.claim(header)
    store.mailbox.done(claim, park(claim, "not_its_drive"))
    assert store.sent() == []
    store.client.zincrby(store.key("parked"), -1000, vm)  # a second ago
    store.parked(other)
    assert [uuid for uuid, _ in store.mailbox.parked(10)] == [vm, other]
    assert all(abs(at - store.now()) < 5 for _, at in store.mailbox.parked(10))
    view = store.mailbox.view(vm)
    assert view is not None
    assert (view.parked, view.due, view.owner, [each.key for each in view.mail]) == (
        "not_its_drive",
        None,
        None,
        [header.key],
    )
    assert store.mailbox.outcome_of(header.key) == outcome(header, Status.PARKED, "not_its_drive")
    assert store.mailbox.pending() == {QUEUE: 0}
    assert store.ttl("seen", header.key) == -1  # not forgotten while it waits
    assert not store.mailbox.renew(claim)


def test_destroyed_vm_is_remembered_for_a_time_and_late_events_do_not_make_it_immortal(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm, "destroy")
    late = store.put(vm)
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim, "gone", gone=True))
    assert store.sent() == [(late.key, 1)]
    assert store.ttl("vm", vm) == -1  # it has mail
    claim = store.claim(late)
    assert claim.state == "gone"
    store.mailbox.done(claim, finish(claim, None))
    assert 7190 <= store.ttl("vm", vm) <= 7200

    later = store.put(vm)
    assert store.ttl("vm", vm) == -1
    claim = store.claim(later)
    store.mailbox.done(claim, finish(claim, None))
    assert 7190 <= store.ttl("vm", vm) <= 7200
    assert 3590 <= store.ttl("seen", later.key) <= 3600


def test_tombstone_does_not_last_for_ever(make_store: Callable[..., Store]) -> None:
    store = make_store(tombstone=1)
    vm = new_vm()
    header = store.put(vm, "destroy")
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim, "gone", gone=True))
    assert list(store.mailbox.vms()) == [vm]
    wait_until(lambda: not list(store.mailbox.vms()), "the tombstone to vanish", timeout=5)
    assert store.mailbox.view(vm) is None
    again_here = store.claim(store.put(vm, "deploy"))
    assert (again_here.state, again_here.epoch, again_here.attempt) == (None, 1, 1)


def test_vm_of_which_nothing_is_known_is_forgotten_too(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm, "stop")
    claim = store.claim(header)
    store.mailbox.done(claim, finish(claim, None))
    assert store.ttl("vm", vm) > 0
    assert list(store.mailbox.vms()) == [vm]
    header = store.put(vm, "deploy")
    claim = store.claim(header)
    assert claim.epoch == 2  # fencing goes on where it was
    store.mailbox.done(claim, finish(claim))
    assert store.ttl("vm", vm) == -1


def test_a_vm_whose_next_event_is_for_another_queue_is_left_to_its_workers(store: Store) -> None:
    vm, zone = new_vm(), f"{QUEUE}.zone-1"
    header = store.put(vm, queue=zone)
    misdirected = Wakeup(header.key, vm, QUEUE)
    assert store.mailbox.claim(misdirected) is NotNow.ELSEWHERE
    assert store.sent(zone) == [(header.key, 1)], "they are woken already"
    store.lose_messages(zone)
    store.client.delete(store.key("wakeups", zone))
    assert store.mailbox.claim(misdirected) is NotNow.ELSEWHERE
    assert store.sent(zone) == [(header.key, 1)]
    assert store.claim(header).attempt == 1


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


def test_unfinished_vm_is_unknown_only_while_nothing_was_posted(store: Store) -> None:
    vm = new_vm()
    assert store.mailbox.view(vm) is None
    item = posting(vm)
    store.mailbox.put(item)
    view = store.mailbox.view(vm)
    assert view is not None
    assert (view.mail, view.state, view.attempts) == ((item.header,), None, 0)


def test_event_is_not_parked_in_front_of_a_destroy_that_came_meanwhile(store: Store) -> None:
    vm = new_vm()
    first = store.put(vm)
    claim = store.claim(first)
    store.put(vm, "destroy")
    store.mailbox.done(claim, park(claim))
    assert store.sent() == [(first.key, 2)]
    assert store.mailbox.parked(10) == []
    assert store.outcomes() == []
    claim = store.claim(first)
    assert [header.event_type for header in claim.waiting] == ["destroy"]
    assert (claim.attempt, claim.deaths) == (2, 0)


@pytest.mark.parametrize("kind", ["stop", "destroy"])
@pytest.mark.parametrize("how", ["again", "park"])
def test_event_that_was_superseded_meanwhile_is_looked_at_again_at_once_and_only_once(
    store: Store, kind: str, how: str
) -> None:
    vm = new_vm()
    first = store.put(vm)
    claim = store.claim(first)
    store.put(vm, kind)
    store.mailbox.done(claim, park(claim) if how == "park" else again(300))
    assert store.sent() == [(first.key, 2)]
    claim = store.claim(first)
    store.mailbox.done(claim, park(claim) if how == "park" else again(300))  # it could not be dropped
    assert store.sent() == []
    assert store.refused(first) is (NotNow.PARKED if how == "park" else NotNow.TOO_EARLY)


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


def test_a_hold_is_fenced_off_although_the_epoch_was_handed_out_twice(store: Store) -> None:
    vm = new_vm()
    claim = store.claim(store.put(vm))
    store.mailbox.done(claim, finish(claim, "known"))
    before: Any = store.client.dump(store.key("vm", vm))
    old = store.mailbox.hold(vm)
    store.client.restore(store.key("vm", vm), 0, before, replace=True)
    new = store.mailbox.hold(vm)
    assert isinstance(old, Held)
    assert isinstance(new, Held)
    assert old.epoch == new.epoch
    assert not store.mailbox.renew(old)
    with pytest.raises(FencedError):
        store.mailbox.release(old, "the old one's")
    store.mailbox.release(new, "the new one's")
    store.mailbox.release(new, "the new one's")  # its answer was lost
    assert store.field(vm, "state") == "the new one's"


HOUR = 3600


def test_a_clock_that_was_set_back_makes_no_lease_longer(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    claim = store.claim(header)
    store.age(vm, -HOUR)
    assert store.refused(header) is NotNow.BUSY
    due = store.due(vm)
    assert due is not None
    assert LEASE - 5 < due <= LEASE
    assert store.mailbox.renew(claim), "the living go on"
    store.age(vm, LEASE + 1)
    assert store.claim(header).deaths == 1, "the dead end after one lease"


def test_a_clock_that_was_set_back_makes_no_back_off_longer(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.mailbox.done(store.claim(header), again(8))
    store.age(vm, -HOUR)
    assert store.due_now() == []
    due = store.due(vm)
    assert due is not None
    assert 3 < due <= 8
    store.age(vm, 9)
    assert store.due_now() == [(header.key, 2)]


def test_a_clock_that_was_set_back_holds_up_no_hold_and_no_operator(store: Store) -> None:
    vm = new_vm()
    held = store.mailbox.hold(vm)
    assert isinstance(held, Held)
    store.age(vm, -HOUR)
    assert not store.mailbox.snapshot(vm).in_work, "who lives renews it, and then it is as long as ever"
    assert store.mailbox.hold(vm) is NotNow.BUSY
    header = store.put(vm)
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) == "busy"
    store.age(vm, LEASE + 1)
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None


def test_a_clock_that_was_set_forward_ends_leases_and_the_fence_holds(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    old = store.claim(header)
    store.age(vm, HOUR)
    new = store.claim(header)
    assert not store.mailbox.renew(old), "it does nothing more"
    with pytest.raises(FencedError):
        store.mailbox.done(old, finish(old, "the old one's"))
    store.mailbox.done(new, finish(new, "the new one's"))
    assert store.outcomes() == [outcome(header, attempts=2)]


def test_a_claim_says_how_long_its_event_has_waited(store: Store) -> None:
    """By Redis' clock, and not less than nothing when that was set back."""
    vm = new_vm()
    header = store.put(vm)
    assert 0 <= store.claim(header).waited < LEASE
    key = store.key("mail", vm)
    text: Any = store.client.lindex(key, 0)
    for ago, expected in ((100, 100), (-HOUR, 0)):
        at = round((store.now() - ago) * 1000)
        store.client.lset(key, 0, json.dumps(json.loads(text) | {"at": at}, separators=(",", ":")))
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

    key = store.key("mail", vm)
    text: Any = store.client.lindex(key, 0)
    at = round((store.now() - HOUR) * 1000)
    store.client.lset(key, 0, json.dumps(json.loads(text) | {"at": at}, separators=(",", ":")))
    assert tried() == 0
    assert HOUR <= tried(HOUR) < 2 * HOUR
    assert tried(-HOUR) == 0, "the clock was set back"
    assert tried() < HOUR, "it counts from then"
    assert tried(HOUR) >= HOUR
    assert store.mailbox.act(vm, header.key, OperatorAction.RETRY, None) is None
    assert tried() == 0
