"""A client of the XenAPI that hides nothing: one call, one answer."""

from __future__ import annotations

import http.client
import ssl
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from rigs.xapi import XapiError

RESET = ("ConnectionResetError", "[Errno 104] Connection reset by peer")
"""What comes of a transfer whose connection was broken."""


class Client:
    """Talks to one host.

    Args:
        url: of the host.
        ca: the authority to trust.
        session: to use, else one is opened with `login`.
    """

    def __init__(self, url: str, ca: Path, session: str = "") -> None:
        self._context = ssl.create_default_context(cafile=str(ca))
        self._proxy = xmlrpc.client.ServerProxy(url, context=self._context)
        self._address, _, port = url.removeprefix("https://").partition(":")
        self._port = int(port)
        self.session = session

    def raw(self, method: str, *arguments: object) -> dict[str, Any]:
        """The whole answer."""
        answer = getattr(self._proxy, method)(*arguments)
        assert isinstance(answer, dict)
        return answer

    def bare(self, method: str, *arguments: object) -> Any:  # noqa: ANN401  # the API has all types
        """Send a message that takes no session.

        Raises:
            XapiError: the answer is a failure.
        """
        answer = self.raw(method, *arguments)
        if answer["Status"] != "Success":
            raise XapiError(*answer["ErrorDescription"])
        return answer["Value"]

    def login(self, user: str, password: str) -> str:
        """Open a session and keep it."""
        self.session = self.bare("session.login_with_password", user, password, "1.0", "rig")
        return self.session

    def __call__(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """Send a message with the session.

        Raises:
            XapiError: the answer is a failure.
        """
        return self.bare(method, self.session, *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy("close")()

    def transport(self) -> xmlrpc.client.SafeTransport:
        """What the client library of the XenAPI has to be given so that it trusts the same authority."""
        return xmlrpc.client.SafeTransport(context=self._context)

    def connect(self) -> http.client.HTTPSConnection:
        """A connection for a transfer."""
        return http.client.HTTPSConnection(self._address, self._port, context=self._context, timeout=600)

    @contextmanager
    def ask(self, target: str, length: int) -> Iterator[ssl.SSLSocket]:
        """Send the head of an import and read that of the answer; the body can be sent into the socket then."""
        connection = self.connect()
        connection.putrequest("PUT", target)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        socket = connection.sock
        assert isinstance(socket, ssl.SSLSocket)
        with connection.getresponse():
            yield socket
        connection.close()

    def put(self, content: bytes, *, task: str | None = None, vdi: str, **changes: str | None) -> tuple[object, ...]:
        """Import with the whole body sent before the answer is read, as most clients do it.

        Args:
            content: the body.
            task: that has the truth.
            vdi: reference or uuid.
            changes: other parameters of the query, `None` to leave one out; `te` for a transfer encoding.
        """
        query = {"session_id": self.session, "vdi": vdi, "format": "raw", "task_id": task, **changes}
        encoding = query.pop("te", None)
        path = "/import_raw_vdi?" + "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        connection = self.connect()
        answer: tuple[object, ...] = RESET
        with suppress(OSError):
            connection.request("PUT", path, iter([content]) if encoding else content, encode_chunked=bool(encoding))
            response = connection.getresponse()
            answer = (response.status, response.reason, dict(response.getheaders()), response.read())
        connection.close()
        return (*answer, *self.state(task))

    def state(self, task: str | None) -> tuple[object, ...]:
        """What a task says now: XAPI ends one before the connection."""
        if task is None:
            return ()
        record = self("task.get_record", task)
        return ("task", record["status"], record["error_info"], record["progress"], record["result"])
