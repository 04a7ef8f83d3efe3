"""A reply that is lost on the way, and what others do before redis-py asks again: the answer is as if it had come.

That a reply is lost and nothing happens meanwhile: `test_mailbox_model`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import redis

from configdrive.client.postings import Header
from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import HostName, HypervisorName
from rigs.redis import RedisServer
from tasks.mailbox import Claim, FencedError, Held, Leftover, NotNow, OperatorAction
from tests.integration.queue.lost_replies import Loss, lossy_pool, teach
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome, posting
from workers.store.inspection import Inspection

HOST = HostName("h1")
LEFT = (RememberedLeftover(HypervisorName("simulated"), HOST),)


@dataclass
class Lossy:
    """A store whose connections lose replies when told so."""

    store: Store
    mailbox: Inspection
    loss: Loss

    def lose(self, between: Callable[[], object] | None = None) -> Inspection:
        self.loss.next(between)
        return self.mailbox


@pytest.fixture
def lossy(redis_server: RedisServer, store: Store) -> Iterator[Lossy]:
    loss = Loss()
    pool = lossy_pool(redis_server.url, loss)
    with redis.Redis(connection_pool=pool) as client:
        teach(store, client)
        yield Lossy(store, store.through(client), loss)
        assert loss.lost >= 1
        assert not loss.armed
    pool.disconnect()


def test_put_of_an_event_that_a_worker_finished_meanwhile_is_no_duplicate_of_itself(lossy: Lossy) -> None:
    store, item = lossy.store, posting(new_vm())

    def work() -> None:
        store.end(item.header)

    receipt = lossy.lose(work).put(item)
    assert receipt.accepted
    assert (store.sent(), store.mail(item.header.vm_uuid)) == ([], [])
    assert store.outcomes() == [outcome(item.header)]


def test_put_into_a_back_off_does_not_end_it(lossy: Lossy) -> None:
    store, item = lossy.store, posting(new_vm())

    def fail() -> None:
        store.mailbox.done(store.claim(item.header), again(300))

    assert lossy.lose(fail).put(item).accepted
    assert store.due(item.header.vm_uuid) > 250


@pytest.mark.parametrize("how", ["finish", "skip"])
def test_an_end_after_which_another_worker_was_quicker_is_still_an_end(lossy: Lossy, how: str) -> None:
    store, vm = lossy.store, new_vm()
    first, second = store.put(vm), store.put(vm)
    claim = store.claim(first) if how == "finish" else None
    ended = outcome(first) if claim is not None else outcome(first, Status.SKIPPED, at=3.0)
    taken: list[Claim] = []
    going_on = lossy.lose(lambda: taken.append(store.claim(second)))
    if claim is not None:
        going_on.done(claim, finish(claim))
    else:
        assert going_on.act(vm, first.key, OperatorAction.SKIP, ended) is None
    assert (store.sent(), store.mail(vm)) == ([], [second.key])
    assert store.outcomes() == [ended]
    assert store.mailbox.renew(taken[0])


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


def left(store: Store, header: Header) -> None:
    """Have an event leave something on a host."""
    claim = store.claim(header)
    store.mailbox.done(claim, replace(finish(claim, "left"), left=LEFT))


def test_release_after_which_the_same_host_was_left_again_takes_no_new_leftover(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    held = store.hold(vm)
    going_on = lossy.lose(lambda: left(store, store.put(vm, "stop")))
    with pytest.raises(FencedError):  # it was written all the same: asked again, the host has nothing more to give up
        going_on.release(held, "cleaned", finished=Leftover(QUEUE, HOST))
    assert store.mailbox.leftovers(QUEUE) == {HOST: [vm]}
    assert store.field(vm, "state") == "left"


def test_a_host_is_asked_once(lossy: Lossy) -> None:
    store, vm = lossy.store, new_vm()
    left(store, store.put(vm, "stop"))
    store.client.zadd(store.key("left", QUEUE), {f"{vm} {HOST}": 0})
    assert lossy.lose().ask_hosts(QUEUE, 30) == []
    assert [message.arguments[0] for message in store.messages()] == [HOST]
