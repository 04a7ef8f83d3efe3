"""Who is told of a worker's work (log, metrics, traces), and where they are told from: the mailboxes, turn by turn."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import redis
from celery.exceptions import SoftTimeLimitExceeded
from typing_extensions import override

from configdrive.model import EventId, VmUuid
from configdrive.ports import Observer, StepRecord
from tasks.attempt import Turns, Verdict
from tasks.mailbox import Again, Claim, Debt, Ending, Finish, Held, NotNow, ParkIt, Wake
from workers.store.mailbox import RedisMailbox, StoreOptions

_log = logging.getLogger(__name__)


class Watcher(Observer, Protocol):
    """Told of each attempt at an event, and of each step of it, in the thread that does it; must not raise."""

    def began(self, claim: Claim) -> None:
        """Take note that a worker has begun an attempt."""

    def ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        """Take note of its end, once that is written. `None`: it was not; another worker has the VM, or will."""

    def collected(self, queue: str) -> None:
        """Take note that a host which was away has nothing of one VM any more."""


class Watchers(Watcher):
    """Tells several. What one of them fails with is logged by its type, and keeps nobody from working."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = tuple(watchers)

    @override
    def began(self, claim: Claim) -> None:
        for watcher in self._watchers:
            _tell(watcher.began, claim)

    @override
    def step(self, record: StepRecord) -> None:
        for watcher in self._watchers:
            _tell(watcher.step, record)

    @override
    def ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        for watcher in self._watchers:
            _tell(watcher.ended, claim, ending, seconds)

    @override
    def collected(self, queue: str) -> None:
        for watcher in self._watchers:
            _tell(watcher.collected, queue)


def _tell(told: Callable[..., None], *what: object) -> None:
    try:
        told(*what)
    except SoftTimeLimitExceeded:
        raise  # the pool's word to the attempt, which may come at any moment
    except Exception as error:  # noqa: BLE001 - see Watchers
        _log.warning("%s failed: %s", getattr(told, "__qualname__", told), type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Attempt:
    claim: Claim
    watcher: Watcher
    started: float


_in_work: ContextVar[_Attempt | None] = ContextVar("attempt in work", default=None)


def claim_in_work() -> Claim | None:
    """Return the claim that this thread works on."""
    attempt = _in_work.get()
    return None if attempt is None else attempt.claim


class WatchedMailbox(RedisMailbox):
    """The mailboxes as turns use them. An attempt is told of when it is claimed, and when its end is written."""

    def __init__(self, client: redis.Redis, options: StoreOptions, watcher: Watcher) -> None:
        super().__init__(client, options)
        self._watcher = watcher

    @override
    def claim(self, vm_uuid: VmUuid, event_id: EventId) -> Claim | NotNow:
        answer = super().claim(vm_uuid, event_id)
        if isinstance(answer, Claim):
            _in_work.set(_Attempt(answer, self._watcher, time.perf_counter()))
            self._watcher.began(answer)
        return answer

    @override
    def done(self, claim: Claim, ending: Ending) -> Wake | None:
        following = super().done(claim, ending)
        _end(ending)
        return following

    @override
    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, paid: Debt | None = None
    ) -> Wake | None:
        following = super().release(held, state, gone=gone, paid=paid)
        if paid is not None:
            self._watcher.collected(paid.queue)
        return following


class WatchedTurns(Turns):
    """Turns on a `WatchedMailbox`: after each, no attempt is in work, however it ended."""

    @override
    def take(self, vm_uuid: VmUuid, event_id: EventId) -> Verdict:
        try:
            return super().take(vm_uuid, event_id)
        finally:
            _end(None)


def _end(ending: Ending | None) -> None:
    attempt = _in_work.get()
    if attempt is None:
        return
    try:
        attempt.watcher.ended(attempt.claim, ending, time.perf_counter() - attempt.started)
    finally:
        _in_work.set(None)


def hypervisor_of(queue: object) -> str:
    """Return the hypervisor that a queue is named after; `other` for what is no queue's name of ours."""
    parts = queue.split(".") if isinstance(queue, str) else []
    return parts[1] if len(parts) in {2, 3} and parts[0] == "configdrive" and parts[1] else "other"


def what_became(ending: Ending | None) -> tuple[str, str]:
    """Return the end of an attempt as two words: a status, `retry` or `lost`; and the code, which may be empty."""
    match ending:
        case None:
            return "lost", ""
        case Again(_, code):
            return "retry", str(code)
        case Finish(outcome) | ParkIt(outcome):
            return str(outcome.status), str(outcome.code or "")
