"""The use case of the adapter: take one payload, and end with an event stored, or with the reason why none."""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import SecretStr

from configdrive.client.postings import Receipt
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import VmUuid
from configdrive.ports import Clock
from tasks.mailbox import DeadLetter
from workers.cloudstack import events, notices
from workers.cloudstack.decide import Act, Decision, Kind, decide, is_stale
from workers.cloudstack.notices import Notice, UnreadableError
from workers.cloudstack.ports import Memory, Power, Published, VmContent, VmDirectory, VmLock, VmRecord
from workers.cloudstack.relevance import Irrelevant, Relevance, relevance_of
from workers.config.cloudstack import DrivesFor, StartAt

_log: Final = logging.getLogger("configdrive.cloudstack")
_BLAMELESS: Final = frozenset({PermanentCode.ACCESS_DENIED, PermanentCode.MISCONFIGURED})
"""Not the notice's fault: it must come again once a person has mended the adapter."""


_FUTURE_SECONDS: Final = 300
"""A time that lies farther ahead is of a wrong clock, and is taken for none: what comes after it would be stale."""


class Result(StrEnum):
    """What became of a payload. `RETRIED`: nothing yet, it has to come again."""

    PUBLISHED = "published"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"
    DEAD_LETTER = "dead_letter"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a payload, why, and the ids of the events that it led to. No content in any of it.

    `unreadable`: it was no payload of CloudStack's at all.
    """

    result: Result
    reason: str
    vm: VmUuid | None = None
    events: tuple[str, ...] = ()
    unreadable: bool = False


class Publisher(Protocol):
    """The part of `configdrive.client.Publisher` that the adapter needs."""

    def publish(self, event: Mapping[str, Any]) -> Receipt:
        """Check, seal and store an event."""


class Adapter:
    """Takes payloads, from any number of threads.

    Args:
        directory: what CloudStack knows.
        memory: what was published.
        publisher: where events go.
        dead_letter: the dead-letter list.
        clock: for events whose notice has no time.
        start_at: from which state on a VM has its drive.
        hosts: CloudStack's name of a host -> its name in the inventory, where they differ.
        drives_for: which VMs have a drive.
        origin: how dead letters call this adapter.
        watch: called with the result of each payload, and of each time that one has to come again.
    """

    def __init__(  # noqa: PLR0913 - its ports, all by name
        self,
        *,
        directory: VmDirectory,
        memory: Memory,
        publisher: Publisher,
        dead_letter: Callable[[DeadLetter], None],
        clock: Clock,
        start_at: StartAt,
        hosts: Mapping[str, str],
        drives_for: DrivesFor,
        origin: str,
        watch: Callable[[Result], None] | None = None,
    ) -> None:
        self._directory = directory
        self._memory = memory
        self._publisher = publisher
        self._add_dead_letter = dead_letter
        self._clock = clock
        self._start_at = start_at
        self._hosts = hosts
        self._drives_for = drives_for
        self._origin = f"cloudstack {origin}"
        self._watch = watch
        self._counting = threading.Lock()
        self.tally: Counter[Result] = Counter()

    def take(self, body: bytes, *, routing_key: str = "", event_id: str | None = None) -> Taken:
        """Take one payload. When this has returned, it need not come again.

        Raises:
            TransientError: it has to come again: CloudStack cannot be asked, or another adapter is at this VM.
            PermanentError: `ACCESS_DENIED` or `MISCONFIGURED`: it has to come again, after a person was here.
            redis.RedisError, kombu.exceptions.OperationalError: it has to come again.
        """
        taken = self._take(body, routing_key, event_id)
        self._count(taken.result)
        level = {Result.PUBLISHED: logging.INFO, Result.DEAD_LETTER: logging.WARNING}.get(taken.result, logging.DEBUG)
        _log.log(level, "%s: %s vm=%s events=%s", taken.result, taken.reason, taken.vm, ",".join(taken.events))
        return taken

    def give_up(self, error: Exception) -> Taken:
        """Make a dead letter of a payload over which an error came up that nobody foresaw."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        taken = self._dead_letter(f"unforeseen {type(error).__name__} at {place}: please report it", None)
        self._count(taken.result)
        _log.error("%s: %s", taken.result, taken.reason)
        return taken

    def put_off(self) -> None:
        """Count a payload that has to come again."""
        self._count(Result.RETRIED)

    def _count(self, result: Result) -> None:
        with self._counting:
            self.tally[result] += 1
        if self._watch is not None:
            self._watch(result)

    def _take(self, body: bytes, routing_key: str, event_id: str | None) -> Taken:
        try:
            notice = notices.read(body, routing_key=routing_key, event_id=event_id)
        except UnreadableError as error:
            return replace(self._dead_letter(f"the payload {error}", None), unreadable=True)
        if notice is None:
            return Taken(Result.IGNORED, "is about no event")
        counts = relevance_of(notice)
        if isinstance(counts, Irrelevant):
            return Taken(Result.IGNORED, f"{notice.words}: {counts.reason}", notice.vm)
        vm = notice.vm
        if vm is None:
            return self._dead_letter(f"{notice.words}: names no VM, or not clearly which", None)
        if self._memory.seen(notice):
            return Taken(Result.DUPLICATE, f"{notice.words}: came before", vm)
        if notice.at is not None and notice.at.timestamp() > self._clock.now() + _FUTURE_SECONDS:
            notice = replace(notice, at=None)
        with self._memory.lock(vm, notice) as lock:
            return self._locked(vm, notice, counts, lock)

    def _locked(self, vm: VmUuid, notice: Notice, counts: Relevance, lock: VmLock) -> Taken:
        if self._memory.seen(notice):
            return Taken(Result.DUPLICATE, f"{notice.words}: came to another adapter meanwhile", vm)
        if is_stale(notice, counts, lock.published):
            lock.keep(lock.published)
            return Taken(Result.STALE, f"{notice.words}: is older than what was seen already", vm)
        seen = None if lock.published.gone else self._directory.find(vm)
        decision = decide(notice, counts, lock.published, seen, self._start_at)
        if decision.acts and events.hypervisor_of(decision.published) is None:
            lock.keep(decision.published)
            return Taken(Result.IGNORED, f"{notice.words}: the VM was never placed", vm)
        return self._publish_all(_Case(vm, notice, seen, lock), decision)

    def _publish_all(self, case: _Case, decision: Decision) -> Taken:
        """Publish what was decided; then, and not before, remember it."""
        acts, lost, password = decision.acts, decision.lost, None
        if any(act.kind is Kind.PASSWORD_RESET for act in acts):
            password = self._password(case.notice)
            if password is None:
                acts = tuple(act for act in acts if act.kind is not Kind.PASSWORD_RESET)
                lost = "CloudStack masks the new password, and no longer knows the job that set it: reset it again"
        seen = case.seen
        case.lock.check()
        content = self._directory.content(seen) if seen and any(map(events.wants_content, acts)) else None
        published, event_ids = decision.published, list[str]()
        try:
            for act in acts:
                case.lock.check()
                published = replace(published, sequence=case.lock.next_sequence(published))
                event_ids.append(self._publish(case, act, published, content, password))
        except PermanentError as error:
            if error.code in _BLAMELESS:
                raise
            return self._refused(case, error, published, event_ids)
        case.lock.keep(published)
        if lost:
            return replace(self._dead_letter(f"{case.notice.words}: {lost}", case.vm), events=tuple(event_ids))
        if not event_ids:
            return Taken(Result.IGNORED, f"{case.notice.words}: {decision.reason}", case.vm)
        said = " and ".join(act.kind.value for act in acts)
        return Taken(Result.PUBLISHED, f"{case.notice.words}: {said}", case.vm, tuple(event_ids))

    def _publish(
        self, case: _Case, act: Act, published: Published, content: VmContent | None, password: SecretStr | None
    ) -> str:
        notice = case.notice
        identity = _event_id(notice, act, published)
        event = events.event_of(
            act,
            vm=case.vm,
            identity=identity,
            at=notice.at or datetime.fromtimestamp(int(self._clock.now()), UTC),
            published=published,
            sequence=published.sequence,
            hosts=self._hosts,
            record=case.seen,
            content=content,
            password=password,
            drives_for=self._drives_for,
        )
        try:
            return str(self._publisher.publish(event).event_id)
        except PermanentError as error:
            if error.code is not PermanentCode.ID_CONFLICT:
                raise
            # The id is this act's for this notice alone: it was published before a crash, under an earlier sequence.
            return identity

    def _refused(self, case: _Case, error: PermanentError, published: Published, events: list[str]) -> Taken:
        """The fleet refuses an event: the next notice looks again, as if nothing had been published."""
        case.lock.keep(replace(published, power=Power.UNKNOWN, moving_to=None, gone=False))
        reason = f"{case.notice.words}: {error.code}: {error.detail}"
        if error.code is PermanentCode.UNKNOWN_HYPERVISOR:
            return Taken(Result.IGNORED, reason, case.vm, tuple(events))
        return replace(self._dead_letter(reason, case.vm), events=tuple(events))

    def _password(self, notice: Notice) -> SecretStr | None:
        """Return the new password: from the notice, or from CloudStack itself where the notice has it masked."""
        if notice.password is not None and not notice.masked:
            return notice.password
        return None if notice.job is None else self._directory.password_of(notice.job)

    def _dead_letter(self, reason: str, vm: VmUuid | None) -> Taken:
        self._add_dead_letter(DeadLetter(at=self._clock.now(), origin=self._origin, reason=reason, vm_uuid=vm))
        return Taken(Result.DEAD_LETTER, reason, vm)


@dataclass(frozen=True, slots=True)
class _Case:
    """One notice about one VM, in work."""

    vm: VmUuid
    notice: Notice
    seen: VmRecord | None
    lock: VmLock


def _event_id(notice: Notice, act: Act, published: Published) -> str:
    """Return the same id when a notice is worked on again, after a crash for one: then it is not stored twice."""
    basis = (
        f"{notice.identities[0]} {act.kind} {act.phase}"
        if notice.identities
        else f"{notice.digest} {published.sequence}"
    )
    return f"cloudstack-{hashlib.sha256(f'{notice.vm} {basis}'.encode()).hexdigest()[:32]}"
