"""Sessions with a pool's master: opened when first needed, kept, limited in number per process, logged out at the end.

A call is made on one connection and waited for up to a limit. It is never silently sent a second time: a lost answer
says nothing of its effect. (XML-RPC's own transport sends a request again when the connection breaks; that is turned
off.) Two things are repeated, because then nothing has been done: a call that a host refuses as it is no longer the
master (the new one is followed), and one whose session has expired (the SDK logs in again).
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import SafeTransport

from typing_extensions import override
from XenAPI.XenAPI import Failure
from XenAPI.XenAPI import Session as SdkSession

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from workers.driverkit.connections import Limit, Tally
from workers.hypervisors.xenserver.faults import code_of, param_of, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import SecretStr

    from workers.hypervisors.xenserver.tls import XapiServer

SLOW_SECONDS: Final = 90.0
"""Limit on a call that mounts something or waits for a guest."""

_LOGOUT_SECONDS: Final = 5.0

_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For the library, which would read all of the system's for a context that nobody uses: some 20 ms of CPU."""

_log = logging.getLogger(__name__)


class _Connection(HTTPSConnection):
    """An HTTPS connection whose peer is verified as the inventory says."""

    def __init__(self, server: XapiServer, timeout: float) -> None:
        super().__init__(server.address, server.port, timeout=timeout, context=_NO_AUTHORITIES)
        self._server = server

    @override
    def connect(self) -> None:
        self.sock = self._server.connect(float(self.timeout or SLOW_SECONDS))


class _Transport(SafeTransport):
    """XML-RPC over one kept connection; a request goes out once."""

    def __init__(self, server: XapiServer) -> None:
        super().__init__()
        self._server = server
        self._kept: _Connection | None = None
        self.timeout = SLOW_SECONDS

    @override
    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:  # the SDK's signature
        return self.single_request(host, handler, request_body, verbose)

    @override
    def make_connection(self, host: Any) -> HTTPSConnection:
        kept = self._kept
        if kept is not None and kept.sock is not None and _speaks(kept.sock):
            kept.close()  # the host closed it, or says what nobody asked for
        if kept is None:
            kept = self._kept = _Connection(self._server, self.timeout)
        kept.timeout = self.timeout
        if kept.sock is not None:
            kept.sock.settimeout(self.timeout)
        return kept

    def connect(self, timeout: float) -> None:
        """Connect now rather than with the first request."""
        self.timeout = timeout
        kept = self.make_connection(self._server.address)
        if kept.sock is None:
            kept.connect()

    @override
    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _speaks(connection: socket.socket) -> bool:
    """Say whether there is something to read; `select` would fail for a descriptor above 1023."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class Session:
    """One login at one host, with the connection it is used on.

    Args:
        server: the host.
        user, password: of the pool.
        calls: how often each method was called, by name; logins and re-logins as `session.login_with_password`.
        tally: of the pool's sessions.
    """

    def __init__(self, server: XapiServer, user: str, password: SecretStr, calls: Counter[str], tally: Tally) -> None:
        self.server = server
        self._transport = _Transport(server)
        self._calls = calls
        self._tally = tally
        self._secret = (user, password)
        self._timeout = SLOW_SECONDS
        self._doubtful = False
        self._logins = 0
        # allow_none stays off: XAPI knows no nil.
        self._sdk: Any = _sdk(server.url, self._transport, self._note_login)

    def login(self, timeout: float) -> None:
        """Log in (class session, login_with_password)."""
        user, password = self._secret
        self._transport.timeout = self._timeout = timeout
        self._sdk.xenapi_request("login_with_password", (user, password.get_secret_value(), "1.0", "configdrive"))

    def call(self, method: str, arguments: Sequence[object], timeout: float) -> object:
        """Make one call."""
        self._calls[method] += 1
        self._transport.timeout = timeout
        answer: object = self._sdk.xenapi_request(method, tuple(arguments))
        return answer

    @property
    def reference(self) -> str:
        """The session's reference; to be kept as secret as a password."""
        return str(self._sdk.handle)

    def logout(self) -> None:
        """Log out (class session, logout), if the host can still hear it."""
        self._transport.timeout = _LOGOUT_SECONDS
        with suppress(OSError, HTTPException, XmlRpcError, Failure):
            self._sdk.xenapi_request("session.logout", ())
        self.drop()

    def drop(self) -> None:
        """Close the connection and tell nobody; before the session is used again, `alive` has to say that it can be."""
        self._transport.close()
        self._doubtful = True

    def alive(self) -> bool:
        """Say whether the host still takes connections, when there is reason to doubt it."""
        if self._doubtful:
            try:
                self._transport.connect(self._timeout)
            except OSError:
                return False
        self._doubtful = False
        return True

    def _note_login(self) -> None:
        self._calls["session.login_with_password"] += 1
        self._logins += 1
        if self._logins > 1:
            self._tally.lost()
            self._tally.opened()
            _log.info("xenserver host %s: logged in again", self.server.name)


def _sdk(url: str, transport: _Transport, note_login: Any) -> Any:  # noqa: ANN401  # the SDK has no types
    """Make the SDK's session; it logs in again by itself when XAPI says SESSION_INVALID, which is counted."""

    class Counted(SdkSession):
        @override
        def _login(self, method: str, params: tuple[str, ...]) -> None:
            note_login()
            super()._login(method, params)  # type: ignore[no-untyped-call]

    return Counted(url, transport=transport, allow_none=False)  # type: ignore[no-untyped-call]


class BorrowedSession:
    """A session for the length of a verb: what the rest of the driver makes its calls through."""

    def __init__(self, pool: PoolSessions, session: Session) -> None:
        self._pool = pool
        self.session = session
        self.lost = False
        """Whether the session is at a host that is no longer the master, and none could be had in its place."""

    @property
    def timeout(self) -> float:
        """Seconds that an answer is waited for."""
        return self._pool.timeout

    def server_at(self, address: str) -> XapiServer:
        """Return the pool's host with this address; see `PoolSessions.server_at`."""
        return self._pool.server_at(address)

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
        self, name: str, servers: Sequence[XapiServer], credentials: tuple[str, SecretStr], timeout: float, limit: int
    ) -> None:
        self.name = name
        self.servers = tuple(servers)
        self.timeout = timeout
        self.calls: Counter[str] = Counter()
        self.tally = Tally(name, "xapi")
        self._credentials = credentials
        self._limit = limit
        self._state = _State(name, limit)
        self._master: XapiServer | None = None

    @contextmanager
    def borrow(self) -> Iterator[BorrowedSession]:
        """Give a session for a while.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`; `SATURATED` when all were busy for too long.
        """
        state = self._own_state()
        with state.limit.one(self.timeout):
            kept = state.pop()
            if kept is not None and not kept.alive():
                self.tally.lost()
                kept = None
            borrowed = BorrowedSession(self, kept or self.open())
            try:
                yield borrowed
            finally:
                if not borrowed.lost:
                    state.give_back(borrowed.session)

    def open(self, master: str | None = None) -> Session:
        """Log in at the master: the one that is named, else the last one known, else whoever knows it.

        Raises:
            FleetError: `HOST_UNREACHABLE` when no host of the pool answers as a master, `ACCESS_DENIED`.
        """
        first = self._master if master is None else self.server_at(master)
        away: FleetError | None = None
        tried: set[XapiServer] = set()  # waiting for a dead master once is enough
        for candidate in filter(None, (first, *self.servers)):
            try:
                if candidate not in tried:
                    return self._login(candidate, tried)
            except TransientError as error:
                away = away or error
        self._master = None
        assert away is not None  # noqa: S101  # a pool has a host
        raise away

    def server_at(self, address: str) -> XapiServer:
        """Return the host with this address, with or without its port. The password goes nowhere else.

        Raises:
            PermanentError: `MISCONFIGURED`: the inventory does not have it.
        """
        for server in self.servers:
            names = {server.known_as, server.address}
            if address in names | {f"{name}:{server.port}" for name in names}:
                return server
        detail = f"pool {self.name} has a host with the address {address!r}, which the inventory does not name"
        remedy = "add it under [xenserver.hosts], or give that host's 'address' there"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)

    def close(self) -> None:
        """Log out what is not in use now."""
        for session in self._own_state().drain():
            session.logout()
            self.tally.closed()

    def _login(self, server: XapiServer, tried: set[XapiServer]) -> Session:
        """Log in at a host, or at the master that it names, unless that was tried already."""
        while server not in tried:
            tried.add(server)
            session = Session(server, *self._credentials, self.calls, self.tally)
            try:
                with translated(f"host {server.name}"):
                    try:
                        session.login(self.timeout)
                    except Failure as failure:
                        if code_of(failure) != "HOST_IS_SLAVE":
                            raise
                        server = self.server_at(param_of(failure, 1))
                        session.drop()
                        continue
            except BaseException:
                session.drop()
                raise
            self._master = server
            self.tally.opened()
            return session
        detail = f"pool {self.name}: the master that its hosts name, {server.name}, does not answer as one"
        raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "the pool is choosing; else: xe pool-list")

    def _own_state(self) -> _State:
        """Return this process's sessions; a forked child begins without any, and leaves its parent's alone."""
        if self._state.process != os.getpid():
            self._state = _State(self.name, self._limit)
        return self._state


class _State:
    def __init__(self, pool: str, limit: int) -> None:
        self.process = os.getpid()
        self.limit = Limit(limit, f"pool {pool}: all {limit} sessions", "sessions")
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
