"""The mailboxes on Redis: keys, encodings and the Lua scripts' arguments (`workers/lua`, one file a script).

Every change is one script, so it happens whole or not at all; each answers the same when asked twice, because a client
that lost the reply asks again. Keys, behind the prefix:

| key             | type       | what                                                                                |
|-----------------|------------|-------------------------------------------------------------------------------------|
| `vm:<uuid>`     | hash       | state, epoch (fencing token), owner, until, attempts, deaths, parked, queue, reason |
| `mail:<uuid>`   | list       | headers of the VM's events, oldest first                                            |
| `body:<uuid>`   | hash       | event id -> the event's JSON, secrets sealed                                        |
| `due:<queue>`   | sorted set | VM -> time (ms) by which a wake-up must exist: recovery, lease expiry and back-off   |
| `queues`        | set        | every queue that ever had an event                                                  |
| `seen:<id>`     | string     | `pending <nonce>`, later the outcome: refuses a duplicate id with the first's outcome |
| `parked`        | sorted set | VM -> time (ms) of its parking                                                      |
| `outcomes`      | stream     | every outcome                                                                       |
| `dead`          | list       | dead letters, newest first                                                          |
"""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script
from typing_extensions import override

from configdrive.model import EventId, VmUuid
from configdrive.outcome import Outcome
from tasks.mailbox import (
    Again,
    Claim,
    DeadLetter,
    Ending,
    FencedError,
    Finish,
    Header,
    Mailbox,
    NotNow,
    ParkIt,
    PersonsWord,
    Posting,
    Receipt,
    VmView,
    Wake,
)

SCRIPTS = ("put", "claim", "renew", "done", "sweep", "unpark")
PENDING = b"pending "
DEAD_LETTERS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How long things are kept. Times are seconds; `outcomes_kept` is a number of stream entries."""

    prefix: str
    lease: float
    resend: float
    seen: float
    tombstone: float
    outcomes_kept: int


class RedisMailbox(Mailbox):
    """`Mailbox` on one Redis (or the master behind a Sentinel)."""

    def __init__(self, client: redis.Redis, options: StoreOptions) -> None:
        self._redis = client
        self._options = options
        self._scripts = {name: _script(client, name) for name in SCRIPTS}

    @override
    def put(self, posting: Posting) -> Receipt:
        return _receipt(posting, self._put(posting, self._redis))

    @override
    def put_many(self, postings: Sequence[Posting]) -> list[Receipt]:
        pipeline = self._redis.pipeline(transaction=False)
        for posting in postings:
            self._put(posting, pipeline)
        answers = pipeline.execute()
        return [_receipt(posting, answer) for posting, answer in zip(postings, answers, strict=True)]

    def _put(self, posting: Posting, client: redis.Redis) -> Any:  # noqa: ANN401 - redis-py types no script's answer
        header = posting.header
        return self._scripts["put"](
            keys=[
                *self._vm_keys(header.vm_uuid),
                self._key("seen", header.event_id),
                self._key("queues"),
                self._key("parked"),
            ],
            args=[
                self._options.prefix,
                header.vm_uuid,
                header.event_id,
                _encode(header),
                posting.body,
                header.event_type,
                header.queue,
                uuids.uuid4().hex,
                _ms(self._options.resend),
            ],
            client=client,
        )

    @override
    def claim(self, vm_uuid: VmUuid, event_id: EventId) -> Claim | NotNow:
        answer = self._scripts["claim"](
            keys=self._vm_keys(vm_uuid),
            args=[self._options.prefix, vm_uuid, event_id, uuids.uuid4().hex, _ms(self._options.lease)],
        )
        word = answer[0].decode()
        if word != "claimed":
            return NotNow(word)
        _, epoch, attempt, deaths, body, state, *headers = answer
        head, *waiting = (_decode(header) for header in headers)
        return Claim(head, int(epoch), int(attempt), int(deaths), body, state.decode() or None, tuple(waiting))

    @override
    def renew(self, claim: Claim) -> bool:
        uuid = claim.header.vm_uuid
        args: list[str | int] = [self._options.prefix, uuid, claim.epoch, _ms(self._options.lease)]
        return bool(self._scripts["renew"](keys=[self._key("vm", uuid)], args=args))

    @override
    def done(self, claim: Claim, ending: Ending) -> Wake | None:
        uuid, options = claim.header.vm_uuid, self._options
        mode, outcome, state, delay, code, gone = _ending(ending)
        answer = self._scripts["done"](
            keys=[
                *self._vm_keys(uuid),
                self._key("seen", claim.header.event_id),
                self._key("outcomes"),
                self._key("parked"),
            ],
            args=[
                options.prefix,
                uuid,
                claim.epoch,
                claim.header.event_id,
                mode,
                outcome,
                state,
                _ms(delay),
                int(options.seen),
                options.outcomes_kept,
                int(options.tombstone) if gone else 0,
                _ms(options.resend),
                code,
            ],
        )
        if answer[0] == b"fenced":
            raise FencedError
        return _wake(answer)

    @override
    def sweep(self, queue: str, limit: int) -> list[Wake]:
        answer = self._scripts["sweep"](
            keys=[self._key("due", queue)],
            args=[self._options.prefix, limit, _ms(self._options.resend)],
        )
        return [Wake(_decode(header), int(attempt)) for header, attempt in zip(answer[::2], answer[1::2], strict=True)]

    @override
    def word(self, vm_uuid: VmUuid, event_id: EventId, word: PersonsWord, outcome: Outcome | None) -> Wake | str | None:
        options = self._options
        answer = self._scripts["unpark"](
            keys=[*self._vm_keys(vm_uuid), self._key("outcomes"), self._key("parked")],
            args=[
                options.prefix,
                vm_uuid,
                word.value,
                event_id,
                outcome.to_json() if outcome else "",
                int(options.seen),
                options.outcomes_kept,
                _ms(options.resend),
                uuids.uuid4().hex,
            ],
        )
        return _wake(answer) if answer[0] in {b"wake", b"idle"} else str(answer[0].decode())

    @override
    def outcome_of(self, event_id: EventId) -> Outcome | None:
        return _first(self._redis.get(self._key("seen", event_id)))

    @override
    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        answer: Any = self._redis.xread({self._key("outcomes"): after}, count=1000, block=max(1, _ms(block_seconds)))
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

    @override
    def view(self, vm_uuid: VmUuid) -> VmView | None:
        known: Any = self._redis.hgetall(self._key("vm", vm_uuid))
        mail: Any = self._redis.lrange(self._key("mail", vm_uuid), 0, -1)
        if not known and not mail:
            return None
        fields = {key.decode(): value.decode() for key, value in known.items()}
        queue = fields.get("queue", "")
        due: Any = self._redis.zscore(self._key("due", queue), vm_uuid)
        return VmView(
            uuid=vm_uuid,
            mail=tuple(_decode(header) for header in mail),
            state=fields.get("state"),
            parked=fields.get("parked"),
            attempts=int(fields.get("attempts", 0)),
            owner=fields.get("owner"),
            leased_until=_seconds(fields.get("until")),
            due=_seconds(due),
            reason=fields.get("reason"),
        )

    @override
    def parked(self, limit: int) -> list[tuple[VmUuid, float]]:
        found: Any = self._redis.zrange(self._key("parked"), 0, limit - 1, withscores=True)
        return [(VmUuid(uuid.decode()), score / 1000) for uuid, score in found]

    @override
    def pending(self) -> dict[str, int]:
        queues: Any = self._redis.smembers(self._key("queues"))
        names = sorted(queue.decode() for queue in queues)
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.zcard(self._key("due", name))
        return dict(zip(names, pipeline.execute(), strict=True))

    @override
    def vms(self) -> Iterable[VmUuid]:
        start = len(self._key("vm", ""))
        for key in self._redis.scan_iter(match=self._key("vm", "*"), count=1000):
            yield VmUuid(key[start:].decode())

    def _key(self, kind: str, name: str = "") -> str:
        return f"{self._options.prefix}{kind}:{name}" if name or kind in {"vm", "due"} else f"{self._options.prefix}{kind}"

    def _vm_keys(self, uuid: VmUuid) -> list[str]:
        return [self._key("vm", uuid), self._key("mail", uuid), self._key("body", uuid)]


def _script(client: redis.Redis, name: str) -> Script:
    return client.register_script(files("workers").joinpath("lua", f"{name}.lua").read_text("utf-8"))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(milliseconds: str | float | None) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000


def _encode(header: Header) -> str:
    short = {
        "id": header.event_id,
        "type": header.event_type,
        "vm": header.vm_uuid,
        "queue": header.queue,
        "sequence": header.sequence,
    }
    if header.traceparent is not None:
        short["traceparent"] = header.traceparent
    return json.dumps(short, separators=(",", ":"))


def _decode(text: bytes) -> Header:
    short = json.loads(text)
    return Header(
        event_id=EventId(short["id"]),
        event_type=short["type"],
        vm_uuid=VmUuid(short["vm"]),
        queue=short["queue"],
        sequence=short["sequence"],
        traceparent=short.get("traceparent"),
    )


def _receipt(posting: Posting, answer: list[Any]) -> Receipt:
    if answer[0] == b"duplicate":
        return Receipt(posting.header.event_id, accepted=False, first=_first(answer[1]))
    return Receipt(posting.header.event_id, accepted=True, wake=_wake(answer))


def _wake(answer: list[Any]) -> Wake | None:
    return Wake(_decode(answer[1]), int(answer[2])) if answer[0] == b"wake" else None


def _first(seen: Any) -> Outcome | None:  # noqa: ANN401 - redis-py types no answer
    return None if seen is None or seen.startswith(PENDING) else Outcome.from_json(seen)


def _ending(ending: Ending) -> tuple[str, str, str, float, str, bool]:
    """Return mode, outcome JSON, state, delay in seconds, code and whether the VM is gone."""
    match ending:
        case Finish(outcome, state, gone):
            return "finish", outcome.to_json(), state or "", 0, "", gone
        case Again(delay, code):
            return "again", "", "", delay, code, False
        case ParkIt(outcome):
            return "park", outcome.to_json(), "", 0, outcome.code or "unclassified", False
