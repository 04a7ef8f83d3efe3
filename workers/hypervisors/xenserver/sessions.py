"""Sessions with a pool's master: opened when first needed, kept, limited in number per process, logged out at the end.

A call is made on one connection and waited for up to a limit. It is never silently sent a second time: a lost answer
says nothing of its effect. Two things are repeated, because then nothing has been done: a call that a host refuses as
it is no longer the master (the new one is followed), and one whose session has expired (the SDK logs in again).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from workers.driverkit.connections import Tally
from workers.hypervisors.xenserver.connections import SLOW_SECONDS, Session
from workers.hypervisors.xenserver.faults import code_of, param_of, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import SecretStr

    from workers.hypervisors.xenserver.tls import Endpoint


class Link:
    """A borrowed session: what the rest of the driver makes its calls through."""

    def __init__(self, pool: PoolSessions, session: Session) -> None:
        self._pool = pool
        self.session = session
        self.lost = False
        """Whether the session is at a host that is no longer the master, and none could be had in its place."""

    @property
    def timeout(self) -> float:
        """Seconds that an answer is waited for."""
        return self._pool.timeout

    def host_at(self, address: str) -> Endpoint:
        """Return the pool's host with this address; see `PoolSessions.endpoint`."""
        return self._pool.endpoint(address)

    def call(self, method: str, *arguments: object, slow: bool = False) -> Any:  # noqa: ANN401  # as XAPI answers
        """Make one call; a master that is none any more is followed to the new one.

        Raises:
            Failure: what XAPI answered.
            OSError, http.client.HTTPException, xmlrpc.client.Error: it has not answered.
            FleetError: the new master cannot be reached.
        """
        limit = max(self._pool.timeout, SLOW_SECONDS) if slow else self._pool.timeout
        try:
            return self.session.call(method, arguments, limit)
        except Failure as failure:
            if code_of(failure) != "HOST_IS_SLAVE":
                raise
            self.session.drop()
            self._pool.tally.lost()
            self.lost = True
            self.session = self._pool.open(param_of(failure, 1))
            self.lost = False
            return self.session.call(method, arguments, limit)
        except BaseException:  # an answer that is still to come would be taken for the next call's
            self.session.drop()
            raise


class PoolSessions:
    """The sessions of this process with one pool: `limit` at most, so that a boot storm does not sink its master."""

    def __init__(
        self, name: str, endpoints: Sequence[Endpoint], credentials: tuple[str, SecretStr], timeout: float, limit: int
    ) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self.timeout = timeout
        self.calls: Counter[str] = Counter()
        self.tally = Tally(name, "xapi")
        self._credentials = credentials
        self._limit = limit
        self._state = _State(limit)
        self._master: Endpoint | None = None

    @contextmanager
    def borrow(self) -> Iterator[Link]:
        """Give a session for a while.

        Raises:
            FleetError: `HOST_UNREACHABLE`, also when all were busy for too long; `ACCESS_DENIED`.
        """
        state = self._own_state()
        if not state.free.acquire(timeout=self.timeout):
            detail = f"pool {self.name}: all {self._limit} sessions of this process were busy"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "raise 'sessions' in the inventory")
        try:
            kept = state.pop()
            if kept is not None and not kept.alive():
                self.tally.lost()
                kept = None
            link = Link(self, kept or self.open())
            try:
                yield link
            finally:
                if not link.lost:
                    state.give_back(link.session)
        finally:
            state.free.release()

    def open(self, master: str | None = None) -> Session:
        """Log in at the master: the one that is named, else the last one known, else whoever knows it.

        Raises:
            FleetError: `HOST_UNREACHABLE` when no host of the pool answers as a master, `ACCESS_DENIED`.
        """
        first = self._master if master is None else self.endpoint(master)
        away: FleetError | None = None
        tried: set[Endpoint] = set()  # waiting for a dead master once is enough
        for candidate in filter(None, (first, *self.endpoints)):
            try:
                if candidate not in tried:
                    return self._login(candidate, tried)
            except TransientError as error:
                away = away or error
        self._master = None
        assert away is not None  # noqa: S101  # a pool has a host
        raise away

    def endpoint(self, address: str) -> Endpoint:
        """Return the host with this address, with or without its port. The password goes nowhere else.

        Raises:
            PermanentError: `MISCONFIGURED`: the inventory does not have it.
        """
        for endpoint in self.endpoints:
            names = {endpoint.known_as, endpoint.address}
            if address in names | {f"{name}:{endpoint.port}" for name in names}:
                return endpoint
        detail = f"pool {self.name} has a host with the address {address!r}, which the inventory does not name"
        remedy = "add it under [xenserver.hosts], or give that host's 'address' there"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)

    def close(self) -> None:
        """Log out what is not in use now."""
        for session in self._own_state().drain():
            session.logout()
            self.tally.closed()

    def _login(self, endpoint: Endpoint, tried: set[Endpoint]) -> Session:
        """Log in at a host, or at the master that it names, unless that was tried already."""
        while endpoint not in tried:
            tried.add(endpoint)
            session = Session(endpoint, *self._credentials, self.calls, self.tally)
            try:
                with translated(f"host {endpoint.name}"):
                    try:
                        session.login(self.timeout)
                    except Failure as failure:
                        if code_of(failure) != "HOST_IS_SLAVE":
                            raise
                        endpoint = self.endpoint(param_of(failure, 1))
                        session.drop()
                        continue
            except BaseException:
                session.drop()
                raise
            self._master = endpoint
            self.tally.opened()
            return session
        detail = f"pool {self.name}: the master that its hosts name, {endpoint.name}, does not answer as one"
        raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "the pool is choosing; else: xe pool-list")

    def _own_state(self) -> _State:
        """Return this process's sessions; a forked child begins without any, and leaves its parent's alone."""
        if self._state.process != os.getpid():
            self._state = _State(self._limit)
        return self._state


class _State:
    def __init__(self, limit: int) -> None:
        self.process = os.getpid()
        self.free = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[Session] = []

    def pop(self) -> Session | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def give_back(self, session: Session) -> None:
        with self._lock:
            self._idle.append(session)

    def drain(self) -> list[Session]:
        with self._lock:
            drained, self._idle = self._idle, []
        return drained
