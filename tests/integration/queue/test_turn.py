"""CLAIM, RENEW, DONE: one worker at a time per VM, whatever happens to it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from tasks.mailbox import Claim, FencedError, NotNow, Wake
from tests.integration.queue.box import QUEUE, Box, again, finish, new_vm, outcome, park, posting

if TYPE_CHECKING:
    from collections.abc import Callable


def test_only_the_head_is_claimed_and_only_once(box: Box) -> None:
    vm = new_vm()
    first, second = box.put(vm), box.put(vm)
    assert box.refused(second) is NotNow.NOT_HEAD
    claim = box.claim(first)
    assert (claim.epoch, claim.attempt, claim.deaths) == (1, 1, 0)
    assert box.refused(first) is NotNow.BUSY
    assert box.mailbox.done(claim, finish(claim, "state 1")) == Wake(second, 1)
    assert box.refused(first) is NotNow.NOT_HEAD
    claim = box.claim(second)
    assert (claim.epoch, claim.attempt, claim.state) == (2, 1, "state 1")
    assert box.mailbox.done(claim, finish(claim, None)) is None
    assert box.refused(second) is NotNow.EMPTY
    assert box.field(vm, "state") == "state 1"
    assert box.outcomes() == [outcome(first), outcome(second)]
    assert box.all_keys() == {"queues", f"vm:{vm}", f"seen:{first.event_id}", f"seen:{second.event_id}", "outcomes"}


def test_of_many_workers_that_claim_at_once_one_wins(box: Box) -> None:
    workers = 8
    barrier = threading.Barrier(workers)

    def try_it(header: object) -> Claim | NotNow:
        barrier.wait()
        return box.mailbox.claim(header.vm_uuid, header.event_id)  # type: ignore[attr-defined]

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(20):
            header = box.put(new_vm())
            answers = list(pool.map(try_it, [header] * workers))
            assert sum(isinstance(answer, Claim) for answer in answers) == 1
            assert answers.count(NotNow.BUSY) == workers - 1


def test_lease_that_is_not_renewed_passes_on_and_its_old_holder_can_do_nothing(make_box: Callable[..., Box]) -> None:
    box = make_box(lease=0.2)
    vm = new_vm()
    header = box.put(vm)
    old = box.claim(header)
    for _ in range(4):
        time.sleep(0.1)
        assert box.mailbox.renew(old)
    assert box.refused(header) is NotNow.BUSY
    time.sleep(0.25)
    new = box.claim(header)
    assert (new.epoch, new.attempt, new.deaths) == (2, 2, 1)

    before = {key: box.client.dump(box.prefix + key) for key in box.all_keys()}
    assert not box.mailbox.renew(old)
    for ending in (finish(old, "the old one's", gone=True), again(0.01), park(old)):
        with pytest.raises(FencedError):
            box.mailbox.done(old, ending)
    assert {key: box.client.dump(box.prefix + key) for key in box.all_keys()} == before
    assert box.mailbox.renew(new)
    box.mailbox.done(new, finish(new))
    assert not box.mailbox.renew(new)
    with pytest.raises(FencedError):
        box.mailbox.done(old, finish(old, "the old one's"))
    assert box.field(vm, "state") == '{"sequence":1}'
    assert len(box.outcomes()) == 1


def test_back_off_is_a_due_time_that_a_doubled_message_does_not_shorten(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    assert box.mailbox.done(box.claim(header), again(40)) is None
    view = box.mailbox.view(vm)
    assert view is not None
    assert (view.attempts, view.owner, view.leased_until, view.reason) == (1, None, None, "host_unreachable")
    assert view.due is not None
    assert 39 < view.due - box.now() <= 40
    assert box.refused(header) is NotNow.TOO_EARLY
    assert box.mailbox.sweep(QUEUE, 10) == []
    box.age(vm, 40)
    assert box.mailbox.sweep(QUEUE, 10) == [Wake(header, 2)]
    claim = box.claim(header)
    assert (claim.attempt, claim.deaths) == (2, 0)
    box.mailbox.done(claim, finish(claim))
    view = box.mailbox.view(vm)
    assert view is not None
    assert (view.attempts, view.reason, view.due, view.mail) == (0, None, None, ())


def test_parked_event_waits_for_a_person_and_is_listed(box: Box) -> None:
    vm, other = new_vm(), new_vm()
    header = box.put(vm)
    claim = box.claim(header)
    assert box.mailbox.done(claim, park(claim, "not_its_drive")) is None
    box.client.zincrby(box.key("parked"), -1000, vm)  # a second ago
    box.parked(other)
    assert [uuid for uuid, _ in box.mailbox.parked(10)] == [vm, other]
    assert all(abs(at - box.now()) < 5 for _, at in box.mailbox.parked(10))
    view = box.mailbox.view(vm)
    assert view is not None
    assert (view.parked, view.due, view.owner, [each.event_id for each in view.mail]) == (
        "not_its_drive",
        None,
        None,
        [header.event_id],
    )
    assert box.mailbox.outcome_of(header.event_id) == outcome(header, Status.PARKED, "not_its_drive")
    assert box.mailbox.pending() == {QUEUE: 0}
    assert box.ttl("seen", header.event_id) == -1  # not forgotten while it waits
    assert not box.mailbox.renew(claim)


def test_destroyed_vm_is_remembered_for_a_time_and_late_events_do_not_make_it_immortal(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm, "destroy")
    late = box.put(vm)
    claim = box.claim(header)
    assert box.mailbox.done(claim, finish(claim, "gone", gone=True)) == Wake(late, 1)
    assert box.ttl("vm", vm) == -1  # it has mail
    claim = box.claim(late)
    assert claim.state == "gone"
    box.mailbox.done(claim, finish(claim, None))
    assert 7190 <= box.ttl("vm", vm) <= 7200

    later = box.put(vm)
    assert box.ttl("vm", vm) == -1
    claim = box.claim(later)
    box.mailbox.done(claim, finish(claim, None))
    assert 7190 <= box.ttl("vm", vm) <= 7200
    assert 3590 <= box.ttl("seen", later.event_id) <= 3600


def test_tombstone_does_not_last_for_ever(make_box: Callable[..., Box]) -> None:
    box = make_box(tombstone=1)
    vm = new_vm()
    header = box.put(vm, "destroy")
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim, "gone", gone=True))
    assert list(box.mailbox.vms()) == [vm]
    wait_until(lambda: not list(box.mailbox.vms()), "the tombstone to vanish", timeout=5)
    assert box.mailbox.view(vm) is None
    again_here = box.claim(box.put(vm, "deploy"))
    assert (again_here.state, again_here.epoch, again_here.attempt) == (None, 1, 1)


def test_vm_of_which_nothing_is_known_is_forgotten_too(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm, "stop")
    claim = box.claim(header)
    box.mailbox.done(claim, finish(claim, None))
    assert box.ttl("vm", vm) > 0
    assert list(box.mailbox.vms()) == [vm]
    header = box.put(vm, "deploy")
    claim = box.claim(header)
    assert claim.epoch == 2  # fencing goes on where it was
    box.mailbox.done(claim, finish(claim))
    assert box.ttl("vm", vm) == -1


def test_outcomes_can_be_followed_from_any_position(box: Box) -> None:
    assert box.mailbox.end_of_outcomes() == "0"
    headers = [box.put(new_vm()) for _ in range(3)]
    claims = [box.claim(header) for header in headers]
    box.mailbox.done(claims[0], finish(claims[0]))
    position = box.mailbox.end_of_outcomes()
    for claim in claims[1:]:
        box.mailbox.done(claim, finish(claim))
    found = list(box.mailbox.outcomes(position, 0.01))
    assert [each for _, each in found] == [outcome(header) for header in headers[1:]]
    assert list(box.mailbox.outcomes(found[-1][0], 0.01)) == []
    assert [each for _, each in box.mailbox.outcomes("0", 0.01)] == [outcome(header) for header in headers]


def test_unfinished_vm_is_unknown_only_while_nothing_was_posted(box: Box) -> None:
    vm = new_vm()
    assert box.mailbox.view(vm) is None
    item = posting(vm)
    box.mailbox.put(item)
    view = box.mailbox.view(vm)
    assert view is not None
    assert (view.mail, view.state, view.attempts) == ((item.header,), None, 0)


def test_event_is_not_parked_in_front_of_a_destroy_that_came_meanwhile(box: Box) -> None:
    vm = new_vm()
    first = box.put(vm)
    claim = box.claim(first)
    box.put(vm, "destroy")
    assert box.mailbox.done(claim, park(claim)) == Wake(first, 1)
    assert box.mailbox.parked(10) == []
    assert box.outcomes() == []
    claim = box.claim(first)
    assert [header.event_type for header in claim.waiting] == ["destroy"]
    assert (claim.attempt, claim.deaths) == (1, 0)
