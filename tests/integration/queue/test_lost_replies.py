"""A reply that is lost on the way: redis-py asks again, and the answer and the world are as if it had not been lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import redis

from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import HostName, HypervisorName
from tasks.mailbox import Claim, FencedError, Held, Leftover, NotNow, OperatorAction
from tests.integration.queue.lost_replies import Loss, lossy_pool
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome, park, posting, receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rigs.redis import RedisServer
    from workers.store.inspection import Inspection

HOST = HostName("h1")
LEFT = (RememberedLeftover(HypervisorName("simulated"), HOST),)


@dataclass
class Lossy:
    """A store whose connections lose replies when told so."""

    store: Store
    mailbox: Inspection
    loss: Loss = field(default_factory=Loss)

    def lose(self, between: Callable[[], object] | None = None) -> Inspection:
        self.loss.next(between)
        return self.mailbox


@pytest.fixture
def lossy(redis_server: RedisServer, store: Store) -> Iterator[Lossy]:
    loss = Loss()
    pool = lossy_pool(redis_server.url, loss)
    with redis.Redis(connection_pool=pool) as client:
        mailbox = store.through(client)
        warm_up = posting(new_vm())
        mailbox.put(warm_up)  # all scripts are known to the server, and the connection is there: the next reply is ours
        claim = mailbox.claim(store.wakeup(warm_up.header))
        assert isinstance(claim, Claim)
        mailbox.renew(claim)
        mailbox.done(claim, finish(claim))
        mailbox.wake_due(QUEUE, 1)
        mailbox.ask_hosts(QUEUE, 30)
        held = mailbox.hold(warm_up.header.vm_uuid)
        assert isinstance(held, Held)
        mailbox.release(held)
        mailbox.act(warm_up.header.vm_uuid, warm_up.header.key, OperatorAction.RETRY, None)
        yield Lossy(store, mailbox, loss)
        assert loss.lost >= 1
        assert not loss.armed
    pool.disconnect()


def test_put(lossy: Lossy) -> None:
    item = posting(new_vm())
    assert lossy.lose().put(item).accepted
    assert lossy.store.sent() == [(item.header.key, 1)]
    assert lossy.store.mail(item.header.vm_uuid) == [item.header.key]


def test_put_of_an_event_that_a_worker_finished_meanwhile_is_no_duplicate_of_itself(lossy: Lossy) -> None:
    store, item = lossy.store, posting(new_vm())

    def work() -> None:
        claim = store.claim(item.header)
        store.mailbox.done(claim, finish(claim))

    receipt = lossy.lose(work).put(item)
    assert receipt.accepted
    assert store.sent() == []
    assert store.mail(item.header.vm_uuid) == []
    assert store.outcomes()[1:] == [outcome(item.header)]


def test_put_into_a_back_off_does_not_end_it(lossy: Lossy) -> None:
    store, item = lossy.store, posting(new_vm())

    def fail() -> None:
        store.mailbox.done(store.claim(item.header), again(300))

    assert lossy.lose(fail).put(item).accepted
    due = store.due(item.header.vm_uuid)
    assert due is not None
    assert due > 250


def test_put_many(lossy: Lossy) -> None:
    items = [posting(new_vm()) for _ in range(3)]
    assert all(receipt.accepted for receipt in receipts(lossy.lose().put_many(items)))
    assert lossy.store.sent() == [(item.header.key, 1) for item in items]
    assert [lossy.store.mail(item.header.vm_uuid) for item in items] == [[item.header.key] for item in items]


def test_claim(lossy: Lossy) -> None:
    header = lossy.store.put(new_vm())
    claim = lossy.lose().claim(lossy.store.wakeup(header))
    assert isinstance(claim, Claim)
    assert (claim.epoch, claim.attempt, claim.deaths) == (1, 1, 0)
    assert lossy.store.refused(header) is NotNow.BUSY
    assert lossy.store.mailbox.renew(claim)


def test_finish_writes_one_outcome_and_still_wakes_the_next(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    first, second, third = (store.put(vm) for _ in range(3))
    claim = store.claim(first)
    lossy.lose().done(claim, finish(claim))
    assert store.sent() == [(second.key, 1)]
    assert store.mail(vm) == [second.key, third.key]
    assert store.outcomes()[1:] == [outcome(first)]


def test_finish_after_which_another_worker_was_quicker_is_still_a_finish(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    first, second = store.put(vm), store.put(vm)
    claim = store.claim(first)
    taken: list[Claim] = []
    lossy.lose(lambda: taken.append(store.claim(second))).done(claim, finish(claim))
    assert store.sent() == []
    assert store.outcomes()[1:] == [outcome(first)]
    assert store.mailbox.renew(taken[0])


def test_last_finish_and_back_off(lossy: Lossy) -> None:
    store, header = lossy.store, lossy.store.put(new_vm())
    claim = store.claim(header)
    lossy.lose().done(claim, again(300))
    due = store.due(header.vm_uuid)
    assert due is not None
    assert due > 290
    store.age(header.vm_uuid, 300)
    claim = store.claim(header)
    assert (claim.attempt, claim.deaths) == (2, 0)
    lossy.lose().done(claim, finish(claim, gone=True))
    assert store.outcomes()[1:] == [outcome(header, attempts=2)]
    assert store.due(header.vm_uuid) is None


def test_park_writes_one_outcome(lossy: Lossy) -> None:
    store, header = lossy.store, lossy.store.put(new_vm())
    claim = store.claim(header)
    lossy.lose().done(claim, park(claim))
    assert store.outcomes()[1:] == [outcome(header, Status.PARKED, "unclassified")]
    assert store.refused(header) is NotNow.PARKED


def test_skip_and_retry(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    parked = store.parked(vm)
    second, third = store.put(vm), store.put(vm)
    assert lossy.lose().act(vm, parked.key, OperatorAction.RETRY, None) is None
    assert store.sent() == [(parked.key, 1)]
    skipped = outcome(parked, Status.SKIPPED, at=2.0)
    assert lossy.lose().act(vm, parked.key, OperatorAction.SKIP, skipped) is None
    assert len(store.messages()) == 1
    assert store.outcomes()[2:] == [skipped]

    skipped = outcome(second, Status.SKIPPED, at=3.0)
    taken: list[Claim] = []
    going_on = lossy.lose(lambda: taken.append(store.claim(third)))
    assert going_on.act(vm, second.key, OperatorAction.SKIP, skipped) is None
    assert store.sent() == []
    assert store.mailbox.renew(taken[0])
    assert store.mail(vm) == [third.key]


def test_a_look_for_wake_ups_sends_each_once(lossy: Lossy) -> None:
    store, header = lossy.store, lossy.store.put(new_vm())
    store.mailbox.done(store.claim(header), again(1))
    store.age(header.vm_uuid, 15)
    assert lossy.lose().wake_due(QUEUE, 10) == []
    assert store.sent() == [(header.key, 2)]


def test_hold(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    held = lossy.lose().hold(vm)
    assert isinstance(held, Held)
    assert held == Held(vm, 1, held.owner, None)
    assert store.mailbox.hold(vm) is NotNow.BUSY
    assert store.mailbox.renew(held)


def test_hold_during_which_an_event_came_is_still_a_hold_and_forgets_no_event(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    held = lossy.lose(lambda: store.put(vm)).hold(vm)
    assert isinstance(held, Held)
    assert store.ttl("vm", vm) == -1
    store.mailbox.release(held)
    assert len(store.messages()) == 1


def test_hold_that_ran_out_before_it_was_asked_again_is_the_event_s(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    taken: list[Claim] = []

    def take() -> None:
        header = store.put(vm)
        store.age(vm, 60)
        taken.append(store.claim(header))

    assert lossy.lose(take).hold(vm) is NotNow.BUSY
    assert store.mailbox.renew(taken[0])


def test_release(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    claim = store.claim(store.put(vm, "stop"))
    store.mailbox.done(claim, replace(finish(claim), left=LEFT))
    held = store.mailbox.hold(vm)
    assert isinstance(held, Held)
    header = store.put(vm)
    lossy.lose().release(held, "cleaned", finished=Leftover(QUEUE, HOST))
    assert store.sent() == [(header.key, 1)]
    assert store.mailbox.leftovers(QUEUE) == {}
    assert store.claim(header).state == "cleaned"


def test_release_after_which_the_same_host_was_left_again_takes_no_new_leftover(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    held = store.mailbox.hold(vm)
    assert isinstance(held, Held)

    def leave_again() -> None:
        claim = store.claim(store.put(vm, "stop"))
        store.mailbox.done(claim, replace(finish(claim, "left again"), left=LEFT))

    with pytest.raises(FencedError):  # it was written all the same: asked again, the host has nothing more to give up
        lossy.lose(leave_again).release(held, "cleaned", finished=Leftover(QUEUE, HOST))
    assert store.mailbox.leftovers(QUEUE) == {HOST: [vm]}
    assert store.field(vm, "state") == "left again"


def test_finish_that_leaves_something_is_asked_for_once(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    claim = store.claim(store.put(vm, "stop"))
    lossy.lose().done(claim, replace(finish(claim), left=LEFT))
    assert store.mailbox.leftovers(QUEUE) == {HOST: [vm]}


def test_a_host_is_asked_once(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    claim = store.claim(store.put(vm, "stop"))
    store.mailbox.done(claim, replace(finish(claim), left=LEFT))
    store.client.zadd(store.key("left", QUEUE), {f"{vm} {HOST}": 0})
    assert lossy.lose().ask_hosts(QUEUE, 30) == []
    assert [message.arguments[0] for message in store.messages()] == [HOST]
