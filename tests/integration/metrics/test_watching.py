"""Who watches is told of each attempt once, however it ends, on a real Redis."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
import redis
from typing_extensions import override

from configdrive.contract.outcome import Status
from configdrive.errors import StaleCode, StaleError, TransientCode, TransientError
from configdrive.lifecycle.reconcile import Attempt, Reconciler
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventId, HostName
from configdrive.ports import StepRecord
from rigs.redis import RedisServer
from tasks.lease import LeaseKeeper
from tasks.mailbox import Again, Claim, Debt, Ending, Finish, Header, Held, ParkIt, Posting
from tasks.policy import Limits
from tests.integration.queue.box import QUEUE, Box, new_vm, outcome
from tests.support import require_rig
from tests.unit.documents import document
from workers.observability.logs import SystemClock
from workers.observability.observers import WatchedMailbox, WatchedTurns, Watcher, claim_in_work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Recorder(Watcher):
    """Writes down what it is told."""

    begun: list[Claim] = field(default_factory=list)
    ends: list[tuple[Claim, Ending | None]] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)

    @override
    def began(self, claim: Claim) -> None:
        self.begun.append(claim)

    @override
    def step(self, record: StepRecord) -> None:
        raise AssertionError

    @override
    def ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        assert claim_in_work() == claim
        assert 0 <= seconds < 10
        self.ends.append((claim, ending))

    @override
    def collected(self, queue: str) -> None:
        self.queues.append(queue)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server, server.client() as client:
        yield client


class Place:
    """One worker's turns; `work` is what it does with an event."""

    def __init__(self, client: redis.Redis, *, lease: float = 30.0) -> None:
        self.box = Box(client, lease=lease)
        self.recorder = Recorder()
        self.work: Callable[[Attempt], Settled] = self.applied
        self.mailbox = WatchedMailbox(client, self.box.mailbox._options, self.recorder)
        self.turns = WatchedTurns(
            mailbox=self.mailbox,
            reconciler=cast("Reconciler", self),
            clock=SystemClock(),
            limits=Limits(attempts=2, unclassified_attempts=2, backoff=0.01, backoff_most=0.01),
            leases=LeaseKeeper(self.mailbox, seconds=lease, longest=60.0),
            timeouts=(),
            wake=lambda _wake: None,
        )

    def handle(self, turn: Attempt) -> Settled:
        return self.work(turn)

    def applied(self, turn: Attempt) -> Settled:
        assert claim_in_work() is not None
        header = self.recorder.begun[-1].header
        return Settled(outcome(header, attempts=turn.attempt), '{"sequence":1}')

    def publish(self) -> Header:
        """Publish a VM's first event."""
        vm = new_vm()
        body = document("start", vm={"uuid": vm, "instance_name": "i-2-14-VM"})
        header = Header(EventId(body["id"]), "start", vm, QUEUE, 1)
        assert self.mailbox.put(Posting(header, json.dumps(body).encode())).accepted
        return header

    def take(self) -> Claim:
        """Publish an event and take its turn; returns what was claimed."""
        header = self.publish()
        self.turns.take(header.vm_uuid, header.event_id)
        (claim,) = self.recorder.begun
        assert claim.header == header
        return claim

    @property
    def end(self) -> Ending | None:
        """The only end that was told."""
        ((claim, ending),) = self.recorder.ends
        assert [claim] == self.recorder.begun
        assert claim_in_work() is None
        return ending


@pytest.fixture
def place(client: redis.Redis) -> Place:
    return Place(client)


def failing(error: Exception) -> Callable[[Attempt], Settled]:
    def work(_turn: Attempt) -> Settled:
        raise error

    return work


def test_an_event_that_is_applied(place: Place) -> None:
    place.take()
    assert isinstance(place.end, Finish)
    assert place.end.outcome.status is Status.APPLIED


def test_an_attempt_after_which_the_event_is_tried_again(place: Place) -> None:
    place.work = failing(TransientError(TransientCode.VM_BUSY, "locked"))
    place.take()
    assert isinstance(place.end, Again)
    assert place.end.code == "vm_busy"


def test_an_event_that_is_parked(place: Place) -> None:
    place.work = failing(TransientError(TransientCode.VM_BUSY, "locked"))
    claim = place.take()
    time.sleep(0.05)
    place.turns.take(claim.vm_uuid, claim.header.event_id)
    assert [type(ending) for _, ending in place.recorder.ends] == [Again, ParkIt]


def test_an_attempt_that_was_given_up_as_another_has_the_vm(place: Place) -> None:
    place.work = failing(StaleError(StaleCode.LEASE_LOST, "taken over"))
    place.take()
    assert place.end is None


def test_an_attempt_whose_end_is_fenced_off(client: redis.Redis) -> None:
    place = Place(client, lease=0.05)

    def overtaken(turn: Attempt) -> Settled:
        place.box.client.hincrby(f"{place.box.prefix}vm:{turn.event.data.vm.uuid}", "epoch", 1)
        return place.applied(turn)

    place.work = overtaken
    place.take()
    assert place.end is None


def test_an_attempt_whose_end_redis_did_not_take(place: Place) -> None:
    def cut_off(turn: Attempt) -> Settled:
        place.box.client.set(f"{place.box.prefix}outcomes", "no stream")
        return place.applied(turn)

    place.work = cut_off
    with pytest.raises(redis.ResponseError):
        place.take()
    assert place.end is None


def test_a_wake_up_for_nothing_is_no_attempt(place: Place) -> None:
    claim = place.take()
    place.turns.take(claim.vm_uuid, claim.header.event_id)
    assert len(place.recorder.begun) == len(place.recorder.ends) == 1


def test_what_a_host_gave_up_late(place: Place) -> None:
    vm = place.take().vm_uuid
    held = place.mailbox.hold(vm)
    assert isinstance(held, Held)
    place.mailbox.release(held)
    assert place.recorder.queues == []
    held = place.mailbox.hold(vm)
    assert isinstance(held, Held)
    place.mailbox.release(held, paid=Debt(QUEUE, HostName("h1")))
    assert place.recorder.queues == [QUEUE]
