"""The inspection of the mailboxes: what operators ask and do, counts and scans that no event ever waits for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from configdrive.client.encoding import ms
from configdrive.client.encoding import outcome as read_outcome
from configdrive.errors import PermanentError
from configdrive.lifecycle.state import VmRecord, peek
from configdrive.model import EventKey, VmUuid
from configdrive.printable import printable
from tasks.mailbox import DeadLetter, OperatorAction, SweepCounts, VmView
from workers.store import encoding
from workers.store.mailbox import RedisMailbox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from configdrive.contract.outcome import Outcome


_MOST = 10_000
"""Pending VMs of one queue that are looked at for the oldest; more are counted, not looked at."""

_AT_ONCE = 500


_ACTIONS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """What an operator did: when (seconds since 1970 UTC), who, what, to which VM, and why."""

    at: float
    who: str
    action: str
    vm_uuid: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class VmLine:
    """One VM among many: what is known of it, and what waits.

    Args:
        record: without its state, or with one that another version has written, an empty one.
        name, hypervisor, host: as known, or as its next event says.
        waiting: how many events wait or are in work.
        parked: why the next one is parked.
    """

    uuid: VmUuid
    record: VmRecord
    name: str
    hypervisor: str
    host: str
    waiting: int
    parked: str | None

    @property
    def since(self) -> float | None:
        """When its present image was built (seconds since 1970 UTC)."""
        return None if self.record.image is None else self.record.image.built_at


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """One queue at a moment.

    `oldest` is how long ago the oldest of the VMs' next events was published, in seconds; `unverified` are VMs that a
    worker may have left half-done.
    """

    name: str
    messages: int
    pending: int
    oldest: float
    leftover_hosts: int
    leftover_vms: int
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class FleetNumbers:
    """The fleet at a moment. Ages are seconds; 0 when there is nothing."""

    queues: tuple[QueueNumbers, ...]
    parked: int
    oldest_parked: float
    dead_letters: int
    orphans: int
    intake: int = 0
    settled: int = 0
    swept: Mapping[str, SweepCounts] = field(default_factory=dict)


class Inspection(RedisMailbox):
    """The mailboxes, with what operators ask beside."""

    def view(self, vm_uuid: VmUuid) -> VmView | None:
        """Show one VM; `None` when nothing is known of it."""
        known: Any = self._redis.hgetall(self._key("vm", vm_uuid))
        mail: Any = self._redis.lrange(self._key("mail", vm_uuid), 0, -1)
        if not known and not mail:
            return None
        state = encoding.state_of(known.pop(b"state", None))
        fields = {encoding.text_of(key): encoding.text_of(value) for key, value in known.items()}
        queue = fields.get("queue", "")
        due: Any = self._redis.zscore(self._key("due", queue), vm_uuid)
        message: Any = self._redis.zscore(self._key("wakeups", queue), vm_uuid)
        intents: Any = self._redis.smembers(self._key("intents", vm_uuid))
        unverified = self._redis.zscore(self._key("verify", queue), vm_uuid) is not None
        return VmView(
            uuid=vm_uuid,
            mail=tuple(encoding.readable(mail)),
            state=state,
            parked=fields.get("parked"),
            attempts=encoding.number_of(known.get(b"attempts")) or 0,
            owner=fields.get("owner"),
            leased_until=encoding.seconds(encoding.number_of(known.get(b"until"))),
            due=encoding.seconds(due),
            message=None if message is None else int(message),
            reason=fields.get("reason"),
            intents=encoding.intents(intents),
            unverified=unverified,
            away=fields.get("away"),
        )

    def parked(self, limit: int) -> list[tuple[VmUuid, float]]:
        """Return the parked VMs with the time of their parking, oldest first."""
        found: Any = self._redis.zrange(self._key("parked"), 0, limit - 1, withscores=True)
        return [(VmUuid(encoding.text_of(uuid)), score / 1000) for uuid, score in found]

    def pending(self) -> dict[str, int]:
        """Return for each queue how many VMs have events waiting or in work."""
        queues: Any = self._redis.smembers(self._key("queues"))
        names = sorted(map(encoding.text_of, queues))
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.zcard(self._key("due", name))
            pipeline.zcard(self._key("wakeups", name))
        counts: list[int] = pipeline.execute()
        return {name: due + woken for name, due, woken in zip(names, counts[::2], counts[1::2], strict=True)}

    def numbers(self, served: Collection[str]) -> FleetNumbers:
        """Count all queues that there are or that are `served`.

        Raises:
            redis.RedisError: it does not answer in time.
        """
        known: Any = self._redis.smembers(self._key("queues"))
        names = sorted({*map(encoding.text_of, known), *served})
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.zcard(self._key("parked"))
        pipeline.zrange(self._key("parked"), 0, 0, withscores=True)
        pipeline.llen(self._key("dead"))
        pipeline.zcard(self._key("orphans"))
        for key in ("intake", "intake:taken"):
            pipeline.llen(self._key(key))
        pipeline.get(self._key("intake:number"))
        pipeline.hgetall(self._key("swept"))
        for name in names:
            pipeline.llen(f"{self.prefix}{name}")  # Celery's list, behind the same prefix
            pipeline.zrange(self._key("due", name), 0, _MOST - 1)
            pipeline.zrange(self._key("wakeups", name), 0, _MOST - 1)
            pipeline.zcard(self._key("due", name))
            pipeline.zcard(self._key("wakeups", name))
            pipeline.zrange(self._key("left", name), 0, -1)
            pipeline.zcard(self._key("verify", name))
        moment, parked, first_parked, dead, orphans, there, taken, settled, swept, *rest = pipeline.execute()
        now = moment[0] + moment[1] / 1e6
        queues = [
            self._queue(name, rest[start : start + 7], now)
            for name, start in zip(names, range(0, len(rest), 7), strict=True)
        ]
        oldest_parked = max(0.0, now - first_parked[0][1] / 1000) if first_parked else 0.0
        sweeps = {name.decode("utf-8", "replace"): encoding.sweep_counts(stored) for name, stored in swept.items()}
        return FleetNumbers(
            queues=tuple(queues),
            parked=parked,
            oldest_parked=oldest_parked,
            dead_letters=dead,
            orphans=orphans,
            intake=there + taken,
            settled=int(settled or 0),
            swept={name: counts for name, counts in sweeps.items() if counts is not None},
        )

    def _queue(self, name: str, answers: Sequence[Any], now: float) -> QueueNumbers:
        messages, due, woken, in_work, waiting, left, unverified = answers
        hosts = {member.partition(b" ")[2] for member in left}
        posted = [at for head in self._heads([*due, *woken]) if (at := encoding.posted_at(head)) is not None]
        oldest = max(0.0, now - min(posted, default=now))
        return QueueNumbers(name, messages, in_work + waiting, oldest, len(hosts), len(left), unverified)

    def _heads(self, vms: Sequence[bytes]) -> Iterator[bytes | None]:
        """Yield what lies at the head of each VM's mailbox."""
        for start in range(0, len(vms), _AT_ONCE):
            batch = vms[start : start + _AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for vm in batch:
                pipeline.lindex(self._key("mail", vm.decode("utf-8", "replace")), 0)
            yield from pipeline.execute()

    def vms(self) -> Iterable[VmUuid]:
        """Iterate over all VMs that something is remembered of."""
        start = len(self._key("vm", ""))
        for key in self._redis.scan_iter(match=self._key("vm", "*"), count=1000):
            yield VmUuid(encoding.text_of(key[start:]))

    def vm_of(self, key: EventKey) -> VmUuid | None:
        """Return whose event this is; `None` when it is not known (any more)."""
        seen: Any = self._redis.get(self._key("seen", key))
        match encoding.text_of(seen or b"").split(" ", 2):
            case [_, "=", text]:
                found = read_outcome(text.encode())
                return None if found is None else VmUuid(found.vm_uuid)
            case [_, content, _] if content.count(":") == 2:  # noqa: PLR2004 - type:vm:sequence
                return VmUuid(content.split(":")[1])
            case _:
                return None

    def lines(self) -> Iterator[VmLine]:
        """Iterate over all VMs, some hundred in a round trip."""
        left = iter(self.vms())
        while batch := list(islice(left, _AT_ONCE)):
            pipeline = self._redis.pipeline(transaction=False)
            for uuid in batch:
                pipeline.hmget(self._key("vm", uuid), "state", "parked")
                pipeline.llen(self._key("mail", uuid))
            answers = pipeline.execute()
            for uuid, (state, parked), waiting in zip(batch, answers[::2], answers[1::2], strict=True):
                yield self._line(uuid, state, parked, waiting)

    def _line(self, uuid: VmUuid, stored: bytes | None, parked: bytes | None, waiting: int) -> VmLine:
        state = encoding.state_of(stored)
        try:
            record = VmRecord() if state is None else peek(state)
        except PermanentError:  # written by another version
            record = VmRecord()
        vm = record.vm
        if vm is not None:
            name, hypervisor, host = str(vm.instance_name), str(vm.hypervisor), str(vm.host)
        else:
            name, hypervisor, host = self._named(uuid) if waiting else ("", "", "")
        code = None if parked is None else encoding.text_of(parked)
        return VmLine(uuid, record, printable(name), printable(hypervisor), printable(host), waiting, code)

    def _named(self, uuid: VmUuid) -> tuple[str, str, str]:
        """Return name, hypervisor and host of a VM as its next event says: it is its first."""
        mail: Any = self._redis.lindex(self._key("mail", uuid), 0)
        head = next(iter(encoding.readable([mail] if mail else [])), None)
        body: Any = None if head is None else self._redis.hget(self._key("body", uuid), head.key)
        try:
            data = json.loads(body or b"{}")["data"]
            return str(data["vm"]["instance_name"]), str(data["hypervisor"]), str(data.get("host") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            return "", "", ""

    def overdue(self, queue: str, *, limit: int = 1000) -> list[tuple[VmUuid, float | None]]:
        """Return the VMs of a queue whose time has come, with that time (seconds since 1970 UTC), oldest first.

        And those whose message was lost, without any time: Celery's list has passed it, and no worker came with it.
        """
        pipeline = self._redis.pipeline()
        pipeline.zrange(
            self._key("due", queue), "-inf", ms(self._now()), byscore=True, offset=0, num=limit, withscores=True
        )
        pipeline.hmget(self._key("queue", queue), "sent", "taken")
        pipeline.llen(f"{self.prefix}{queue}")
        pipeline.zrange(self._key("wakeups", queue), 0, limit - 1, withscores=True)
        due, (sent, taken), messages, woken = pipeline.execute()
        passed = int((taken if messages else sent) or 0)
        lost = [(VmUuid(encoding.text_of(uuid)), None) for uuid, number in woken if number <= passed]
        return [*((VmUuid(encoding.text_of(uuid)), score / 1000) for uuid, score in due), *lost]

    def act(self, vm_uuid: VmUuid, key: EventKey, action: OperatorAction, outcome: Outcome | None) -> str | None:
        """Retry or skip the next event, if it is this one; answers why not, or `None` when it is done."""
        options = self._options
        answer = self._scripts["unpark"](
            keys=[
                *self._vm_keys(vm_uuid),
                self._key("seen", key),
                self._key("outcomes"),
                self._key("parked"),
            ],
            args=[
                *(options.prefix, vm_uuid, action.value, key, outcome.to_json() if outcome else ""),
                *(int(options.seen), options.outcomes_kept, int(options.tombstone)),
            ],
        )
        return None if answer == b"done" else str(answer.decode())

    def note(self, entry: OperatorEntry) -> None:
        """Record an operator's action."""
        text = json.dumps(asdict(entry), separators=(",", ":"))
        self._redis.xadd(self._key("operators"), {"entry": text}, maxlen=_ACTIONS_KEPT, approximate=True)

    def actions(self, vm_uuid: VmUuid, limit: int) -> list[OperatorEntry]:
        """Return what operators did to one VM, newest first, among all that is kept."""
        found: Any = self._redis.xrevrange(self._key("operators"), count=_ACTIONS_KEPT)
        entries = (_entry(fields.get(b"entry", b"")) for _position, fields in found)
        return list(islice((one for one in entries if one is not None and one.vm_uuid in {None, vm_uuid}), limit))

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        found: Any = self._redis.lrange(self._key("dead"), 0, limit - 1)
        return [encoding.dead_letter(letter) for letter in found]

    def sealed(self) -> Iterator[tuple[VmUuid, str]]:
        """Iterate over all sealed data at rest: in what is remembered of VMs, and in the events that wait."""
        for uuid in self.vms():
            kept: Any = self._redis.hget(self._key("vm", uuid), "state")
            bodies: Any = self._redis.hvals(self._key("body", uuid))
            state = encoding.state_of(kept)
            for sealed in (*(() if state is None else _sealed_in_state(state)), *map(_sealed_in_event, bodies)):
                if sealed is not None:
                    yield uuid, sealed


_ENTRY: TypeAdapter[OperatorEntry] = TypeAdapter(OperatorEntry)


def _entry(text: bytes) -> OperatorEntry | None:
    """Read what an operator did; `None` of what is no such entry."""
    try:
        entry = _ENTRY.validate_json(text)
    except ValueError:  # pydantic's errors are such
        return None
    return replace(entry, who=printable(entry.who), action=printable(entry.action), reason=printable(entry.reason))


def _sealed_in_state(text: str) -> tuple[str, ...]:
    try:
        sealed = peek(text).sealed
    except PermanentError:  # written by a newer version: whose key it needs cannot be known
        return ()
    return tuple(one for one in (sealed.data, sealed.pending, sealed.carried) if one is not None)


def _sealed_in_event(body: bytes) -> str | None:
    try:
        sealed = json.loads(body)["data"].get("sealed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # no event: it becomes a dead letter once it comes to the head
    return sealed if isinstance(sealed, str) else None
