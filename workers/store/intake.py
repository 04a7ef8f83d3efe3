"""The intake on Redis: keys, and the arguments of its two scripts (`take.lua`, `settle.lua`).

| key          | type| what                                                                                     |
|-----------------|--------|------------------------------------------------------------------------------------------|
| `intake`     | list| what clients have put there with LPUSH, newest first                                     |
| `intake:taken`  | list| what an ingester is at, newest first; a successor begins with it                         |
| `intake:number` | string | how many entries were ever settled: the fence, and the number of the next one            |
| `intake:lease`  | string | the ingester, for as long as it shows itself                                             |
| `intake:wakes`  | list| `<attempt> <header>`: wake-ups for events that were put by FCALL, sent by the ingester    |
"""

from __future__ import annotations

import json
import uuid as uuids
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from configdrive.contract.events import MAX_EVENT_BYTES
from tasks.intake import Intake, Refusal, Settled, Taken
from tasks.mailbox import Posting, Wake
from workers.store import encoding as forms
from workers.store import scripts
from workers.store.mailbox import DEAD_LETTERS_KEPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from workers.store.mailbox import StoreOptions

LEASE_SECONDS = 5.0
AT_ONCE = 500
BYTES_AT_ONCE = 8 * 2**20


class RedisIntake(Intake):
    """`Intake` on one Redis (or the master behind a Sentinel), for one ingester."""

    def __init__(self, client: redis.Redis, options: StoreOptions) -> None:
        self._redis = client
        self._options = options
        self._owner = uuids.uuid4().hex
        self._take = scripts.register(client, "take")
        self._settle = scripts.register(client, "settle")

    @override
    def take(self) -> Taken | float:
        answer: Any = self._take(
            keys=[*map(self._key, ("intake:lease", "intake", "intake:taken", "intake:number", "intake:wakes"))],
            args=[
                self._owner,
                forms.ms(min(LEASE_SECONDS, self._options.lease)),
                AT_ONCE,
                BYTES_AT_ONCE,
                MAX_EVENT_BYTES,
                AT_ONCE,
            ],
        )
        if answer[0] == b"busy":
            return max(0.0, float(answer[1]) / 1000)
        _, first, wakes, *entries = answer
        return Taken(int(first), tuple(entries), tuple(_readable(wakes)))

    @override
    def settle(self, first: int, judged: Sequence[Posting | Refusal]) -> Settled | None:
        options = self._options
        entries = [part for item in judged for part in _entry(item)]
        answer: Any = self._settle(
            keys=[*map(self._key, ("intake:taken", "intake:number", "dead", "outcomes"))],
            args=[
                *(options.prefix, first, len(judged), forms.ms(options.resend)),
                *(DEAD_LETTERS_KEPT, options.outcomes_kept),
                *entries,
            ],
        )
        if answer[0] == b"moved":
            return None
        _, duplicates, *found = answer
        wakes = (
            Wake(forms.decode(header), int(attempt)) for header, attempt in zip(found[::2], found[1::2], strict=True)
        )
        return Settled(tuple(wakes), duplicates)

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
        told = ("", "") if outcome is None else (outcome.event_id, outcome.to_json())
        return ("refuse", json.dumps(asdict(item.letter), separators=(",", ":")), *told, "", "", "")
    header = item.header
    return ("put", header.vm_uuid, header.event_id, forms.encode(header), item.body, header.event_type, header.queue)


def _readable(wakes: Sequence[bytes]) -> Iterator[Wake]:
    """Read wake-ups; what a stranger has put between them is passed over."""
    for text in wakes:
        attempt, _, header = text.partition(b" ")
        try:
            yield Wake(forms.decode(header), int(attempt))
        except (ValueError, KeyError, TypeError):
            continue
