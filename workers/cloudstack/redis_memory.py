"""The adapter's memory on Redis, shared by all adapters of a fleet.

Keys, behind the fleet's prefix:

| key                            | type   | what                                                              |
|--------------------------------|--------|-------------------------------------------------------------------|
| `cloudstack:published:<uuid>`  | string | what was published of a VM, as JSON: names and times, no content  |
| `cloudstack:seen:<digest>`     | string | there while a notice that comes again is known to be the same     |
| `cloudstack:lock:<uuid>`       | string | which adapter publishes events of a VM                            |

A VM's record stays for a year without notices, and as long as the fleet's tombstone after its end. When it is lost, the
next notice about a running VM leads to `start` again, and sequences go on: they are Redis' clock in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import Any, Final

import redis
from redis.exceptions import LockError
from redis.lock import Lock
from typing_extensions import override

from configdrive.errors import TransientCode, TransientError
from configdrive.model import VmUuid
from workers.cloudstack.notices import Notice
from workers.cloudstack.ports import Memory, Power, Published, VmLock
from workers.cloudstack.relevance import CONTENT_EVENTS

_YEAR: Final = 366 * 86_400
_MINUTE: Final = 60
_LOCK_SECONDS: Final = 20.0
"""Longer than the calls between two checks take; a dead adapter holds up its VM for so long."""
_PATIENCE: Final = 7.0
"""Three times as long is longer than that: CloudStack sends a webhook three times, and waits ten seconds each."""


_FIELDS: Final = frozenset(one.name for one in fields(Published))
"""What is read; a newer version may have written more."""


class RedisMemory(Memory):
    """`Memory` on Redis.

    Args:
        client: its connections.
        prefix: the fleet's.
        seen_seconds: how long a notice is known again.
        gone_seconds: how long a VM that is gone is remembered.
        patience: for how many seconds another adapter is waited for.
    """

    def __init__(
        self, client: redis.Redis, *, prefix: str, seen_seconds: float, gone_seconds: float, patience: float = _PATIENCE
    ) -> None:
        self._redis = client
        self._prefix = f"{prefix}cloudstack:"
        self._seen_seconds = int(seen_seconds)
        self._gone_seconds = int(gone_seconds)
        self._patience = patience

    @override
    def seen(self, notice: Notice) -> bool:
        keys = self._seen_keys(notice)
        return bool(keys) and bool(self._redis.exists(*keys))

    @override
    @contextmanager
    def lock(self, vm: VmUuid, notice: Notice | None) -> Iterator[VmLock]:
        lock = _Lock(self._redis, f"{self._prefix}lock:{vm}", timeout=_LOCK_SECONDS, blocking_timeout=self._patience)
        if not lock.acquire():
            raise _busy(vm)
        try:
            yield _RedisVmLock(self, vm, notice, lock)
        finally:
            with suppress(LockError, redis.ConnectionError, redis.TimeoutError):  # it runs out by itself
                lock.release()

    def read(self, vm: VmUuid) -> Published:
        """Return what was published of a VM."""
        stored: Any = self._redis.get(self._published_key(vm))
        if stored is None:
            return Published()
        known = {name: value for name, value in json.loads(stored).items() if name in _FIELDS}
        return Published(**{**known, "power": Power(known["power"])})

    def write(self, vm: VmUuid, published: Published, notice: Notice | None) -> None:
        """Remember what was published, and that the notice, if there is one, has come, both or none."""
        pipeline = self._redis.pipeline()
        seconds = self._gone_seconds if published.gone else _YEAR
        pipeline.set(self._published_key(vm), json.dumps(asdict(published), separators=(",", ":")), ex=seconds)
        if notice is not None:
            for key in self._seen_keys(notice):
                pipeline.set(key, 1, ex=self._seen_seconds if notice.identities else _MINUTE)
        pipeline.execute()

    def now_ms(self) -> int:
        """Return Redis' time."""
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _published_key(self, vm: VmUuid) -> str:
        return f"{self._prefix}published:{vm}"

    def _seen_keys(self, notice: Notice) -> list[str]:
        """Name what stands for a notice; without an identity its bytes do, but only where a look would not.

        The same words about power may be said twice within a minute, and be true twice.
        """
        names = notice.identities or ((notice.digest,) if notice.event in CONTENT_EVENTS else ())
        return [f"{self._prefix}seen:{hashlib.sha256(name.encode()).hexdigest()}" for name in names]


class _Lock(Lock):
    """A lock that knows itself again: when Redis' answer is lost, its client asks once more, and finds it taken."""

    @override
    def do_acquire(self, token: Any) -> bool:
        return super().do_acquire(token) or self.redis.get(self.name) == token


class _RedisVmLock(VmLock):
    """The right to a VM, as long as the lock is ours."""

    def __init__(self, memory: RedisMemory, vm: VmUuid, notice: Notice | None, lock: Lock) -> None:
        self._memory = memory
        self._vm = vm
        self._notice = notice
        self._lock = lock
        self.published = memory.read(vm)

    @override
    def next_sequence(self, published: Published) -> int:
        return max(published.sequence + 1, self._memory.now_ms())

    @override
    def check(self) -> None:
        try:
            self._lock.reacquire()
        except LockError:
            raise _busy(self._vm) from None

    @override
    def keep(self, published: Published) -> None:
        self.published = published
        self._memory.write(self._vm, published, self._notice)


def _busy(vm: VmUuid) -> TransientError:
    return TransientError(TransientCode.VM_BUSY, f"another adapter is at VM {vm}")
