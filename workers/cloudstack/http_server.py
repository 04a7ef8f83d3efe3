"""An HTTP server of tornado's that says little: plain answers, limits on what comes in, and an end in good order."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, Finish, RequestHandler, stream_request_body
from typing_extensions import override

from workers.cloudstack.certificates import serving
from workers.cloudstack.retrying import Life

_IDLE_SECONDS: Final = 30
_BODY_SECONDS: Final = 10
_LOOK_SECONDS: Final = 5

_Answer = TypeVar("_Answer")

Pages = Sequence[tuple[str, type[RequestHandler], dict[str, Any]]]
"""Paths, what answers there, and with what it is made."""


def serve(  # noqa: PLR0913 - all by name
    pages: Pages,
    *,
    name: str,
    address: str,
    port: int,
    certificate: tuple[Path, Path] | None,
    life: Life,
    threads: ThreadPoolExecutor,
    grace_seconds: float,
) -> None:
    """Serve until asked to end; what is in work then is finished, for so many seconds.

    Args:
        pages: what is served, beside `/health`.
        name: of the log.
        address: where it listens.
        port: its port; 0: any.
        certificate: files of the certificate and its key; `None`: plain HTTP.
        life: how long.
        threads: where the pages work; ended here.
        grace_seconds: as above.

    Raises:
        OSError: the address is taken.
        PermanentError: `MISCONFIGURED`: the certificate cannot be used.
    """
    with threads:
        asyncio.run(_serve(pages, logging.getLogger(name), address, port, serving(certificate), life, grace_seconds))


async def _serve(  # noqa: PLR0913, PLR0917 - as `serve`
    pages: Pages,
    log: logging.Logger,
    address: str,
    port: int,
    context: ssl.SSLContext | None,
    life: Life,
    grace_seconds: float,
) -> None:
    application = _Application(pages)
    server = HTTPServer(
        application,
        ssl_options=context,
        idle_connection_timeout=_IDLE_SECONDS,
        body_timeout=_BODY_SECONDS,
        max_header_size=16 * 1024,
    )
    try:
        sockets = bind_sockets(port, address)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{address}:{port}") from None
    server.add_sockets(sockets)
    log.info("listening on %s port %d", address, sockets[0].getsockname()[1])
    while life.goes_on():
        await asyncio.get_running_loop().run_in_executor(None, life.pause, _LOOK_SECONDS)
    server.stop()
    with suppress(TimeoutError):
        await asyncio.wait_for(application.idle.wait(), grace_seconds)
    with suppress(TimeoutError):  # it cuts all connections, also those that wait for their answers
        await asyncio.wait_for(server.close_all_connections(), _LOOK_SECONDS)


class _Application(Application):
    """Knows when no call is in work."""

    def __init__(self, pages: Pages) -> None:
        super().__init__([*pages, ("/health", Health)], default_handler_class=_Elsewhere, log_function=_quiet)
        self._in_work = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def count(self, change: int) -> None:
        """Count a call that begins, or has ended."""
        self._in_work += change
        if self._in_work:
            self.idle.clear()
        else:
            self.idle.set()


class Plain(RequestHandler):
    """Answers one line of text, whatever happens; an error's text stays inside."""

    @override
    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "text/plain; charset=utf-8")

    @override
    def write_error(self, status_code: int, **_named: Any) -> None:
        self.write(f"{HTTPStatus(status_code).phrase}\n")
        _ = self.finish()

    def answer(self, status: HTTPStatus) -> NoReturn:
        """Answer, and be done with the call."""
        self.set_status(status)
        self.write(f"{status.phrase}\n")
        raise Finish


@stream_request_body
class Posted(Plain):
    """A call with a body, which is taken in piecewise: one that is too large is refused before it is there."""

    most = 0
    """Bytes of a body."""

    _in_work = False

    async def in_thread(self, threads: ThreadPoolExecutor, work: Callable[..., _Answer], *arguments: object) -> _Answer:
        """Do the work of the call in a thread: it is answered, also when the server is told to end meanwhile."""
        self._count(1)
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    @override
    def on_finish(self) -> None:
        if self._in_work:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._in_work = change > 0
        if isinstance(self.application, _Application):
            self.application.count(change)

    @override
    def prepare(self) -> None:
        self._body = bytearray()
        length = self.request.headers.get("Content-Length", "0")
        if self.request.method == "POST" and int(length) > self.most:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    @override
    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= self.most:
            self._body += chunk

    def body(self) -> bytes:
        """Return it; a call whose body was too large is answered."""
        if len(self._body) > self.most:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return bytes(self._body)


class Health(Plain):
    """For probes."""

    @override
    def get(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        self.answer(HTTPStatus.OK)


class _Elsewhere(Plain):
    """No other page is here."""

    @override
    def prepare(self) -> None:
        self.answer(HTTPStatus.NOT_FOUND)


def _quiet(_handler: RequestHandler) -> None:
    """Tornado logs addresses and paths of every call; the adapter says what became of a payload."""
