"""The connections to one host's libvirtd: opened when first needed, kept, limited in number, counted."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import libvirt

from configdrive.errors import TransientCode, TransientError
from workers.driverkit.connections import Tally
from workers.hypervisors.kvm.connection import Link, LinkBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import HostName

SILENT_SECONDS: Final = 2.0
REST_SECONDS: Final = 15.0
"""A host that let an opening wait for longer than the first is not asked again for the second: when a host fails, each
of its VMs wants something of it, and each would wait again."""


class HostLinks:
    """The connections of this process to one host: `limit` at most, so that a boot storm does not sink its libvirtd."""

    def __init__(self, host: HostName, uri: str, timeout: float, limit: int) -> None:
        self.tally = Tally(host, "libvirt")
        self._host = host
        self._uri = uri
        self._timeout = timeout
        self._limit = limit
        self._state = _State(limit)

    @contextmanager
    def borrow(self) -> Iterator[Link]:
        """Give a working connection for a while.

        Raises:
            FleetError: `HOST_UNREACHABLE`, also when all were busy for too long; `ACCESS_DENIED`.
            LinkBrokenError: libvirtd ended, or was started anew, while the connection was in use.
        """
        state = self._own_state()
        state.require_speaking(self._host)
        if not state.free.acquire(timeout=self._timeout):
            detail = f"host {self._host}: all {self._limit} connections of this process were busy"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "raise 'connections' in the inventory")
        try:
            link = self._take(state)
            try:
                yield link
            except libvirt.libvirtError as error:
                if not link.is_broken():
                    raise
                detail = f"host {self._host}: {error.get_error_message()}"
                remedy = "see whether libvirtd runs there"
                raise LinkBrokenError(TransientCode.HOST_UNREACHABLE, detail, remedy) from error
            finally:
                if not state.give_back(link):
                    self.tally.lost()
        finally:
            state.free.release()

    def close(self) -> None:
        """Close what is not in use now."""
        for link in self._own_state().drain():
            link.abandon()
            self.tally.closed()

    def _take(self, state: _State) -> Link:
        while (kept := state.pop()) is not None:
            if kept.fresh():
                return kept
            kept.abandon()
            self.tally.lost()
        link = Link(self._host, self._uri, self._timeout)
        asked = time.monotonic()
        try:
            link.open()
        except BaseException as error:
            link.abandon()
            if isinstance(error, TransientError):
                state.note_silence(time.monotonic() - asked)
            raise
        self.tally.opened()
        return link

    def _own_state(self) -> _State:
        """Return this process's connections; a forked child begins without any."""
        if self._state.process != os.getpid():
            inherited, self._state = self._state, _State(self._limit)
            inherited.disown()
        return self._state


class _State:
    def __init__(self, limit: int) -> None:
        self.process = os.getpid()
        self.free = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._asked_again = 0.0

    def note_silence(self, seconds: float) -> None:
        """Note how long an opening waited in vain."""
        if seconds > SILENT_SECONDS:
            self._asked_again = time.monotonic() + REST_SECONDS

    def require_speaking(self, host: HostName) -> None:
        """Return unless the host was silent a moment ago.

        Raises:
            TransientError: `HOST_UNREACHABLE`.
        """
        rest = self._asked_again - time.monotonic()
        if rest > 0:
            detail = f"host {host}: did not answer a moment ago, and is asked again in {rest:.0f} s"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether it is up")

    def pop(self) -> Link | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def give_back(self, link: Link) -> bool:
        """Keep a connection that is of use still; say whether it is."""
        usable = link.rest()
        if usable:
            with self._lock:
                self._idle.append(link)
        return usable

    def drain(self) -> list[Link]:
        with self._lock:
            drained, self._idle = self._idle, []
        return drained

    def disown(self) -> None:
        """The lock is left alone: the parent's thread that held it does not exist here."""
        for link in self._idle:
            link.disown()
