"""What only operators ask of the mailboxes: counts and scans that no event ever waits for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configdrive.errors import PermanentError
from configdrive.model import VmUuid
from configdrive.state import peek
from workers.store import RedisMailbox

if TYPE_CHECKING:
    from collections.abc import Iterator


class Census(RedisMailbox):
    """The mailboxes, with what operators ask beside."""

    def overdue(self, queue: str, *, by_seconds: float = 0.0, limit: int = 1000) -> list[tuple[VmUuid, float]]:
        """Return the VMs of a queue whose time has come, with that time (seconds since 1970 UTC), oldest first."""
        seconds, microseconds = self._redis.time()
        now = seconds + microseconds / 1e6
        found: Any = self._redis.zrange(
            self._key("due", queue),
            "-inf",
            round((now - by_seconds) * 1000),
            byscore=True,
            offset=0,
            num=limit,
            withscores=True,
        )
        return [(VmUuid(uuid.decode()), score / 1000) for uuid, score in found]

    def count_dead(self) -> int:
        """Return how many dead letters are kept."""
        return int(self._redis.llen(self._key("dead")))

    def boxes(self) -> Iterator[tuple[VmUuid, str]]:
        """Iterate over every sealed box at rest: in what is remembered of VMs, and in the events that wait."""
        for uuid in self.vms():
            state: Any = self._redis.hget(self._key("vm", uuid), "state")
            bodies: Any = self._redis.hvals(self._key("body", uuid))
            for box in (*(() if state is None else _boxes_of_state(state.decode())), *map(_box_of_event, bodies)):
                if box is not None:
                    yield uuid, box


def _boxes_of_state(text: str) -> tuple[str, ...]:
    try:
        summary = peek(text)
    except PermanentError:  # written by a newer version: whose key it needs cannot be told
        return ()
    return tuple(box for box in (summary.data, summary.pending, summary.carried) if box is not None)


def _box_of_event(body: bytes) -> str | None:
    try:
        box = json.loads(body)["data"].get("sealed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # no event: it becomes a dead letter when its turn comes
    return box if isinstance(box, str) else None
