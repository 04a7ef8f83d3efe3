"""The intake on Redis: keys, and the arguments of its two scripts (`take.lua`, `settle.lua`).

| key             | type   | what                                                                                     |
|-----------------|--------|------------------------------------------------------------------------------------------|
| `intake`        | list   | what clients have put there with LPUSH, newest first                                     |
| `intake:taken`  | list   | what an ingester is at, newest first; a successor begins with it                         |
| `intake:number` | string | how many entries were ever settled: the fence, and the number of the next one            |
| `intake:lease`  | string | the ingester, for as long as it shows itself                                             |
"""

from __future__ import annotations

import json
import uuid as uuids
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from configdrive.client import encoding
from configdrive.client.connection import connect_redis
from configdrive.client.publisher import Publisher
from configdrive.client.store import EventStore
from configdrive.contract.events import MAX_EVENT_BYTES
from tasks.intake import Ingester, Intake, Refusal, Taken, Unsealed
from workers.config.clock import SystemClock
from workers.store import scripts
from workers.store.mailbox import MailboxOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from configdrive.client.postings import Posting
    from workers.config.settings import Settings

LEASE_SECONDS = 5.0
AT_ONCE = 500
BYTES_AT_ONCE = 8 * 2**20


class RedisIntake(Intake):
    """`Intake` on one Redis (or the master behind a Sentinel), for one ingester."""

    def __init__(self, client: redis.Redis, options: MailboxOptions) -> None:
        self._redis = client
        self._options = options
        self._owner = uuids.uuid4().hex
        self._take = scripts.register(client, "take")
        self._settle = scripts.register(client, "settle")

    @override
    def take(self) -> Taken | float:
        answer: Any = self._take(
            keys=[*map(self._key, ("intake:lease", "intake", "intake:taken", "intake:number"))],
            args=[
                self._owner,
                encoding.ms(min(LEASE_SECONDS, self._options.lease)),
                AT_ONCE,
                BYTES_AT_ONCE,
                MAX_EVENT_BYTES,
            ],
        )
        if answer[0] == b"busy":
            return max(0.0, float(answer[1]) / 1000)
        _, first, *entries = answer
        return Taken(int(first), tuple(entries))

    @override
    def settle(self, first: int, judged: Sequence[Posting | Refusal]) -> int | None:
        entries = [part for item in judged for part in _entry(item)]
        answer: Any = self._settle(
            keys=[*map(self._key, ("intake:taken", "intake:number", "outcomes"))],
            args=[
                *(self._options.prefix, first, len(judged), self._options.outcomes_kept),
                *(self._options.mailbox_bytes, *entries),
            ],
        )
        return None if answer[0] == b"moved" else int(answer[1])

    @override
    def leave(self) -> None:
        if self._redis.get(self._key("intake:lease")) == self._owner.encode():
            # Between the two, the lease may end and be another's: then two are at it for a moment, and SETTLE decides.
            self._redis.delete(self._key("intake:lease"))

    def _key(self, kind: str) -> str:
        return self._options.prefix + kind


def _entry(item: Posting | Refusal) -> tuple[str | bytes, ...]:
    if isinstance(item, Refusal):
        outcome = item.outcome
        answer = ("", "") if outcome is None else (outcome.key, outcome.to_json())
        return ("refuse", json.dumps(asdict(item.letter), separators=(",", ":")), *answer, "", "", "")
    header = item.header
    return ("put", header.vm_uuid, header.key, encoding.encode(header), item.body, header.event_type, header.queue)


def make_ingester(settings: Settings) -> Ingester | None:
    """Return what takes from the intake, with connections of its own; `None` when the settings turn it off.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.intake == "off":
        return None
    from workers.config.key_ring import make_sealer  # noqa: PLC0415 - many processes read this module, few seal

    client, options = connect_redis(settings), MailboxOptions.of(settings)
    sealer = Unsealed() if settings.intake == "sealed" else make_sealer(settings)
    publisher = Publisher.of(settings, EventStore(client, options), sealer)
    return Ingester(RedisIntake(client, options), publisher.posting, SystemClock(), pause=settings.intake_seconds)
