"""The transfer of images by XAPI's HTTP handlers `/import_raw_vdi` and `/export_raw_vdi`, over verified connections.

The import answers 200 before it reads the body, and 200 says nothing: reading back does, and a task, which costs three
calls more and knows why it failed. So the first try goes without one. The answer is read before the body is sent, since
a host that does not have the SR answers with a redirect, which is followed over a new, verified connection to a host of
the inventory. Chunked encoding is refused by XAPI: the length is always sent. (Document: "XenServer software
development kit guide", import and export of VDIs in raw format.)
"""

from __future__ import annotations

import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, parse_headers
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, TransientCode, TransientError
from workers.hypervisors.xenserver.faults import translated

if TYPE_CHECKING:
    import ssl
    from io import BufferedReader

    from workers.hypervisors.xenserver.api import Xapi
    from workers.hypervisors.xenserver.records import Ref
    from workers.hypervisors.xenserver.tls import XapiServer

BYTES_PER_SECOND: Final = 1024 * 1024
"""The slowest borrowed on which a transfer is still waited for."""

_REDIRECTS: Final = 3
_LINE: Final = 65_536
_CHUNK: Final = 1024 * 1024
_PAUSES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SETTLE_SECONDS: Final = 2.0
"""How long a task may take to end after its connection broke: one that never began stays pending for ever."""


class UnexpectedAnswerError(TransientError):
    """The handler answered otherwise than with 200."""


class _Exchange:
    """One HTTP request whose answer's head was read; a body may be sent or read."""

    def __init__(self, server: XapiServer, request: str, length: int | None, until: float) -> None:
        self._until = until
        self._socket: ssl.SSLSocket = server.connect(_left(until))
        self._file: BufferedReader = self._socket.makefile("rb")
        try:
            lines = [f"{request} HTTP/1.1", f"Host: {server.address}", "Connection: close"]
            lines += [] if length is None else [f"Content-Length: {length}"]
            self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
            self.status = _status(self._file.readline(_LINE))
            self.headers: HTTPMessage = parse_headers(self._file)
        except BaseException:
            self.close()
            raise

    def send(self, content: bytes) -> None:
        """Send the body, then wait until the host closes: it has written all then."""
        for begin in range(0, len(content), _CHUNK):
            self._socket.settimeout(_left(self._until))
            self._socket.sendall(content[begin : begin + _CHUNK])
        self._socket.settimeout(_left(self._until))
        with suppress(ConnectionError):
            self._file.read(_LINE)

    def receive(self, most: int) -> bytes:
        """Read the body up to so many bytes."""
        chunks: list[bytes] = []
        while most > 0:
            self._socket.settimeout(_left(self._until))
            chunk = self._file.read1(min(most, _CHUNK))
            if not chunk:
                break
            chunks.append(chunk)
            most -= len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


def write(xapi: Xapi, vdi: Ref, content: bytes) -> bool:
    """Write an image into a VDI of just its size; answers whether it reads back as it was written.

    Raises:
        FleetError: `TASK_TIMEOUT`, `STORAGE_UNAVAILABLE`, `STORAGE_FULL`, `HOST_UNREACHABLE`.
    """
    until = _deadline(xapi, len(content))
    with suppress(TransientError):
        _send(xapi, vdi, content, until)
        if fetch(xapi, vdi, len(content)) == content:
            return True
    _send_watched(xapi, vdi, content, until)
    return fetch(xapi, vdi, len(content)) == content


def _send_watched(xapi: Xapi, vdi: Ref, content: bytes, until: float) -> None:
    task = xapi.create_task("import of a config drive")
    try:
        broken: BaseException | None = None
        try:
            _send(xapi, vdi, content, until, task_id=task)
        except UnexpectedAnswerError:
            raise
        except FleetError as error:
            broken = error
        _await(xapi, task, min(until, time.monotonic() + _SETTLE_SECONDS) if broken else until, broken)
    finally:
        with suppress(Failure, OSError, HTTPException, FleetError):
            xapi.destroy_task(task)


def _send(xapi: Xapi, vdi: Ref, content: bytes, until: float, **query: Ref) -> None:
    with translated("import of an image"):
        exchange = _open(xapi, "PUT /import_raw_vdi", {"vdi": vdi, **query}, until, len(content))
        try:
            exchange.send(content)
        finally:
            exchange.close()


def fetch(xapi: Xapi, vdi: Ref, size: int) -> bytes:
    """Read an image of that size; answers one byte more when it is longer.

    Raises:
        FleetError: `HOST_UNREACHABLE`, `HYPERVISOR_ERROR`.
    """
    with translated("export of an image"):
        exchange = _open(xapi, "GET /export_raw_vdi", {"vdi": vdi}, _deadline(xapi, size))
        try:
            return exchange.receive(size + 1)
        finally:
            exchange.close()


def _open(xapi: Xapi, handler: str, query: dict[str, Ref], until: float, length: int | None = None) -> _Exchange:
    session = xapi.borrowed.session
    method, _, path = handler.partition(" ")
    query = {"session_id": session.reference, "format": "raw", **query}
    server, target = session.server, f"{path}?{urlencode(query)}"
    for _ in range(_REDIRECTS + 1):
        exchange = _Exchange(server, f"{method} {target}", length, until)
        if exchange.status == HTTPStatus.OK:
            return exchange
        exchange.close()
        if exchange.status not in {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT}:
            detail = f"host {server.name} answered {exchange.status} to {path}"
            raise UnexpectedAnswerError(TransientCode.HYPERVISOR_ERROR, detail, "see /var/log/xensource.log there")
        there = urlsplit(exchange.headers.get("Location", ""))
        server = xapi.borrowed.server_at(there.netloc)
        target = f"{there.path}?{there.query}"
    detail = f"the pool's hosts send {path} to one another"
    raise UnexpectedAnswerError(TransientCode.HYPERVISOR_ERROR, detail, "see `xe pbd-list`")


def _await(xapi: Xapi, task: Ref, until: float, broken: BaseException | None) -> None:
    """Wait for the task to end; what broke the connection is raised when the task knows nothing of it."""
    pauses = iter(_PAUSES)
    while True:
        record = xapi.task(task)
        status = "gone" if record is None else record.status
        if status == "success":
            return
        if record is not None and status == "failure" and record.error_info:
            failure = Failure(list(record.error_info))  # type: ignore[no-untyped-call]
            with translated("import of an image"):
                raise failure
        if status not in {"pending", "cancelling"} or time.monotonic() > until:
            break
        time.sleep(next(pauses, _PAUSES[-1]))
    with suppress(Failure, OSError, HTTPException, FleetError):
        xapi.cancel_task(task)
    if broken is not None:
        raise broken
    detail = f"the import of an image has not ended in time (its task is {status})"
    raise TransientError(TransientCode.TASK_TIMEOUT, detail, "see `xe task-list`")


def _deadline(xapi: Xapi, size: int) -> float:
    return time.monotonic() + xapi.borrowed.timeout + size / BYTES_PER_SECOND


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the transfer has taken too long")
    return left


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise ConnectionError("no HTTP answer")
    return int(code)
