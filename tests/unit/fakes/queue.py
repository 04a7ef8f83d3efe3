"""A worker's turns over mailboxes and a hypervisor in memory, without Celery: wake-ups are a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from configdrive.contract.events import parse, short_type
from configdrive.contract.sealing import body_of
from configdrive.lifecycle.reconcile import Attempt, Reconciler
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventId, VmUuid
from tasks.attempt import Turns, Verdict
from tasks.lease import LeaseKeeper
from tasks.mailbox import Claim, Header, Posting, Wake
from tasks.policy import Limits
from tests.unit.documents import Json, document
from tests.unit.fakes.fleet import VM, Fleet
from tests.unit.fakes.mailbox import MemoryMailbox

QUEUE = "configdrive.memory"
LIMITS = Limits(attempts=3, unclassified_attempts=2, backoff=8.0, backoff_most=12.0)


class OutOfTimeError(Exception):
    """What a pool raises when the time of an attempt is over."""


@dataclass
class Queue:
    """One fleet's mailboxes, and one worker at a time."""

    fleet: Fleet = field(default_factory=Fleet)
    sent: list[Wake] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mailbox = MemoryMailbox(self.fleet.clock)
        self.leases = LeaseKeeper(self.mailbox, seconds=30.0, longest=300.0, clock=self.fleet.clock.now)
        self.turns = self.worker(self.fleet.reconciler)

    def worker(self, reconciler: Reconciler) -> Turns:
        return Turns(
            mailbox=self.mailbox,
            reconciler=reconciler,
            clock=self.fleet.clock,
            limits=LIMITS,
            leases=self.leases,
            timeouts=(OutOfTimeError,),
            wake=self.sent.append,
        )

    def put(self, word: str, **data: Any) -> Header:  # noqa: ANN401 - fields of an event
        """Publish an event, as `LifecyclePublisher` does."""
        self.fleet.sequence += 1
        return self.put_document(document(word, **{"sequence": self.fleet.sequence} | data))

    def put_document(self, sent: Json) -> Header:
        event = parse(json.dumps(sent))
        return self.post(event.id, short_type(event.type), body_of(event, self.fleet.sealer), event.data.sequence)

    def post(self, event_id: str, word: str, body: bytes, sequence: int = 1, uuid: str = VM) -> Header:
        header = Header(EventId(event_id), word, VmUuid(uuid), QUEUE, sequence)
        assert self.mailbox.put(Posting(header, body)).accepted
        return header

    def take(self, header: Header) -> Verdict:
        return self.turns.take(header.vm_uuid, header.event_id)

    def claim(self, header: Header) -> Claim:
        claim = self.mailbox.claim(header.vm_uuid, header.event_id)
        assert isinstance(claim, Claim)
        return claim

    def die_over(self, header: Header, times: int = 1) -> None:
        """Let workers claim an event and never be heard of again."""
        for _ in range(times):
            self.claim(header)
            self.fleet.clock.time += 31

    def raising(self, error: Callable[[], BaseException]) -> None:
        """From now on the use case fails like this."""
        self.turns = self.worker(_Failing(self.fleet, error))

    def mended(self) -> None:
        self.turns = self.worker(self.fleet.reconciler)


class _Failing(Reconciler):
    def __init__(self, fleet: Fleet, error: Callable[[], BaseException]) -> None:
        super().__init__({}, fleet.sealer, fleet.clock, fleet.observer, label="config")
        self._error = error

    @override
    def handle(self, turn: Attempt) -> Settled:
        raise self._error()
