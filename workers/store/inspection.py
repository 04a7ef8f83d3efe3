"""What only operators ask of the mailboxes: counts and scans that no event ever waits for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configdrive.errors import PermanentError
from configdrive.lifecycle.state import peek
from configdrive.model import VmUuid
from tasks.mailbox import VmView
from workers.store import encoding as forms
from workers.store.mailbox import RedisMailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Census(RedisMailbox):
    """The mailboxes, with what operators ask beside."""

    def view(self, vm_uuid: VmUuid) -> VmView | None:
        """Show one VM; `None` when nothing is known of it."""
        known: Any = self._redis.hgetall(self._key("vm", vm_uuid))
        mail: Any = self._redis.lrange(self._key("mail", vm_uuid), 0, -1)
        if not known and not mail:
            return None
        state = forms.state_of(known.pop(b"state", None))
        fields = {key.decode(): value.decode() for key, value in known.items()}
        queue = fields.get("queue", "")
        due: Any = self._redis.zscore(self._key("due", queue), vm_uuid)
        return VmView(
            uuid=vm_uuid,
            mail=tuple(forms.readable(mail)),
            state=state,
            parked=fields.get("parked"),
            attempts=int(fields.get("attempts", 0)),
            owner=fields.get("owner"),
            leased_until=forms.seconds(fields.get("until")),
            due=forms.seconds(due),
            reason=fields.get("reason"),
        )

    def parked(self, limit: int) -> list[tuple[VmUuid, float]]:
        """Return the parked VMs with the time of their parking, oldest first."""
        found: Any = self._redis.zrange(self._key("parked"), 0, limit - 1, withscores=True)
        return [(VmUuid(uuid.decode()), score / 1000) for uuid, score in found]

    def pending(self) -> dict[str, int]:
        """Return for each queue how many VMs have events waiting or in work."""
        queues: Any = self._redis.smembers(self._key("queues"))
        names = sorted(queue.decode() for queue in queues)
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.zcard(self._key("due", name))
        return dict(zip(names, pipeline.execute(), strict=True))

    def vms(self) -> Iterable[VmUuid]:
        """Iterate over all VMs that something is remembered of."""
        start = len(self._key("vm", ""))
        for key in self._redis.scan_iter(match=self._key("vm", "*"), count=1000):
            yield VmUuid(key[start:].decode())

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
            kept: Any = self._redis.hget(self._key("vm", uuid), "state")
            bodies: Any = self._redis.hvals(self._key("body", uuid))
            state = forms.state_of(kept)
            for box in (*(() if state is None else _boxes_of_state(state)), *map(_box_of_event, bodies)):
                if box is not None:
                    yield uuid, box


def _boxes_of_state(text: str) -> tuple[str, ...]:
    try:
        sealed = peek(text).sealed
    except PermanentError:  # written by a newer version: whose key it needs cannot be told
        return ()
    return tuple(box for box in (sealed.data, sealed.pending, sealed.carried) if box is not None)


def _box_of_event(body: bytes) -> str | None:
    try:
        box = json.loads(body)["data"].get("sealed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # no event: it becomes a dead letter when its turn comes
    return box if isinstance(box, str) else None
