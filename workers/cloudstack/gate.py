"""The gate: a host asks for the drive of a VM that it is about to start, and waits until the fleet has made it.

CloudStack's agent on KVM calls a hook right before it starts a domain, and starts what the hook answers (Apache
CloudStack, `LibvirtStartCommandWrapper.java`, `LibvirtKvmAgentHook.java`; 4.14 and newer). Our hook asks here. So the
drive is in the VM at its first instruction. What the gate publishes it remembers where the adapter does, under the same
lock: at Running the adapter makes sure of that very drive, whatever answer was lost on the way (`decide`).

| CloudStack says of the VM                     | the answer                                             |
|-----------------------------------------------|--------------------------------------------------------|
| it is no user's VM, or gone                   | none: the XML stays as it is                           |
| it is not Starting: it is being unmanaged     | none                                                   |
| it is on another host                         | `not_yours`                                            |
| its offering gives it no drive                | none                                                   |
| it has a drive of CloudStack's own            | none, and the adapter gives it no second one           |
| all else                                      | the drive's element, once the fleet has made its image |
"""

from __future__ import annotations

import logging
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

import redis
from kombu.exceptions import OperationalError

from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import FleetError, PermanentError, TransientCode, TransientError
from configdrive.model import VmDefinition, VmUuid
from configdrive.ports import Clock
from workers.cloudstack import events
from workers.cloudstack.decide import gate_acts, known_of
from workers.cloudstack.ports import STARTING, Memory, Published, VmDirectory, VmLock, VmRecord
from workers.config.cloudstack import DrivesFor

_log: Final = logging.getLogger("configdrive.cloudstack.gate")

_PASSES: Final = (TransientError, redis.RedisError, OperationalError)
_PAUSE: Final = 0.25
_AGAIN_MS: Final = 120_000
"""For so long a question that comes again is about the same start, unless something was published since."""


class Verdict(StrEnum):
    """What a host is told."""

    DRIVE = "drive"
    """Put these elements into the XML."""

    NONE = "none"
    """This VM gets no drive now; nothing is wrong."""

    NOT_YOURS = "not_yours"
    """CloudStack has the VM on another host."""

    FAILED = "failed"
    """The fleet could not make the drive."""

    LATE = "late"
    """It did not get so far in time."""

    REFUSED = "refused"
    """It has no right token, or asks what cannot be read."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a host asks.

    Args:
        vm: the domain's uuid.
        host: the host, by the name that CloudStack has for it; the token says so.
        definition: of the domain that is about to be started.
        foreign: whether CloudStack's own config drive is in it.
        fail_closed: whether the VM shall not start without its drive.
    """

    vm: VmUuid
    host: str
    definition: VmDefinition
    foreign: bool = False
    fail_closed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told; `elements` belong into the domain's devices, in this order.

    `away`: what the gate needs was away all the time, so the next question would wait in vain as well.
    """

    verdict: Verdict
    reason: str
    elements: tuple[str, ...] = ()
    away: bool = False


class Publisher(Protocol):
    """The part of `configdrive.client.Publisher` that the gate needs."""

    def publish(self, event: Mapping[str, Any]) -> Receipt:
        """Check, seal and store an event."""

    def wait(self, event: Mapping[str, Any], timeout: float) -> Outcome | None:
        """Wait for an event's outcome."""


class Gate:
    """Answers hosts, from any number of threads.

    Args:
        directory, memory, publisher, clock: as the adapter's, whose memory it shares.
        hosts: CloudStack's name of a host -> its name in the inventory, where they differ.
        drives_for: which VMs have a drive.
        seconds: how long a host is kept waiting.
        watch: called with each verdict, and for how long the host was kept waiting.
    """

    def __init__(  # noqa: PLR0913 - its ports, all by name
        self,
        *,
        directory: VmDirectory,
        memory: Memory,
        publisher: Publisher,
        clock: Clock,
        hosts: Mapping[str, str],
        drives_for: DrivesFor,
        seconds: float,
        watch: Callable[[Verdict, float], None] | None = None,
    ) -> None:
        self._directory = directory
        self._memory = memory
        self._publisher = publisher
        self._clock = clock
        self._hosts = hosts
        self._drives_for = drives_for
        self._seconds = seconds
        self._watch = watch

    def ask(self, question: Question, asked: float | None = None) -> Answer:
        """Answer a host, within the time that it is kept waiting.

        Args:
            question: the host's.
            asked: when it came, by the monotonic clock; now otherwise. It may have waited for a thread.
        """
        began = time.monotonic() if asked is None else asked
        try:
            answer = self._ask(question, began + self._seconds)
        except Exception as error:  # noqa: BLE001 - it is named by its type, and its text may hold a secret
            answer = Answer(Verdict.FAILED, f"unforeseen {type(error).__name__}: please report it")
        level = logging.INFO if answer.verdict in {Verdict.DRIVE, Verdict.NONE} else logging.WARNING
        took = time.monotonic() - began
        _log.log(
            level, "%s: vm=%s host=%s %s (%.2f s)", answer.verdict, question.vm, question.host, answer.reason, took
        )
        self._count(answer.verdict, took)
        return answer

    def refuse(self) -> None:
        """Count a question that is not answered."""
        self._count(Verdict.REFUSED, 0.0)

    def _count(self, verdict: Verdict, seconds: float) -> None:
        if self._watch is not None:
            self._watch(verdict, seconds)

    def _ask(self, question: Question, deadline: float) -> Answer:
        """Try until it is answered, also while Redis or CloudStack is away for a moment."""
        why, away = "nobody has made its drive yet", False
        while time.monotonic() < deadline:
            try:
                return self._try(question, deadline)
            except _PASSES as error:
                why = str(error) if isinstance(error, FleetError) else type(error).__name__
                away = not isinstance(error, FleetError) or error.code is not TransientCode.VM_BUSY  # another's lock
            except PermanentError as error:
                return Answer(Verdict.FAILED, f"{error.code}: {error.detail}")
            time.sleep(_PAUSE)
        return Answer(Verdict.LATE, why, away=away)

    def _try(self, question: Question, deadline: float) -> Answer:
        with self._memory.lock(question.vm, None) as lock:
            found = self._published(question, lock)
        if isinstance(found, Answer):
            return found
        left = deadline - time.monotonic()
        outcome = self._publisher.wait({"source": events.SOURCE, "id": _id(question.vm, found)}, left)
        if outcome is None:
            return Answer(Verdict.LATE, "the fleet has not made its drive in time")
        return _answer(outcome, question)

    def _published(self, question: Question, lock: VmLock) -> Answer | int:
        """Publish what the VM's start needs, unless it was; return the sequence of the `start`."""
        if lock.published.gone:
            return Answer(Verdict.NONE, "the VM is gone")
        seen = self._directory.find(question.vm)
        if seen is None:
            return Answer(Verdict.NONE, "CloudStack has no such VM of a user")
        if seen.state != STARTING:
            return Answer(Verdict.NONE, f"the VM is {seen.state}: only one that starts gets a drive")
        if seen.host != question.host:
            return Answer(Verdict.NOT_YOURS, f"CloudStack has the VM on host {seen.host}")
        before = lock.published
        if before.gate and before.host == seen.host and self._is_the_same(before, question, lock):
            return before.gate
        return self._publish(question, seen, lock)

    @staticmethod
    def _is_the_same(before: Published, question: Question, lock: VmLock) -> bool:
        age = lock.next_sequence(Published()) - before.gate
        return before.gate == before.sequence and age < _AGAIN_MS and before.foreign == question.foreign

    def _publish(self, question: Question, seen: VmRecord, lock: VmLock) -> int:
        content, storage = self._directory.content(seen), self._directory.storage_of(question.vm)
        acts, published = gate_acts(known_of(lock.published, seen), question.host)
        published = replace(published, foreign=question.foreign)
        at_start = events.AtStart(question.definition, storage)
        for act in acts:
            lock.check()
            published = replace(published, sequence=lock.next_sequence(published))
            event = events.event_of(
                act,
                vm=question.vm,
                identity=_id(question.vm, published.sequence),
                at=datetime.fromtimestamp(int(self._clock.now()), UTC),
                published=published,
                sequence=published.sequence,
                hosts=self._hosts,
                record=seen,
                content=content,
                drives_for=self._drives_for,
                at_start=at_start,
            )
            self._publisher.publish(event)
        lock.keep(replace(published, gate=published.sequence))
        return published.sequence


def _id(vm: VmUuid, sequence: int) -> str:
    return f"cloudstack-gate-{vm}-{sequence}"


def _answer(outcome: Outcome, question: Question) -> Answer:
    facts = outcome.facts
    match outcome.status:
        case Status.APPLIED if "xml" in facts:
            elements = tuple(facts[name] for name in ("xml_controller", "xml") if name in facts)
            if question.fail_closed:
                elements = tuple(_required(element) for element in elements)
            return Answer(Verdict.DRIVE, f"{facts.get('device', '')} {facts.get('path', '')}", elements)
        case Status.NOT_APPLICABLE:
            return Answer(Verdict.NONE, outcome.detail)
        case _:
            said = outcome.detail or "the fleet did not say where its drive goes"
            return Answer(Verdict.FAILED, f"{outcome.code}: {said}" if outcome.code else said)


def _required(element: str) -> str:
    """Have libvirt refuse the start when the image cannot be looked at by then; a later migration may go without."""
    disk = ET.fromstring(element)  # noqa: S314 - the fleet's own
    source = disk.find("source")
    if source is not None:
        source.set("startupPolicy", "mandatory" if disk.get("device") == "disk" else "requisite")
    return ET.tostring(disk, encoding="unicode")
