"""The mailboxes on Redis, as workers use them: keys, and the arguments of the Lua scripts (`lua/`, one file a script).

Every change is one script, so it happens whole or not at all; each answers the same when asked twice, because a client
that lost the reply asks again. Keys, behind the prefix:

| key                 | type       | what                                                                            |
|---------------------|------------|---------------------------------------------------------------------------------|
| `vm:<uuid>`         | hash       | state (JSON), epoch and owner (fencing token), bytes (that wait), parked, ...    |
| `mail:<uuid>`       | list       | headers of the VM's events, oldest first                                        |
| `body:<uuid>`       | hash       | event key -> the event's JSON, secrets sealed                                   |
| `due:<queue>`       | sorted set | VM -> time (ms) at which its lease or back-off ends: then it needs a wake-up     |
| `wakeups:<queue>`   | sorted set | VM -> number of the message that is on its way to a worker for it               |
| `questions:<queue>` | sorted set | host -> number of the message that asks it for what it still has                |
| `queue:<queue>`     | hash       | numbers of messages: sent, taken, and those that find lost ones (ADR 0022)|
| `queues`            | set        | every queue that ever had an event                                              |
| `seen:<key>`        | string     | `<nonce> <type>:<vm>:<sequence> `, then `<nonce> = <outcome>`: no duplicate  |
| `away:<queue>`      | sorted set | host or storage for which VMs are parked -> time (ms) to try one of them again   |
| `away_vms:<queue> <place>` | sorted set | VM that is parked for that place -> time (ms) since when                 |
| `left:<queue>`      | sorted set | VM and host that still has something of it -> time (ms) to ask that host again  |
| `verify:<queue>`    | sorted set | VM that may have been left half-done -> time (ms) to look after it              |
| `orphans`           | sorted set | image that is nobody's -> time (ms) at which a sweep first saw it               |
| `keys`              | string     | ids of the fleet's keys, the newest last (`workers.store.fleet_keys`)           |
| `swept`             | hash       | hypervisor -> the sweeps of its storages: when, and what they found (JSON)      |
| `drives:<hyp.>`     | string     | there while nobody has to look whether running VMs have lost their drives       |
| `parked`            | sorted set | VM -> time (ms) of its parking                                                  |
| `outcomes`          | stream     | every outcome                                                                   |
| `operators`         | stream     | what operators did, and why (`configdrive show VM`)                             |
| `dead`              | list       | dead letters, newest first                                                      |
| `replicated`        | string     | written before each `WAIT` (`configdrive.client.replication`)                   |

A VM with events stands in `due` while it is in work or in a back-off, in `wakeups` while a message is on its way for
it, or is parked.
"""

from __future__ import annotations

import json
import uuid as uuids
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from configdrive.client.encoding import ms
from configdrive.client.store import EventStore, StoreOptions
from configdrive.lifecycle.settled import Settled
from configdrive.model import HostName, HypervisorName, ImageName, Intent, VmUuid
from tasks.mailbox import (
    AttemptMailbox,
    Claim,
    DeadLetter,
    Doubt,
    FencedError,
    Held,
    LeftoverMailbox,
    NotNow,
    Park,
    Snapshot,
    SweepCounts,
    SweeperMailbox,
    WakeupMailbox,
)
from workers.store import encoding, scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import redis
    from redis.client import Pipeline

    from configdrive.lifecycle.settled import Verified
    from tasks.mailbox import Ending, Leftover, Right, Sent, Wakeup
    from workers.config.settings import Settings

SCRIPTS = ("claim", "renew", "done", "hold", "release", "wakeup", "leftovers", "arrived", "unpark", "trials")
VMS_AT_ONCE = 1000
LOOKS_UNTIL_LOST = 4
"""After so many looks, each of which notes how far the list has come, a message that it has passed counts as lost."""

DEAD_LETTERS_KEPT = 10_000

_LATER = 60.0
"""Seconds: nobody has swept so much later than now: the clock was set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxOptions(StoreOptions):
    """How long things are kept. Times are seconds; `outcomes_kept` is a number of stream entries."""

    lease: float
    longest_pause: float
    resend: float
    seen: float
    tombstone: float
    outcomes_kept: int

    @classmethod
    @override
    def of(cls, settings: Settings) -> MailboxOptions:  # type: ignore[override]  # workers have more settings
        return cls(
            prefix=settings.key_prefix,
            replicas=settings.replicas,
            replica_seconds=settings.replica_seconds,
            mailbox_bytes=settings.mailbox_bytes,
            lease=settings.lease_seconds,
            longest_pause=settings.backoff_most_seconds,
            resend=settings.resend_seconds,
            seen=settings.seen_seconds,
            tombstone=settings.tombstone_seconds,
            outcomes_kept=settings.outcomes_kept,
        )


class RedisMailbox(EventStore, AttemptMailbox, LeftoverMailbox, SweeperMailbox, WakeupMailbox):
    """All of a worker's ports on one Redis (or the master behind a Sentinel)."""

    def __init__(self, client: redis.Redis, options: MailboxOptions) -> None:
        super().__init__(client, options)
        self._options = options
        self._scripts = {name: scripts.register(client, name) for name in SCRIPTS}

    @override
    def claim(self, wakeup: Wakeup) -> Claim | NotNow:
        uuid = wakeup.vm_uuid
        owner = uuids.uuid4().hex
        args = [self.prefix, uuid, wakeup.queue, wakeup.number, owner, ms(self._options.lease)]
        answer = self._confirmed.one(self._scripts["claim"], (self._vm_keys(uuid), args))
        word = answer[0].decode()
        if word != "claimed":
            return NotNow(word)
        _, epoch, attempt, deaths, waited, tried, body, state, intents, hanging, trial, *rest = answer
        fields, behind = rest[: encoding.FIELDS], rest[encoding.FIELDS :]
        return Claim(
            encoding.header(uuid, fields),
            int(epoch),
            owner,
            int(attempt),
            int(deaths),
            body,
            encoding.state_of(state),
            tuple(encoding.readable(behind)),
            encoding.intents(intents),
            float(waited) / 1000,
            float(tried) / 1000,
            frozenset(place.decode() for place in hanging),
            trial.decode(),
        )

    @override
    def intents(self, vm_uuid: VmUuid) -> tuple[Intent, ...]:
        members = self._redis.smembers(self._key("intents", vm_uuid))
        return encoding.intents(member for member in members if isinstance(member, bytes))

    @override
    def renew(self, right: Right) -> bool:
        uuid = right.vm_uuid
        args: list[str | int] = [self.prefix, uuid, right.epoch, right.owner, ms(self._options.lease)]
        return bool(self._scripts["renew"](keys=[self._key("vm", uuid)], args=args))

    @override
    def intend(self, right: Right, intents: Collection[Intent]) -> bool:
        uuid = right.vm_uuid
        keys = [self._key("vm", uuid), self._key("intents", uuid)]
        args: list[str | int] = [self._options.prefix, uuid, right.epoch, right.owner, ms(self._options.lease)]
        call = (keys, [*args, *map(encoding.intent, intents)])
        return bool(self._confirmed.one(self._scripts["renew"], call))

    @override
    def done(self, claim: Claim, ending: Ending) -> None:
        uuid, options = claim.header.vm_uuid, self._options
        mode, outcome, state, delay, code = encoding.ending(ending)
        settled = ending if isinstance(ending, Settled) else None
        intents = [encoding.intent(one) for one in settled.intents] if settled else []
        answer = self._scripts["done"](
            keys=[
                *self._vm_keys(uuid),
                self._key("seen", claim.header.key),
                self._key("outcomes"),
                self._key("parked"),
            ],
            args=[
                *(options.prefix, uuid, claim.epoch, claim.owner, claim.header.key),
                *(mode, outcome, state, ms(delay)),
                *(int(options.seen), options.outcomes_kept, int(options.tombstone), ms(options.resend)),
                code,
                len(intents),
                *intents,
                *(encoding.left_by(settled.left, claim.header.queue) if settled else ()),
                *([ending.away] if isinstance(ending, Park) else ()),
            ],
        )
        if answer == b"fenced":
            raise FencedError

    @override
    def note_doubt(self, queue: str, vm_uuid: VmUuid, intents: Collection[Intent] = ()) -> None:
        now = ms(self._now())
        pipeline = self._redis.pipeline()  # one step: whoever looked before does not forget what is to be verified
        if intents:
            pipeline.sadd(self._key("intents", vm_uuid), *map(encoding.intent, intents))
            pipeline.hset(self._key("vm", vm_uuid), "late", 1)
        pipeline.zadd(self._key("verify", queue), {vm_uuid: now})
        pipeline.execute()

    @override
    def doubts(self, queue: str) -> list[Doubt]:
        members: Any = self._redis.zrange(self._key("verify", queue), 0, -1, withscores=True)
        return [Doubt(queue, VmUuid(uuid.decode()), mark) for uuid, mark in members]

    @override
    def hold(self, vm_uuid: VmUuid) -> Held | NotNow:
        owner = f"hold {uuids.uuid4().hex}"
        args = [owner, ms(self._options.lease), int(self._options.tombstone), self.prefix, vm_uuid]
        answer = self._confirmed.one(self._scripts["hold"], (self._vm_keys(vm_uuid)[:2], args))
        word = answer[0].decode()
        if word != "held":
            return NotNow(word)
        return Held(vm_uuid, int(answer[1]), owner, encoding.state_of(answer[2]))

    @override
    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, finished: Leftover | None = None
    ) -> None:
        self._release(held, state, "gone" if gone else "", finished, [""])

    @override
    def release_verified(self, held: Held, doubt: Doubt, found: Verified) -> None:
        intents, left = [encoding.intent(one) for one in found.intents], encoding.left_by(found.left, doubt.queue)
        end: list[str | int | bytes] = [
            doubt.queue,
            repr(doubt.mark),
            ms(self._options.resend),
            len(intents),
            *intents,
            *left,
        ]
        self._release(held, found.state, "gone" if found.gone else "", None, end)

    def _release(
        self, held: Held, state: str | None, gone: str, finished: Leftover | None, verified: Sequence[str | int | bytes]
    ) -> None:
        answer = self._scripts["release"](
            keys=[*self._vm_keys(held.vm_uuid)[:2], self._key("left", finished.queue if finished else "")],
            args=[
                *(self.prefix, held.vm_uuid, held.epoch, held.owner, state or "", gone),
                int(self._options.tombstone),
                f"{held.vm_uuid} {finished.host}" if finished else "",
                *verified,
            ],
        )
        if answer == b"fenced":
            raise FencedError

    @override
    def snapshot(self, vm_uuid: VmUuid) -> Snapshot:
        vm, mail, _ = self._vm_keys(vm_uuid)
        pipeline = self._redis.pipeline()
        pipeline.hmget(vm, "until", "lease", "state")
        pipeline.llen(mail)
        pipeline.time()
        (until, lease, state), waiting, (seconds, micros) = pipeline.execute()
        left = (encoding.number_of(until) or 0) - ms(seconds + micros / 1e6)
        leased = 0 < left <= (encoding.number_of(lease) or left)  # longer: the clock was set back
        return Snapshot(bool(waiting) or leased, encoding.state_of(state))

    @override
    def orphan_for(self, image: ImageName, *, note: bool) -> float | None:
        now = ms(self._now())
        if note:
            self._redis.zadd(self._key("orphans"), {str(image): now}, nx=True)
        since: Any = self._redis.zscore(self._key("orphans"), str(image))
        return None if since is None else encoding.seconds(now - since)

    @override
    def forget_orphan(self, image: ImageName) -> None:
        self._redis.zrem(self._key("orphans"), str(image))

    @override
    def sweep_is_due(self, hypervisor: HypervisorName, seconds: float) -> bool:
        def take(known: SweepCounts | None, now: float) -> tuple[bool, SweepCounts]:
            if known is None:
                return False, SweepCounts(at=now)
            due = not -_LATER <= now - known.at < seconds
            return due, replace(known, at=now) if due else known

        return self._swept(hypervisor, take)

    @override
    def drives_are_due(self, hypervisor: HypervisorName, seconds: float) -> bool:
        return bool(self._redis.set(self._key("drives", hypervisor), 1, nx=True, px=ms(seconds)))

    @override
    def note_sweep(self, hypervisor: HypervisorName, found: SweepCounts) -> None:
        def add(known: SweepCounts | None, now: float) -> tuple[bool, SweepCounts]:
            return True, replace((known or SweepCounts()).followed_by(found), at=now)

        self._swept(hypervisor, add)

    def _swept(
        self, hypervisor: HypervisorName, change: Callable[[SweepCounts | None, float], tuple[bool, SweepCounts]]
    ) -> bool:
        """Change what is noted of a hypervisor's sweeps, whole or not at all."""
        key, now = self._key("swept"), self._now()

        def commit(pipeline: Pipeline) -> bool:
            stored: Any = pipeline.hget(key, hypervisor)
            answer, counts = change(encoding.sweep_counts(stored), now)
            pipeline.multi()
            pipeline.hset(key, hypervisor, json.dumps(asdict(counts), separators=(",", ":")))
            return answer

        # Its types know no callable that answers.
        return bool(self._redis.transaction(commit, key, value_from_callable=True))  # type: ignore[arg-type]

    @override
    def leftovers(self, queue: str) -> dict[HostName, list[VmUuid]]:
        members: Any = self._redis.zrange(self._key("left", queue), 0, -1)
        found: dict[HostName, list[VmUuid]] = {}
        for member in members:
            uuid, _, host = member.decode().partition(" ")
            found.setdefault(HostName(host), []).append(VmUuid(uuid))
        return found

    @override
    def question_arrived(self, queue: str, host: HostName, number: int) -> None:
        self._scripts["arrived"](keys=[self._key("questions", queue)], args=[self.prefix, queue, host, number])

    @override
    def wake_due(self, queue: str, limit: int, *, at_once: bool = False) -> list[Sent]:
        args: list[str | int] = [self.prefix, queue, limit, 0 if at_once else ms(self._options.resend)]
        args.append(ms(max(self._options.lease, self._options.longest_pause)))
        looks = LOOKS_UNTIL_LOST if at_once else 1
        answers = [self._scripts["wakeup"](keys=[self._key("due", queue)], args=args) for _ in range(looks)]
        return encoding.sent([part for answer in answers for part in answer])

    @override
    def try_parked(self, queue: str, pause: float) -> list[Sent]:
        args: list[str | int] = [self.prefix, queue, ms(pause), VMS_AT_ONCE]
        return encoding.sent(self._scripts["trials"](keys=[self._key("away", queue)], args=args))

    @override
    def ask_hosts(self, queue: str, pause: float) -> list[HostName]:
        args: list[str | int] = [self.prefix, queue, ms(pause), VMS_AT_ONCE]
        keys = [self._key("left", queue), self._key("verify", queue)]
        answer = self._scripts["leftovers"](keys=keys, args=args)
        return [HostName(host.decode()) for host in answer]

    @override
    def dead_letter(self, letter: DeadLetter) -> None:
        pipeline = self._redis.pipeline()
        pipeline.lpush(self._key("dead"), json.dumps(asdict(letter), separators=(",", ":")))
        pipeline.ltrim(self._key("dead"), 0, DEAD_LETTERS_KEPT - 1)
        pipeline.execute()

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)
