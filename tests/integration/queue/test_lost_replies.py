"""A reply that is lost on the way: redis-py asks again, and the answer and the world are as if it had not been lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from configdrive.contract.outcome import Status
from configdrive.model import HostName
from tasks.mailbox import Claim, Debt, FencedError, Held, NotNow, PersonsWord, Wake
from tests.integration.queue.box import QUEUE, Box, again, finish, new_vm, outcome, park, posting
from tests.integration.queue.lossy import Loss, lossy_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rigs.redis import RedisServer
    from workers.store.mailbox import RedisMailbox

HOST = HostName("h1")


@dataclass
class Lossy:
    """A store whose first door loses replies when told so."""

    box: Box
    mailbox: RedisMailbox
    loss: Loss = field(default_factory=Loss)

    def lose(self, between: Callable[[], object] | None = None) -> RedisMailbox:
        self.loss.next(between)
        return self.mailbox


@pytest.fixture
def lossy(redis_server: RedisServer, box: Box) -> Iterator[Lossy]:
    loss = Loss()
    pool = lossy_pool(redis_server.url, loss)
    with redis.Redis(connection_pool=pool) as client:
        mailbox = box.through(client)
        warm_up = posting(new_vm())
        mailbox.put(warm_up)  # all scripts are known to the server, and the connection is there: the next reply is ours
        claim = mailbox.claim(warm_up.header.vm_uuid, warm_up.header.event_id)
        assert isinstance(claim, Claim)
        mailbox.renew(claim)
        mailbox.done(claim, finish(claim))
        mailbox.sweep(QUEUE, 1)
        mailbox.hosts_owing(QUEUE, 30)
        held = mailbox.hold(warm_up.header.vm_uuid)
        assert isinstance(held, Held)
        mailbox.release(held)
        mailbox.word(warm_up.header.vm_uuid, warm_up.header.event_id, PersonsWord.RETRY, None)
        yield Lossy(box, mailbox, loss)
        assert loss.lost >= 1
        assert not loss.armed
    pool.disconnect()


def test_put(lossy: Lossy) -> None:
    item = posting(new_vm())
    receipt = lossy.lose().put(item)
    assert receipt.accepted
    assert receipt.wake == Wake(item.header, 1)
    assert lossy.box.mail(item.header.vm_uuid) == [item.header.event_id]


def test_put_of_an_event_that_a_worker_finished_meanwhile_is_no_duplicate_of_itself(lossy: Lossy) -> None:
    box, item = lossy.box, posting(new_vm())

    def work() -> None:
        claim = box.claim(item.header)
        box.mailbox.done(claim, finish(claim))

    receipt = lossy.lose(work).put(item)
    assert receipt.accepted
    assert receipt.wake is None
    assert box.mail(item.header.vm_uuid) == []
    assert box.outcomes()[1:] == [outcome(item.header)]


def test_put_into_a_back_off_does_not_end_it(lossy: Lossy) -> None:
    box, item = lossy.box, posting(new_vm())

    def fail() -> None:
        box.mailbox.done(box.claim(item.header), again(300))

    assert lossy.lose(fail).put(item).accepted
    due = box.due(item.header.vm_uuid)
    assert due is not None
    assert due > 250


def test_put_many(lossy: Lossy) -> None:
    items = [posting(new_vm()) for _ in range(3)]
    receipts = lossy.lose().put_many(items)
    assert [receipt.wake for receipt in receipts] == [Wake(item.header, 1) for item in items]
    assert [lossy.box.mail(item.header.vm_uuid) for item in items] == [[item.header.event_id] for item in items]


def test_claim(lossy: Lossy) -> None:
    header = lossy.box.put(new_vm())
    claim = lossy.lose().claim(header.vm_uuid, header.event_id)
    assert isinstance(claim, Claim)
    assert (claim.epoch, claim.attempt, claim.deaths) == (1, 1, 0)
    assert lossy.box.refused(header) is NotNow.BUSY
    assert lossy.box.mailbox.renew(claim)


def test_finish_writes_one_outcome_and_still_wakes_the_next(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    first, second, third = (box.put(vm) for _ in range(3))
    claim = box.claim(first)
    assert lossy.lose().done(claim, finish(claim)) == Wake(second, 1)
    assert box.mail(vm) == [second.event_id, third.event_id]
    assert box.outcomes()[1:] == [outcome(first)]


def test_finish_after_which_another_worker_was_quicker_is_still_a_finish(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    first, second = box.put(vm), box.put(vm)
    claim = box.claim(first)
    taken: list[Claim] = []
    assert lossy.lose(lambda: taken.append(box.claim(second))).done(claim, finish(claim)) is None
    assert box.outcomes()[1:] == [outcome(first)]
    assert box.mailbox.renew(taken[0])


def test_last_finish_and_back_off(lossy: Lossy) -> None:
    box, header = lossy.box, lossy.box.put(new_vm())
    claim = box.claim(header)
    assert lossy.lose().done(claim, again(300)) is None
    due = box.due(header.vm_uuid)
    assert due is not None
    assert due > 290
    box.age(header.vm_uuid, 300)
    claim = box.claim(header)
    assert (claim.attempt, claim.deaths) == (2, 0)
    assert lossy.lose().done(claim, finish(claim, gone=True)) is None
    assert box.outcomes()[1:] == [outcome(header, attempts=2)]
    assert box.due(header.vm_uuid) is None


def test_park_writes_one_outcome(lossy: Lossy) -> None:
    box, header = lossy.box, lossy.box.put(new_vm())
    claim = box.claim(header)
    assert lossy.lose().done(claim, park(claim)) is None
    assert box.outcomes()[1:] == [outcome(header, Status.PARKED, "unclassified")]
    assert box.refused(header) is NotNow.PARKED


def test_skip_and_retry(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    parked = box.parked(vm)
    second, third = box.put(vm), box.put(vm)
    retry = lossy.lose().word(vm, parked.event_id, PersonsWord.RETRY, None)
    assert retry == Wake(parked, 1)
    skipped = outcome(parked, Status.SKIPPED, at=2.0)
    assert lossy.lose().word(vm, parked.event_id, PersonsWord.SKIP, skipped) == Wake(second, 1)
    assert box.outcomes()[2:] == [skipped]

    skipped = outcome(second, Status.SKIPPED, at=3.0)
    taken: list[Claim] = []
    answer = lossy.lose(lambda: taken.append(box.claim(third))).word(vm, second.event_id, PersonsWord.SKIP, skipped)
    assert answer is None
    assert box.mailbox.renew(taken[0])
    assert box.mail(vm) == [third.event_id]


def test_sweep_costs_one_resend_time_at_most(lossy: Lossy) -> None:
    box = lossy.box
    header = box.put(new_vm())
    box.age(header.vm_uuid, 15)
    assert lossy.lose().sweep(QUEUE, 10) == []
    due = box.due(header.vm_uuid)
    assert due is not None
    assert due <= 15


def test_hold(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    held = lossy.lose().hold(vm)
    assert held == Held(vm, 1, None)
    assert box.mailbox.hold(vm) is NotNow.BUSY
    assert box.mailbox.renew(held)


def test_hold_during_which_an_event_came_is_still_a_hold_and_forgets_no_event(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    held = lossy.lose(lambda: box.put(vm)).hold(vm)
    assert isinstance(held, Held)
    assert box.ttl("vm", vm) == -1
    assert box.mailbox.release(held) is not None


def test_hold_that_ran_out_before_it_was_asked_again_is_the_event_s(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    taken: list[Claim] = []

    def take() -> None:
        header = box.put(vm)
        box.age(vm, 60)
        taken.append(box.claim(header))

    assert lossy.lose(take).hold(vm) is NotNow.BUSY
    assert box.mailbox.renew(taken[0])


def test_release(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    claim = box.claim(box.put(vm, "stop"))
    box.mailbox.done(claim, replace(finish(claim), left_on=(HOST,)))
    held = box.mailbox.hold(vm)
    assert isinstance(held, Held)
    header = box.put(vm)
    assert lossy.lose().release(held, "paid", paid=Debt(QUEUE, HOST)) == Wake(header, 1)
    assert box.mailbox.owed(QUEUE) == {}
    assert box.claim(header).state == "paid"


def test_release_after_which_the_same_host_was_left_again_takes_no_new_debt(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    held = box.mailbox.hold(vm)
    assert isinstance(held, Held)

    def leave_again() -> None:
        claim = box.claim(box.put(vm, "stop"))
        box.mailbox.done(claim, replace(finish(claim, "left again"), left_on=(HOST,)))

    with pytest.raises(FencedError):  # it was written all the same: asked again, the host has nothing more to give up
        lossy.lose(leave_again).release(held, "paid", paid=Debt(QUEUE, HOST))
    assert box.mailbox.owed(QUEUE) == {HOST: [vm]}
    assert box.field(vm, "state") == "left again"


def test_finish_that_leaves_something_is_asked_for_once(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    claim = box.claim(box.put(vm, "stop"))
    lossy.lose().done(claim, replace(finish(claim), left_on=(HOST,)))
    assert box.mailbox.owed(QUEUE) == {HOST: [vm]}


def test_asking_hosts_costs_one_pause_at_most(lossy: Lossy) -> None:
    box, vm = lossy.box, new_vm()
    claim = box.claim(box.put(vm, "stop"))
    box.mailbox.done(claim, replace(finish(claim), left_on=(HOST,)))
    box.client.zadd(box.key("left", QUEUE), {f"{vm} {HOST}": 0})
    assert lossy.lose().hosts_owing(QUEUE, 30) == []
    due: Any = box.client.zscore(box.key("left", QUEUE), f"{vm} {HOST}")
    assert due / 1000 - box.now() <= 30
