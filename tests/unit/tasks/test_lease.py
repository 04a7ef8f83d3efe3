"""Keeping a lease: renewed from a side thread, asked for before a step, and given up rather than guessed."""

import logging
import threading
import time
from collections.abc import Callable

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.errors import StaleCode, StaleError
from tasks.lease import KeptLease, LeaseKeeper, now
from tasks.mailbox import Claim, Wakeup
from tests.unit.fakes.queue import Queue

WAIT = 300.0
"""Seconds after which something that should have happened has not."""


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def claim(queue: Queue) -> Claim:
    return queue.claim(queue.put("start"))


def kept(queue: Queue, claim: Claim) -> KeptLease:
    """A lease of 30 s that was taken just now; the test moves the clock."""
    return KeptLease(queue.leases, claim, queue.leases.now())


def keeper(queue: Queue, seconds: float, longest: float = 300.0) -> LeaseKeeper:
    """One that goes by the machine's clock."""
    return LeaseKeeper(queue.mailbox, seconds=seconds, longest=longest)


def raising(error: BaseException) -> Callable[..., bool]:
    def answer(*_asked: object) -> bool:
        raise error

    return answer


class Store:
    """Answers every renewal alike, and remembers them."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch, *, held: bool = True) -> None:
        self.asked: list[Claim] = []
        self._held = held
        monkeypatch.setattr(queue.mailbox, "renew", self.renew)
        monkeypatch.setattr(queue.mailbox, "intend", lambda right, _intents: self.renew(right))

    def renew(self, claim: Claim) -> bool:
        self.asked.append(claim)
        return self._held


def lost(lease: KeptLease) -> bool:
    try:
        lease.check()
    except StaleError as error:
        return error.code is StaleCode.LEASE_LOST
    return False


def test_whoever_slept_longer_than_a_moment_has_to_ask(queue: Queue, claim: Claim) -> None:
    lease = kept(queue, claim)
    # A clock that jumped, an operator's action, a store of yesterday.
    queue.store.client.hincrby(queue.store.key("vm", claim.vm_uuid), "epoch", 1)
    queue.fleet.clock.time += 0.24
    assert not lost(lease)
    queue.fleet.clock.time += 0.02
    assert lost(lease)


@pytest.mark.parametrize(("seconds", "fresh"), [(3.0, 0.03), (30.0, 0.25), (604_800.0, 0.25)])
def test_a_moment_is_a_hundredth_of_the_lease_and_never_more_than_a_quarter_of_a_second(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, seconds: float, fresh: float
) -> None:
    store = Store(queue, monkeypatch)
    leases = LeaseKeeper(queue.mailbox, seconds=seconds, longest=1e6, clock=queue.fleet.clock.now)
    lease = KeptLease(leases, claim, leases.now())
    queue.fleet.clock.time += fresh - 0.001
    lease.check()
    assert store.asked == []
    queue.fleet.clock.time += 0.002
    lease.check()
    assert store.asked == [claim]
    queue.fleet.clock.time += fresh - 0.001
    lease.check()
    assert store.asked == [claim], "the answer counts from the question on"


def test_an_answer_that_took_long_is_old_when_it_comes(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Claim] = []

    def slow(right: Claim) -> bool:
        asked.append(right)
        queue.fleet.clock.time += 1
        return True

    monkeypatch.setattr(queue.mailbox, "renew", slow)
    lease = kept(queue, claim)
    queue.fleet.clock.time += 1
    lease.check()
    lease.check()
    assert asked == [claim, claim]


def test_a_claim_that_took_long_is_asked_for_before_the_first_step(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, take = Store(queue, monkeypatch), queue.mailbox.claim

    def slow(wakeup: Wakeup) -> object:
        claimed = take(wakeup)
        queue.fleet.clock.time += 0.3
        return claimed

    monkeypatch.setattr(queue.mailbox, "claim", slow)
    queue.take(queue.put("deploy"))
    assert len(store.asked) == 1


def test_one_look_renews_what_is_old_and_only_that(queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(queue, monkeypatch)
    with queue.leases.keep(claim, queue.leases.now()):
        queue.fleet.clock.time += 4.9
        queue.leases.look()
        assert store.asked == []
        queue.fleet.clock.time += 0.2
        queue.leases.look()
        queue.leases.look()
        assert store.asked == [claim]
    queue.fleet.clock.time += 6
    queue.leases.look()
    assert store.asked == [claim], "the work is done"


def test_many_leases_are_kept_by_one_thread_that_ends_with_the_last(queue: Queue, claim: Claim) -> None:
    leases = keeper(queue, 0.03)
    with leases.keep(claim, now()), leases.keep(claim, now()):
        thread = leases._thread
        assert thread is not None
        assert [found.name for found in threading.enumerate()].count("leases") >= 1
        time.sleep(0.05)
        assert leases._thread is thread
    thread.join(timeout=WAIT)
    assert not thread.is_alive()
    with leases.keep(claim, now()):
        assert leases._thread is not None, "the next lease is kept by nobody"


def test_a_thread_that_cannot_be_started_now_is_started_for_the_next_lease(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = keeper(queue, 0.03)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError), leases.keep(claim, now()):
            pass
    with leases.keep(claim, now()):
        assert leases._thread is not None
        assert leases._thread.is_alive()


def test_what_is_lost_is_not_asked_for_again_from_the_side(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(queue, monkeypatch, held=False)
    with queue.leases.keep(claim, queue.leases.now()) as lease:
        for _ in range(2):
            queue.fleet.clock.time += 6
            queue.leases.look()
        assert store.asked == [claim]
        assert lost(lease)


def test_a_store_that_does_not_answer_is_asked_again_and_reported_without_its_text(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Semaphore(0)

    def broken(_claim: Claim) -> bool:
        asked.release()
        raise ConnectionError("redis://:swordfish@host")

    monkeypatch.setattr(queue.mailbox, "renew", broken)
    with keeper(queue, 0.03).keep(claim, now()):
        assert asked.acquire(timeout=WAIT)
        assert asked.acquire(timeout=WAIT)
    assert "ConnectionError" in caplog.text
    assert "swordfish" not in caplog.text


QUESTIONS: dict[str, Callable[[KeptLease], None]] = {"renew": KeptLease.check, "intend": lambda lease: lease.intend(())}
"""The calls of the store by which a lease asks whether it holds, each with what has it asked."""


@pytest.mark.parametrize("asks", QUESTIONS)
def test_without_an_answer_nothing_may_be_changed(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asks: str
) -> None:
    monkeypatch.setattr(queue.mailbox, asks, raising(ConnectionError("swordfish")))
    lease = kept(queue, claim)
    queue.fleet.clock.time += 1
    with caplog.at_level(logging.WARNING), pytest.raises(StaleError) as caught:
        QUESTIONS[asks](lease)
    assert caught.value.code is StaleCode.LEASE_LOST
    assert "swordfish" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("asks", QUESTIONS)
def test_the_end_of_the_attempt_s_time_is_not_taken_for_a_lost_lease(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, asks: str
) -> None:
    monkeypatch.setattr(queue.mailbox, asks, raising(SoftTimeLimitExceeded()))
    lease = kept(queue, claim)
    queue.fleet.clock.time += 1
    with pytest.raises(SoftTimeLimitExceeded):
        QUESTIONS[asks](lease)


def test_an_attempt_that_takes_longer_than_one_may_loses_its_lease(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(queue, monkeypatch)
    with queue.leases.keep(claim, queue.leases.now()) as lease:
        queue.fleet.clock.time += queue.leases.longest + 1
        queue.leases.look()
        assert lost(lease)
    assert store.asked == [], "it is renewed for ever"


def test_the_clock_goes_on_and_is_nobody_s_to_set() -> None:
    assert abs((now() - time.monotonic()) - (now() - time.monotonic())) < 1.0
    began = now()
    time.sleep(0.01)
    assert now() - began >= 0.01
