"""Observers of a worker's work (log, metrics, traces): the port they fulfil, and how several hear of one thing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from celery.exceptions import SoftTimeLimitExceeded
from typing_extensions import override

from configdrive.lifecycle.settled import Settled
from configdrive.ports import StepRecord
from tasks.attempt import AttemptObserver
from tasks.leftovers import LeftoverObserver
from tasks.mailbox import Claim, Ending, Park, Retry

_log = logging.getLogger(__name__)


class WorkObserver(AttemptObserver, LeftoverObserver, Protocol):
    """Notified of all that a worker does: attempts, their steps, and leftovers."""


class Observers(WorkObserver):
    """Reports to several. What one of them fails with is logged by its type, and keeps nobody from working."""

    def __init__(self, observers: Iterable[WorkObserver]) -> None:
        self._observers = tuple(observers)

    @override
    def attempt_started(self, claim: Claim) -> None:
        for observer in self._observers:
            _report(observer.attempt_started, claim)

    @override
    def step(self, record: StepRecord) -> None:
        for observer in self._observers:
            _report(observer.step, record)

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        for observer in self._observers:
            _report(observer.attempt_ended, claim, ending, seconds)

    @override
    def leftover_removed(self, queue: str) -> None:
        for observer in self._observers:
            _report(observer.leftover_removed, queue)


def _report(method: Callable[..., None], *what: object) -> None:
    try:
        method(*what)
    except SoftTimeLimitExceeded:
        raise  # the pool's word to the attempt, which may come at any moment
    except Exception as error:  # noqa: BLE001 - see Observers
        _log.warning("%s failed: %s", getattr(method, "__qualname__", method), type(error).__name__)


def hypervisor_of(queue: object) -> str:
    """Return the hypervisor that a queue is named after; `other` for what is no queue's name of ours."""
    parts = queue.split(".") if isinstance(queue, str) else []
    return parts[1] if len(parts) in {2, 3} and parts[0] == "configdrive" and parts[1] else "other"


def what_became(ending: Ending | None) -> tuple[str, str]:
    """Return the end of an attempt as two words: a status, `retry` or `lost`; and the code, which may be empty."""
    match ending:
        case None:
            return "lost", ""
        case Retry(_, code):
            return "retry", str(code)
        case Park(outcome, _, True):  # the end of a trial, of which nobody is told
            return "retry", str(outcome.code or "")
        case Settled(outcome) | Park(outcome):
            return str(outcome.status), str(outcome.code or "")
