"""One value that several threads need: read by one of them at a time, and kept for a while."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")


class Shared(Generic[_Value]):
    """One value, read when it is needed and old. Who asks while it is read waits for that answer.

    Args:
        read: reads it.
        seconds: for which it is used.
        least: seconds for which it is used even by those who want it read again.
    """

    def __init__(self, read: Callable[[], _Value], seconds: float, least: float = 0.0) -> None:
        self._read = read
        self._seconds = seconds
        self._least = least
        self._kept: tuple[float, _Value] | None = None
        self._flight: Future[_Value] | None = None
        self._lock = threading.Lock()

    def get(self, *, again: bool = False) -> _Value:
        """Return it, read now when it is old or `again` is asked for.

        Raises:
            Exception: whatever the reading has raised, in this thread or in the one that was waited for.
        """
        with self._lock:
            limit = self._least if again else self._seconds
            if self._kept is not None and time.monotonic() - self._kept[0] < limit:
                return self._kept[1]
            flight, mine = self._flight, self._flight is None
            if flight is None:
                flight = self._flight = Future()
        if not mine:
            return flight.result()
        began = time.monotonic()
        try:
            value = self._read()
        except BaseException as error:
            self._land(None)
            flight.set_exception(error)
            raise
        self._land((began, value))
        flight.set_result(value)
        return value

    def change(self, change: Callable[[_Value], _Value]) -> None:
        """Replace the value by one that was made of it, if there is any; it stays as old as it is."""
        with self._lock:
            if self._kept is not None:
                self._kept = (self._kept[0], change(self._kept[1]))

    def expire(self) -> None:
        """Have the next who needs it read it again."""
        with self._lock:
            self._kept = None

    def _land(self, kept: tuple[float, _Value] | None) -> None:
        with self._lock:
            self._flight = None
            self._kept = kept or self._kept
