"""A cache for what holds for a while: handles and facts that a driver has just been given."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keeps the newest entries for a while. Without a lock, so that a forked child never waits for its parent's.

    Args:
        seconds: how long an entry holds; without end when left out.
        most: entries that are kept.
    """

    def __init__(self, seconds: float = math.inf, most: int = 4096) -> None:
        self._seconds = seconds
        self._most = most
        self._entries: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        """Return what was kept under the key, if it still holds."""
        kept = self._entries.get(key)
        return None if kept is None or time.monotonic() - kept[0] > self._seconds else kept[1]

    def keep(self, key: K, value: V) -> V:
        """Keep a value, and return it."""
        self._entries.pop(key, None)
        self._entries[key] = time.monotonic(), value
        while len(self._entries) > self._most:
            with contextlib.suppress(RuntimeError, StopIteration):  # another thread is at it
                self._entries.pop(next(iter(self._entries)), None)
        return value

    def forget(self, key: K) -> None:
        """Drop one entry."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all."""
        self._entries.clear()
