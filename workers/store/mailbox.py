"""The mailboxes on Redis: keys, encodings and the Lua scripts' arguments (`workers/store/lua`, one file a script).

Every change is one script, so it happens whole or not at all; each answers the same when asked twice, because a client
that lost the reply asks again. Keys, behind the prefix:

| key             | type       | what                                                                                |
|-----------------|------------|-------------------------------------------------------------------------------------|
| `vm:<uuid>`     | hash       | state (packed), epoch (fencing token), owner, until, attempts, parked, queue, ...    |
| `mail:<uuid>`   | list       | headers of the VM's events, oldest first                                            |
| `body:<uuid>`   | hash       | event id -> the event's JSON, secrets sealed                                        |
| `due:<queue>`   | sorted set | VM -> time (ms) by which a wake-up must exist: recovery, lease expiry and back-off   |
| `queues`        | set        | every queue that ever had an event                                                  |
| `seen:<id>`     | string     | `<nonce> <outcome so far, packed>`: refuses a duplicate id with the first's outcome  |
| `left:<queue>`  | sorted set | VM and host that still has something of it -> time (ms) to ask that host again      |
| `asked:<queue>` | string     | (and host) there for a while after a host was asked: a heap of messages asks it once |
| `strays`        | sorted set | image that is nobody's -> time (ms) at which a sweep first saw it                   |
| `parked`        | sorted set | VM -> time (ms) of its parking                                                      |
| `outcomes`      | stream     | every outcome                                                                       |
| `dead`          | list       | dead letters, newest first                                                          |
| `replicated`    | string     | written before each `WAIT` (`replication`)                                  |
"""

from __future__ import annotations

import json
import secrets
import uuid as uuids
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from configdrive.contract.outcome import Outcome
from configdrive.lifecycle.packing import pack
from configdrive.model import EventId, HostName, ImageName, VmUuid
from tasks.mailbox import Claim, DeadLetter, FencedError, Finish, Glance, Held, Mailbox, NotNow, Wake
from workers.store import encoding as forms
from workers.store import scripts
from workers.store.replication import Confirmed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from tasks.mailbox import Debt, Ending, PersonsWord, Posting, Receipt, Right
    from workers.store.replication import Call

SCRIPTS = ("put", "claim", "renew", "done", "hold", "release", "sweep", "owing", "unpark")
HOSTS_AT_ONCE = 1000
DEAD_LETTERS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How long things are kept, and by how many. Times are seconds; `outcomes_kept` is a number of stream entries."""

    prefix: str
    lease: float
    resend: float
    seen: float
    tombstone: float
    outcomes_kept: int
    replicas: int = 0
    replica_seconds: float = 30.0


class RedisMailbox(Mailbox):
    """`Mailbox` on one Redis (or the master behind a Sentinel)."""

    def __init__(self, client: redis.Redis, options: StoreOptions) -> None:
        self._redis = client
        self._options = options
        self._scripts = {name: scripts.register(client, name) for name in SCRIPTS}
        self._confirmed = Confirmed(
            client, replicas=options.replicas, seconds=options.replica_seconds, mark=self._key("replicated")
        )

    @property
    def client(self) -> redis.Redis:
        """The connections, for what else a process keeps on this Redis."""
        return self._redis

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._redis.close()

    @override
    def put(self, posting: Posting) -> Receipt:
        return forms.receipt(posting, self._confirmed.one(self._scripts["put"], self._posted(posting)))

    @override
    def put_many(self, postings: Sequence[Posting]) -> list[Receipt]:
        answers = self._confirmed.many(self._scripts["put"], [self._posted(posting) for posting in postings])
        return [forms.receipt(posting, answer) for posting, answer in zip(postings, answers, strict=True)]

    def _posted(self, posting: Posting) -> Call:
        header = posting.header
        keys = [
            *self._vm_keys(header.vm_uuid),
            self._key("seen", header.event_id),
            *map(self._key, ("queues", "parked")),
        ]
        return keys, [
            self._options.prefix,
            header.vm_uuid,
            header.event_id,
            forms.encode(header),
            posting.body,
            header.event_type,
            header.queue,
            secrets.token_urlsafe(9),
            forms.ms(self._options.resend),
        ]

    @override
    def claim(self, vm_uuid: VmUuid, event_id: EventId) -> Claim | NotNow:
        args = [self._options.prefix, vm_uuid, event_id, uuids.uuid4().hex, forms.ms(self._options.lease)]
        answer = self._confirmed.one(self._scripts["claim"], (self._vm_keys(vm_uuid), args))
        word = answer[0].decode()
        if word != "claimed":
            return NotNow(word)
        _, epoch, attempt, deaths, body, state, head, *behind = answer
        try:
            header = forms.decode(head)
        except ValueError:
            return NotNow.NOT_HEAD  # a stranger's work: buried by the sweep, once this lease is over
        waiting = tuple(forms.readable(behind))
        return Claim(header, int(epoch), int(attempt), int(deaths), body, forms.state_of(state), waiting)

    @override
    def renew(self, right: Right) -> bool:
        uuid = right.vm_uuid
        args: list[str | int] = [self._options.prefix, uuid, right.epoch, forms.ms(self._options.lease)]
        return bool(self._scripts["renew"](keys=[self._key("vm", uuid)], args=args))

    @override
    def done(self, claim: Claim, ending: Ending) -> Wake | None:
        uuid, options = claim.header.vm_uuid, self._options
        mode, outcome, state, delay, code = forms.ending(ending)
        answer = self._scripts["done"](
            keys=[
                *self._vm_keys(uuid),
                self._key("seen", claim.header.event_id),
                self._key("outcomes"),
                self._key("parked"),
            ],
            args=[
                *(options.prefix, uuid, claim.epoch, claim.header.event_id),
                *(mode, outcome, state, forms.ms(delay)),
                *(int(options.seen), options.outcomes_kept, int(options.tombstone), forms.ms(options.resend)),
                code,
                pack(outcome.encode()) if outcome else b"",
                *(ending.left_on if isinstance(ending, Finish) else ()),
            ],
        )
        if answer[0] == b"fenced":
            raise FencedError
        return forms.wake(answer)

    @override
    def hold(self, vm_uuid: VmUuid) -> Held | NotNow:
        args = [f"hold {uuids.uuid4().hex}", forms.ms(self._options.lease), int(self._options.tombstone)]
        answer = self._confirmed.one(self._scripts["hold"], (self._vm_keys(vm_uuid)[:2], args))
        word = answer[0].decode()
        if word != "held":
            return NotNow(word)
        return Held(vm_uuid, int(answer[1]), forms.state_of(answer[2]))

    @override
    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, paid: Debt | None = None
    ) -> Wake | None:
        options = self._options
        answer = self._scripts["release"](
            keys=[*self._vm_keys(held.vm_uuid)[:2], self._key("left", paid.queue if paid else "")],
            args=[
                *(options.prefix, held.vm_uuid, held.epoch, forms.state(state), "gone" if gone else ""),
                *(int(options.tombstone), forms.ms(options.resend)),
                f"{held.vm_uuid} {paid.host}" if paid else "",
            ],
        )
        if answer[0] == b"fenced":
            raise FencedError
        return forms.wake(answer)

    @override
    def glance(self, vm_uuid: VmUuid) -> Glance:
        vm, mail, _ = self._vm_keys(vm_uuid)
        pipeline = self._redis.pipeline()
        pipeline.hmget(vm, "until", "state")
        pipeline.llen(mail)
        pipeline.time()
        (until, state), waiting, now = pipeline.execute()
        leased = until is not None and int(until) > forms.ms(now[0] + now[1] / 1e6)
        return Glance(bool(waiting) or leased, forms.state_of(state))

    @override
    def stray_for(self, image: ImageName, *, note: bool) -> float | None:
        now = forms.ms(self._now())
        if note:
            self._redis.zadd(self._key("strays"), {str(image): now}, nx=True)
        since: Any = self._redis.zscore(self._key("strays"), str(image))
        return None if since is None else forms.seconds(now - since)

    @override
    def forget_stray(self, image: ImageName) -> None:
        self._redis.zrem(self._key("strays"), str(image))

    @override
    def hosts_owing(self, queue: str, pause: float) -> list[HostName]:
        answer = self._scripts["owing"](keys=[self._key("left", queue)], args=[forms.ms(pause), HOSTS_AT_ONCE])
        return [HostName(host.decode()) for host in answer]

    @override
    def owed(self, queue: str) -> dict[HostName, list[VmUuid]]:
        members: Any = self._redis.zrange(self._key("left", queue), 0, -1)
        found: dict[HostName, list[VmUuid]] = {}
        for member in members:
            uuid, _, host = member.decode().partition(" ")
            found.setdefault(HostName(host), []).append(VmUuid(uuid))
        return found

    @override
    def may_ask(self, queue: str, host: HostName, seconds: float) -> bool:
        return bool(self._redis.set(self._key("asked", f"{queue} {host}"), 1, nx=True, px=max(1, forms.ms(seconds))))

    @override
    def sweep(self, queue: str, limit: int) -> list[Wake]:
        answer = self._scripts["sweep"](
            keys=[self._key("due", queue), self._key("dead")],
            args=[self._options.prefix, limit, forms.ms(self._options.resend), DEAD_LETTERS_KEPT],
        )
        wakes, strange = forms.swept(answer)
        for uuid, header in strange:  # out with it; what is behind it is due at once
            self._redis.lrem(self._key("mail", uuid), 1, header)  # type: ignore[arg-type]  # bytes are taken too
            self._redis.zadd(self._key("due", queue), {uuid: 0}, xx=True)
            self.bury(DeadLetter(self._now(), "mailbox", "not a header", vm_uuid=uuid))
        return wakes

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    @override
    def word(self, vm_uuid: VmUuid, event_id: EventId, word: PersonsWord, outcome: Outcome | None) -> Wake | str | None:
        options, told = self._options, outcome.to_json() if outcome else ""
        answer = self._scripts["unpark"](
            keys=[
                *self._vm_keys(vm_uuid),
                self._key("seen", event_id),
                self._key("outcomes"),
                self._key("parked"),
            ],
            args=[
                *(options.prefix, vm_uuid, word.value, event_id, told),
                *(int(options.seen), options.outcomes_kept, forms.ms(options.resend), int(options.tombstone)),
                pack(told.encode()) if told else b"",
            ],
        )
        return forms.wake(answer) if answer[0] in {b"wake", b"idle"} else str(answer[0].decode())

    @override
    def outcome_of(self, event_id: EventId) -> Outcome | None:
        seen: Any = self._redis.get(self._key("seen", event_id))
        return forms.outcome((seen or b"").partition(b" ")[2])

    @override
    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        answer: Any = self._redis.xread(
            {self._key("outcomes"): after}, count=1000, block=max(1, forms.ms(block_seconds))
        )
        for _stream, entries in answer or ():
            for position, fields in entries:
                yield position.decode(), Outcome.from_json(fields[b"outcome"])

    @override
    def end_of_outcomes(self) -> str:
        newest: Any = self._redis.xrevrange(self._key("outcomes"), count=1)
        return newest[0][0].decode() if newest else "0"

    @override
    def bury(self, letter: DeadLetter) -> None:
        pipeline = self._redis.pipeline()
        pipeline.lpush(self._key("dead"), json.dumps(asdict(letter), separators=(",", ":")))
        pipeline.ltrim(self._key("dead"), 0, DEAD_LETTERS_KEPT - 1)
        pipeline.execute()

    @override
    def dead_letters(self, limit: int) -> list[DeadLetter]:
        found: Any = self._redis.lrange(self._key("dead"), 0, limit - 1)
        return [DeadLetter(**json.loads(letter)) for letter in found]

    def _key(self, kind: str, name: str = "") -> str:
        named = name or kind in {"vm", "due"}
        return f"{self._options.prefix}{kind}:{name}" if named else f"{self._options.prefix}{kind}"

    def _vm_keys(self, uuid: VmUuid) -> list[str]:
        return [self._key("vm", uuid), self._key("mail", uuid), self._key("body", uuid)]
