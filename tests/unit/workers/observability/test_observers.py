"""Reporting to several observers, and the two words for the end of an attempt."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from typing_extensions import override

from configdrive.contract.outcome import Status
from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import StepRecord
from tasks.mailbox import Claim, Ending, Retry
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, claim, finish, park
from workers.observability.observers import Observers, WorkObserver, hypervisor_of, what_became

STEP = StepRecord("upload", "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 0.1)


class Noting(WorkObserver):
    """Notes what is reported, then fails as it was asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.noted: list[Any] = []
        self._error = error

    @override
    def attempt_started(self, claim: Claim) -> None:
        self._note(claim)

    @override
    def step(self, record: StepRecord) -> None:
        self._note(record)

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        self._note((claim, ending, seconds))

    @override
    def leftover_removed(self, queue: str) -> None:
        self._note(queue)

    def _note(self, what: object) -> None:
        self.noted.append(what)
        if self._error is not None:
            raise self._error


def report_all(observers: Observers) -> list[Any]:
    observers.attempt_started(claim())
    observers.step(STEP)
    observers.attempt_ended(claim(), None, 1.0)
    observers.leftover_removed("configdrive.kvm")
    return [claim(), STEP, (claim(), None, 1.0), "configdrive.kvm"]


def test_all_get_every_report() -> None:
    noting = [Noting(), Noting()]
    reported = report_all(Observers(noting))
    assert [one.noted for one in noting] == [reported, reported]


def test_one_that_fails_keeps_no_report_from_the_others_and_nobody_from_working(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing, other = Noting(OSError(SECRET)), Noting()
    with caplog.at_level(logging.WARNING):
        reported = report_all(Observers([failing, other]))
    assert failing.noted == other.noted == reported
    assert "Noting.attempt_started failed: OSError" in caplog.text
    assert SECRET not in caplog.text


def test_the_pool_s_word_that_the_time_is_over_is_not_swallowed() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        Observers([Noting(SoftTimeLimitExceeded())]).step(STEP)


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
