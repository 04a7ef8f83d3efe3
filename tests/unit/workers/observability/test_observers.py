"""Reporting to several observers, and the two words for the end of an attempt."""

import logging
from unittest.mock import Mock

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.contract.outcome import Status
from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import StepRecord
from tasks.mailbox import Ending, Retry
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, claim, finish, park
from workers.observability.observers import Observers, WorkObserver, hypervisor_of, what_became

STEP = StepRecord("upload", "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 0.1)


def test_one_that_fails_keeps_no_report_from_the_others_and_nobody_from_working(
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ("attempt_started", "step", "attempt_ended", "leftover_removed")
    failing = Mock(spec=WorkObserver, **{f"{word}.side_effect": OSError(SECRET) for word in words})
    other, wanted = Mock(spec=WorkObserver), Mock()
    with caplog.at_level(logging.WARNING):
        for hearing in (Observers([failing, other]), wanted):
            hearing.attempt_started(claim())
            hearing.step(STEP)
            hearing.attempt_ended(claim(), None, 1.0)
            hearing.leftover_removed("configdrive.kvm")
    assert failing.mock_calls == other.mock_calls == wanted.mock_calls
    assert len(wanted.mock_calls) == len(words)
    assert "mock.attempt_started" in caplog.text
    assert "failed: OSError" in caplog.text
    assert SECRET not in caplog.text


def test_the_pool_s_word_that_the_time_is_over_is_not_swallowed() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        Observers([Mock(spec=WorkObserver, **{"step.side_effect": SoftTimeLimitExceeded()})]).step(STEP)


@pytest.mark.parametrize(
    ("queue", "name"),
    [
        ("configdrive.kvm", "kvm"),
        ("configdrive.kvm.berlin-1", "kvm"),
        ("configdrive.", "other"),
        ("configdrive", "other"),
        ("another.kvm", "other"),
        ("configdrive.a.b.c", "other"),
        (7, "other"),
    ],
)
def test_a_queue_s_name_tells_the_hypervisor(queue: object, name: str) -> None:
    assert hypervisor_of(queue) == name


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (finish(), ("applied", "")),
        (finish(Status.DROPPED, "vm_gone"), ("dropped", "vm_gone")),
        (park("access_denied"), ("parked", "access_denied")),
        (Retry(1.0, "vm_busy"), ("retry", "vm_busy")),
        (None, ("lost", "")),
    ],
)
def test_an_end_in_two_words(ending: Ending | None, words: tuple[str, str]) -> None:
    assert what_became(ending) == words
