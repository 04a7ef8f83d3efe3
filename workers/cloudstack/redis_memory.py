"""The adapter's memory on Redis, shared by all adapters of a fleet.

Keys, behind the fleet's prefix:

| key                       | type   | what                                                                  |
|---------------------------|--------|-----------------------------------------------------------------------|
| `cloudstack:told:<uuid>`  | string | what the fleet was told of a VM, as JSON: names and times, no content |
| `cloudstack:had:<digest>` | string | there while a notice that comes again is known to be the same         |
| `cloudstack:lock:<uuid>`  | string | whose turn it is to tell of a VM                                      |

A VM's record stays for a year without notices, and as long as the fleet's tombstone after its end. When it is lost, the
next notice about a running VM tells `start` again, and sequences go on: they are Redis' clock in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Final

import redis
from redis.exceptions import LockError
from redis.lock import Lock
from typing_extensions import override

from configdrive.errors import TransientCode, TransientError
from configdrive.model import VmUuid
from workers.cloudstack.decide import Power, Told
from workers.cloudstack.memory import Memory, Visit
from workers.cloudstack.notices import Notice
from workers.cloudstack.relevance import CONTENT_EVENTS

_YEAR: Final = 366 * 86_400
_MINUTE: Final = 60
_LOCK_SECONDS: Final = 20.0
"""Longer than the calls between two checks take; a dead adapter holds up its VM for so long."""


class RedisMemory(Memory):
    """`Memory` on Redis.

    Args:
        client: its connections.
        prefix: the fleet's.
        had_seconds: how long a notice is known again.
        gone_seconds: how long a VM that is gone is remembered.
        patience: for how many seconds another adapter is waited for.
    """

    def __init__(
        self, client: redis.Redis, *, prefix: str, had_seconds: float, gone_seconds: float, patience: float = 5.0
    ) -> None:
        self._redis = client
        self._prefix = f"{prefix}cloudstack:"
        self._had_seconds = int(had_seconds)
        self._gone_seconds = int(gone_seconds)
        self._patience = patience

    @override
    def had(self, notice: Notice) -> bool:
        keys = self._had_keys(notice)
        return bool(keys) and bool(self._redis.exists(*keys))

    @override
    @contextmanager
    def visit(self, vm: VmUuid, notice: Notice) -> Iterator[Visit]:
        lock = Lock(self._redis, f"{self._prefix}lock:{vm}", timeout=_LOCK_SECONDS, blocking_timeout=self._patience)
        if not lock.acquire():
            raise _busy(vm)
        try:
            yield _RedisVisit(self, vm, notice, lock)
        finally:
            with suppress(LockError, redis.ConnectionError, redis.TimeoutError):  # it runs out by itself
                lock.release()

    def read(self, vm: VmUuid) -> Told:
        """Return what was told of a VM."""
        stored: Any = self._redis.get(self._told_key(vm))
        if stored is None:
            return Told()
        fields = json.loads(stored)
        return Told(**{**fields, "power": Power(fields["power"])})

    def write(self, vm: VmUuid, told: Told, notice: Notice) -> None:
        """Remember what was told, and that the notice was had, both or none."""
        pipeline = self._redis.pipeline()
        seconds = self._gone_seconds if told.gone else _YEAR
        pipeline.set(self._told_key(vm), json.dumps(asdict(told), separators=(",", ":")), ex=seconds)
        for key in self._had_keys(notice):
            pipeline.set(key, 1, ex=self._had_seconds if notice.identities else _MINUTE)
        pipeline.execute()

    def now_ms(self) -> int:
        """Return Redis' time."""
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _told_key(self, vm: VmUuid) -> str:
        return f"{self._prefix}told:{vm}"

    def _had_keys(self, notice: Notice) -> list[str]:
        """Name what stands for a notice; without an identity its bytes do, but only where a look would not.

        The same words about power may be said twice within a minute, and be true twice.
        """
        names = notice.identities or ((notice.digest,) if notice.event in CONTENT_EVENTS else ())
        return [f"{self._prefix}had:{hashlib.sha256(name.encode()).hexdigest()}" for name in names]


class _RedisVisit(Visit):
    """The right to a VM, as long as the lock is ours."""

    def __init__(self, memory: RedisMemory, vm: VmUuid, notice: Notice, lock: Lock) -> None:
        self._memory = memory
        self._vm = vm
        self._notice = notice
        self._lock = lock
        self.told = memory.read(vm)

    @override
    def next_sequence(self, told: Told) -> int:
        return max(told.sequence + 1, self._memory.now_ms())

    @override
    def check(self) -> None:
        try:
            self._lock.reacquire()
        except LockError:
            raise _busy(self._vm) from None

    @override
    def keep(self, told: Told) -> None:
        self.told = told
        self._memory.write(self._vm, told, self._notice)


def _busy(vm: VmUuid) -> TransientError:
    return TransientError(TransientCode.VM_BUSY, f"another adapter is at VM {vm}")
