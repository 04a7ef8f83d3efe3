"""The count of a driver's connections: what several drivers count by, each for itself."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_SECONDS: Final = 60.0
"""How long a connection that nobody uses is kept: over SSH each one costs its host 27 MB."""


class Tally:
    """Counts the connections of one kind to one endpoint in this process; a forked child begins with none.

    Args:
        endpoint: its name in the inventory.
        kind: what is spoken, in one word.
    """

    def __init__(self, endpoint: str, kind: str) -> None:
        self._endpoint = endpoint
        self._kind = kind
        self._begin()

    @property
    def now(self) -> Connections:
        """The counts at this moment."""
        with self._own():
            return Connections(self._endpoint, self._kind, self._open, self._reopened)

    def opened(self) -> None:
        """Count one that was opened: in the place of a lost one, if there is any."""
        with self._own():
            self._open += 1
            if self._missing:
                self._missing -= 1
                self._reopened += 1

    def closed(self) -> None:
        """Count one that we have closed as it is needed no more."""
        with self._own():
            self._open -= 1

    def lost(self) -> None:
        """Count one that broke, that the other end has forgotten, or that was given up."""
        with self._own():
            self._open -= 1
            self._missing += 1

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open = self._missing = self._reopened = 0

    def _own(self) -> threading.Lock:
        if self._process != os.getpid():  # and the parent's thread that held the lock does not exist here
            self._begin()
        return self._lock


class Limit:
    """How many of a process may use one endpoint at once.

    Args:
        most: so many.
        what: the endpoint, and what is limited, for messages: "host kvm-01: all 4 connections".
        field: of the inventory, that raises it.
    """

    def __init__(self, most: int, what: str, field: str) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._what = what
        self._field = field

    @contextmanager
    def one(self, seconds: float) -> Iterator[None]:
        """Be one of them within the block.

        Raises:
            TransientError: `SATURATED`: none of the others has gone for so many seconds. Nobody was asked.
        """
        if not self._free.acquire(timeout=seconds):
            detail = f"{self._what} of this process were busy for {seconds:g} s"
            raise TransientError(TransientCode.SATURATED, detail, f"raise '{self._field}' in the inventory")
        try:
            yield
        finally:
            self._free.release()
