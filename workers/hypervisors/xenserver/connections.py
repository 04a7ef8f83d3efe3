"""One login at one host, with the verified connection that it is used on; a request goes out once.

XML-RPC's own transport sends a request again when the connection breaks. That would do a thing twice whose answer alone
was lost, so it is turned off.
"""

from __future__ import annotations

import logging
import select
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import SafeTransport

from typing_extensions import override
from XenAPI.XenAPI import Failure
from XenAPI.XenAPI import Session as SdkSession

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from pydantic import SecretStr

    from workers.driverkit.connections import Tally
    from workers.hypervisors.xenserver.tls import Endpoint

SLOW_SECONDS: Final = 90.0
"""Limit on a call that mounts something or waits for a guest."""

_LOGOUT_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class _Connection(HTTPSConnection):
    """An HTTPS connection whose peer is verified as the inventory says."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        super().__init__(endpoint.address, endpoint.port, timeout=timeout)
        self._endpoint = endpoint

    @override
    def connect(self) -> None:
        self.sock = self._endpoint.connect(float(self.timeout or SLOW_SECONDS))


class _Transport(SafeTransport):
    """XML-RPC over one kept connection; a request goes out once."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._endpoint = endpoint
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
            kept = self._kept = _Connection(self._endpoint, self.timeout)
        kept.timeout = self.timeout
        if kept.sock is not None:
            kept.sock.settimeout(self.timeout)
        return kept

    def connect(self, timeout: float) -> None:
        """Connect now rather than with the first request."""
        self.timeout = timeout
        kept = self.make_connection(self._endpoint.address)
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
        endpoint: the host.
        user, password: of the pool.
        calls: how often each method was called, by name; logins and re-logins as `session.login_with_password`.
        tally: of the pool's sessions.
    """

    def __init__(self, endpoint: Endpoint, user: str, password: SecretStr, calls: Counter[str], tally: Tally) -> None:
        self.endpoint = endpoint
        self._transport = _Transport(endpoint)
        self._calls = calls
        self._tally = tally
        self._secret = (user, password)
        self._timeout = SLOW_SECONDS
        self._doubtful = False
        self._logins = 0
        # allow_none stays off: XAPI knows no nil.
        self._sdk: Any = _sdk(endpoint.url, self._transport, self._note_login)

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
        """Log out (class session, logout), if the host can still be told so."""
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
            _log.info("xenserver host %s: logged in again", self.endpoint.name)


def _sdk(url: str, transport: _Transport, note_login: Any) -> Any:  # noqa: ANN401  # the SDK has no types
    """Make the SDK's session; it logs in again by itself when XAPI says SESSION_INVALID, which is counted."""

    class Counted(SdkSession):
        @override
        def _login(self, method: str, params: tuple[str, ...]) -> None:
            note_login()
            super()._login(method, params)  # type: ignore[no-untyped-call]

    return Counted(url, transport=transport, allow_none=False)  # type: ignore[no-untyped-call]
