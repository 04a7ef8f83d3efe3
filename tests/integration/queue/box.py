"""One mailbox store under a prefix of its own on the shared Redis, and what its tests do to it past the door."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import EventId, VmUuid
from tasks.mailbox import Again, Claim, Finish, Header, NotNow, ParkIt, Posting, Receipt, Wake
from workers.store.encoding import state_of
from workers.store.inspection import Census
from workers.store.mailbox import StoreOptions

if TYPE_CHECKING:
    import redis

QUEUE = "configdrive.simulated"
LEASE = 30.0
RESEND = 15.0

_sequence = itertools.count(1)


def new_vm() -> VmUuid:
    return VmUuid(str(uuid.uuid4()))


def posting(vm: VmUuid, kind: str = "start", *, queue: str = QUEUE, event_id: str | None = None) -> Posting:
    identity = EventId(event_id or uuid.uuid4().hex)
    return Posting(Header(identity, kind, vm, queue, next(_sequence)), f"body of {identity}".encode())


def outcome(
    header: Header, status: Status = Status.APPLIED, code: str | None = None, *, attempts: int = 1, at: float = 1.0
) -> Outcome:
    return Outcome(
        header.event_id, header.event_type, header.vm_uuid, header.sequence, status, at, code, attempts=attempts
    )


def finish(claim: Claim, state: str | None = '{"sequence":1}', *, gone: bool = False) -> Finish:
    return Finish(outcome(claim.header, attempts=claim.attempt), state, gone)


def park(claim: Claim, code: str = "unclassified") -> ParkIt:
    return ParkIt(outcome(claim.header, Status.PARKED, code, attempts=claim.attempt))


def again(delay: float) -> Again:
    return Again(delay, "host_unreachable")


@dataclass
class Box:
    """A store, with a view past its door. Times are seconds."""

    client: redis.Redis
    lease: float = LEASE
    resend: float = RESEND
    seen: float = 3600
    tombstone: float = 7200
    outcomes_kept: int = 1000
    prefix: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}:")

    def __post_init__(self) -> None:
        self.mailbox = self.through(self.client)

    @property
    def options(self) -> StoreOptions:
        """The store's."""
        return StoreOptions(
            prefix=self.prefix,
            lease=self.lease,
            resend=self.resend,
            seen=self.seen,
            tombstone=self.tombstone,
            outcomes_kept=self.outcomes_kept,
        )

    def through(self, client: redis.Redis) -> Census:
        """Return another door to the same store."""
        return Census(client, self.options)

    def put(self, vm: VmUuid, kind: str = "start", *, queue: str = QUEUE) -> Header:
        """Post an event that is accepted; returns its header."""
        item = posting(vm, kind, queue=queue)
        assert self.mailbox.put(item).accepted
        return item.header

    def claim(self, header: Header) -> Claim:
        """Claim what must be there to be claimed."""
        claim = self.mailbox.claim(header.vm_uuid, header.event_id)
        assert isinstance(claim, Claim), claim
        return claim

    def refused(self, header: Header) -> NotNow:
        """Claim what must not be given; says why it was not."""
        answer = self.mailbox.claim(header.vm_uuid, header.event_id)
        assert isinstance(answer, NotNow), answer
        return answer

    def parked(self, vm: VmUuid, kind: str = "start") -> Header:
        """Post an event and park it."""
        header = self.put(vm, kind)
        claim = self.claim(header)
        self.mailbox.done(claim, park(claim))
        return header

    def age(self, vm: VmUuid, seconds: float) -> None:
        """Let time pass for one VM: its lease, its back-off and its due time move into the past by so much."""
        key = self.key("vm", vm)
        for name in ("until", "retry_at"):
            if self.client.hexists(key, name):
                self.client.hincrby(key, name, -round(seconds * 1000))
        for queue in self.mailbox.pending():
            if self.client.zscore(self.key("due", queue), vm) is not None:
                self.client.zincrby(self.key("due", queue), -seconds * 1000, vm)

    def due(self, vm: VmUuid, queue: str = QUEUE) -> float | None:
        """Return in how many seconds the sweeper comes for the VM; `None` when it does not."""
        due: Any = self.client.zscore(self.key("due", queue), vm)
        return None if due is None else due / 1000 - self.now()

    def now(self) -> float:
        """Return the server's time."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    def field(self, vm: VmUuid, name: str) -> str | None:
        """Return one field of the VM's hash."""
        value: Any = self.client.hget(self.key("vm", vm), name)
        if name == "state":
            return state_of(value)
        return None if value is None else value.decode()

    def mail(self, vm: VmUuid) -> list[EventId]:
        """Return the ids in the VM's mailbox, oldest first."""
        view = self.mailbox.view(vm)
        return [] if view is None else [header.event_id for header in view.mail]

    def bodies(self, vm: VmUuid) -> set[str]:
        """Return the ids of the events whose bodies are kept."""
        names: Any = self.client.hkeys(self.key("body", vm))
        return {name.decode() for name in names}

    def outcomes(self) -> list[Outcome]:
        """Return the whole outcome stream."""
        entries: Any = self.client.xrange(self.key("outcomes"))
        return [Outcome.from_json(fields[b"outcome"]) for _, fields in entries]

    def ttl(self, kind: str, name: str) -> int:
        """Return how many seconds a key still lives; -1 for ever."""
        left: Any = self.client.ttl(self.key(kind, name))
        return int(left)

    def all_keys(self) -> set[str]:
        """Return all keys of this store, without the prefix."""
        return {key.decode().removeprefix(self.prefix) for key in self.client.scan_iter(match=f"{self.prefix}*")}

    def key(self, kind: str, name: str | None = None) -> str:
        """Return a key's full name."""
        return self.prefix + (kind if name is None else f"{kind}:{name}")


def wake_of(receipt: Receipt) -> Wake:
    assert receipt.wake is not None
    return receipt.wake
