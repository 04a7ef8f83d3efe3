"""Telling several watchers, and the words by which an attempt is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from typing_extensions import override

from configdrive.contract.outcome import Status
from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import StepRecord
from tasks.mailbox import Again, Claim, Ending
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, claim, finish, park
from workers.observability.observers import Watcher, Watchers, claim_in_work, hypervisor_of, what_became

STEP = StepRecord("upload", "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 0.1)


class Noting(Watcher):
    """Notes what it is told, then fails as it was asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[Any] = []
        self._error = error

    @override
    def began(self, claim: Claim) -> None:
        self._note(claim)

    @override
    def step(self, record: StepRecord) -> None:
        self._note(record)

    @override
    def ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        self._note((claim, ending, seconds))

    @override
    def collected(self, queue: str) -> None:
        self._note(queue)

    def _note(self, what: object) -> None:
        self.told.append(what)
        if self._error is not None:
            raise self._error


def tell_all(watchers: Watchers) -> list[Any]:
    watchers.began(claim())
    watchers.step(STEP)
    watchers.ended(claim(), None, 1.0)
    watchers.collected("configdrive.kvm")
    return [claim(), STEP, (claim(), None, 1.0), "configdrive.kvm"]


def test_all_are_told_everything() -> None:
    noting = [Noting(), Noting()]
    told = tell_all(Watchers(noting))
    assert [one.told for one in noting] == [told, told]


def test_one_that_fails_keeps_nobody_from_being_told_nor_from_working(caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Noting(OSError(SECRET)), Noting()
    with caplog.at_level(logging.WARNING):
        told = tell_all(Watchers([failing, other]))
    assert failing.told == other.told == told
    assert "Noting.began failed: OSError" in caplog.text
    assert SECRET not in caplog.text


def test_the_pool_s_word_that_the_time_is_over_is_not_swallowed() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        Watchers([Noting(SoftTimeLimitExceeded())]).step(STEP)


def test_nothing_is_in_work_outside_of_a_turn() -> None:
    assert claim_in_work() is None


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
        (Again(1.0, "vm_busy"), ("retry", "vm_busy")),
        (None, ("lost", "")),
    ],
)
def test_an_end_in_two_words(ending: Ending | None, words: tuple[str, str]) -> None:
    assert what_became(ending) == words
