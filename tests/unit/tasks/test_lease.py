"""Keeping a lease: renewed from a side thread, asked for before each step, and given up rather than guessed."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.errors import StaleCode, StaleError
from tasks.lease import KeptLease
from tasks.mailbox import Claim
from tests.unit.fakes.queue import Queue

WAIT = 5.0
"""Seconds after which something that should have happened has not."""


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def claim(queue: Queue) -> Claim:
    return queue.claim(queue.put("start"))


def lease(queue: Queue, claim: Claim, seconds: float = 30.0, longest: float = 300.0) -> KeptLease:
    return KeptLease(queue.mailbox, claim, seconds, longest=longest)


def test_holds_until_another_worker_takes_over(queue: Queue, claim: Claim) -> None:
    kept = lease(queue, claim)
    kept.check()
    queue.fleet.clock.time += 31
    queue.claim(claim.header)
    with pytest.raises(StaleError) as caught:
        kept.check()
    assert caught.value.code is StaleCode.LEASE_LOST


def test_asking_renews_it(queue: Queue, claim: Claim) -> None:
    queue.fleet.clock.time += 20
    lease(queue, claim).check()
    assert queue.mailbox.boxes[claim.header.vm_uuid].until == queue.fleet.clock.time + 30


def test_is_renewed_every_third_of_its_length_while_the_work_goes_on(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Semaphore(0)
    times: list[float] = []

    def renew(_claim: Claim) -> bool:
        times.append(time.monotonic())
        renewed.release()
        return True

    monkeypatch.setattr(queue.mailbox, "renew", renew)
    assert lease(queue, claim, seconds=30)._interval == 10
    with lease(queue, claim, seconds=0.06):
        for _ in range(3):
            assert renewed.acquire(timeout=WAIT)
    done = len(times)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.015
    time.sleep(0.06)
    assert len(times) <= done + 1, "it is renewed after the work is done"


def test_the_side_thread_ends_when_the_lease_is_lost(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Semaphore(0)

    def lost(_claim: Claim) -> bool:
        asked.release()
        return False

    monkeypatch.setattr(queue.mailbox, "renew", lost)
    with lease(queue, claim, seconds=0.03) as kept:
        assert asked.acquire(timeout=WAIT)
        kept._thread.join(timeout=WAIT)
        assert not kept._thread.is_alive()


def test_a_store_that_does_not_answer_is_asked_again_and_told_without_its_text(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Semaphore(0)

    def broken(_claim: Claim) -> bool:
        asked.release()
        raise ConnectionError("redis://:swordfish@host")

    monkeypatch.setattr(queue.mailbox, "renew", broken)
    with lease(queue, claim, seconds=0.03):
        assert asked.acquire(timeout=WAIT)
        assert asked.acquire(timeout=WAIT)
    assert "ConnectionError" in caplog.text
    assert "swordfish" not in caplog.text


def test_without_an_answer_nothing_may_be_changed(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_claim: Claim) -> bool:
        raise ConnectionError("swordfish")

    monkeypatch.setattr(queue.mailbox, "renew", broken)
    with caplog.at_level(logging.WARNING), pytest.raises(StaleError) as caught:
        lease(queue, claim).check()
    assert caught.value.code is StaleCode.LEASE_LOST
    assert "swordfish" not in caplog.text + str(caught.value)


def test_the_end_of_the_attempt_s_time_is_not_taken_for_a_lost_lease(
    queue: Queue, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_claim: Claim) -> bool:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(queue.mailbox, "renew", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        lease(queue, claim).check()


def test_an_attempt_that_takes_longer_than_one_may_loses_its_lease(queue: Queue, claim: Claim) -> None:
    kept = lease(queue, claim, seconds=0.03, longest=0.0)
    with kept:
        kept._thread.join(timeout=WAIT)
        assert not kept._thread.is_alive(), "it is renewed for ever"
        with pytest.raises(StaleError) as caught:
            kept.check()
    assert caught.value.code is StaleCode.LEASE_LOST
