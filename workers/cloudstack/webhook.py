"""The entry point for CloudStack's webhooks: an HTTP server that takes a payload only with the right signature.

CloudStack posts the action events of an account, a domain or the whole cloud, signed with the webhook's secret key:
`X-CS-Signature` is the base64 of the HMAC-SHA256 of the body. Only 200 counts for it; it tries three times, each up to
ten seconds, and never again. State events and jobs come by its bus only.

| answer | when                                                                                      |
|--------|-------------------------------------------------------------------------------------------|
| 200    | what the notice leads to is stored, or it leads to nothing, or it is a dead letter        |
| 400    | it is no JSON object; it is a dead letter                                                 |
| 401    | the signature is missing or wrong; nothing else was looked at                             |
| 413    | it is larger than any payload of CloudStack's                                             |
| 503    | Redis or CloudStack's API is away, or refuses us: it must come again                      |

`GET /health` answers 200. No answer says more than its word.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, Finish, RequestHandler, stream_request_body
from typing_extensions import override

from workers.cloudstack.adapter import Adapter, Taken
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES
from workers.cloudstack.retrying import COMES_AGAIN, Life, take, word_of

_log: Final = logging.getLogger("configdrive.cloudstack.webhook")
_THREADS: Final = 8
_IDLE_SECONDS: Final = 30
_BODY_SECONDS: Final = 10
_GRACE_SECONDS: Final = 15
_LOOK_SECONDS: Final = 5


def signature(body: bytes, secret: str) -> str:
    """Return what CloudStack puts into `X-CS-Signature`."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def is_signed(body: bytes, secret: str, given: str) -> bool:
    """Compare in constant time; a signature that is no base64 is wrong as well."""
    try:
        claimed = base64.b64decode(given.encode("ascii"), validate=True)
    except ValueError:
        claimed = b""
    return hmac.compare_digest(claimed, hmac.new(secret.encode(), body, hashlib.sha256).digest())


def serve(  # noqa: PLR0913 - all by name
    adapter: Adapter,
    *,
    secret: str,
    address: str,
    port: int,
    certificate: tuple[Path, Path] | None,
    life: Life,
) -> None:
    """Serve until asked to end; what is in work then is finished.

    Raises:
        OSError: the address is taken, or the certificate cannot be read.
    """
    asyncio.run(_serve(adapter, secret, address, port, _tls(certificate), life))


async def _serve(  # noqa: PLR0913, PLR0917 - as `serve`
    adapter: Adapter,
    secret: str,
    address: str,
    port: int,
    context: ssl.SSLContext | None,
    life: Life,
) -> None:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook") as threads:
        own = {"adapter": adapter, "secret": secret, "threads": threads}
        application = Application(
            [("/", _Hook, own), ("/health", _Health)], default_handler_class=_Elsewhere, log_function=_quiet
        )
        server = HTTPServer(
            application,
            ssl_options=context,
            idle_connection_timeout=_IDLE_SECONDS,
            body_timeout=_BODY_SECONDS,
            max_header_size=16 * 1024,
        )
        sockets = bind_sockets(port, address)
        server.add_sockets(sockets)
        _log.info("listening on %s port %d", address, sockets[0].getsockname()[1])
        while life.goes_on():
            await asyncio.get_running_loop().run_in_executor(None, life.pause, _LOOK_SECONDS)
        server.stop()
        await asyncio.wait_for(server.close_all_connections(), _GRACE_SECONDS)


class _Plain(RequestHandler):
    """Answers one line of text, whatever happens; an error's text stays inside."""

    @override
    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "text/plain; charset=utf-8")

    @override
    def write_error(self, status_code: int, **_named: Any) -> None:
        self.write(f"{HTTPStatus(status_code).phrase}\n")
        _ = self.finish()

    def answer(self, status: HTTPStatus) -> None:
        """Answer, and be done with the call."""
        self.set_status(status)
        self.write(f"{status.phrase}\n")
        raise Finish


@stream_request_body
class _Hook(_Plain):
    """One call. The body is taken in piecewise, so that one that is too large is refused before it is there."""

    @override
    def initialize(self, adapter: Adapter, secret: str, threads: ThreadPoolExecutor) -> None:
        self._adapter = adapter
        self._secret = secret
        self._threads = threads
        self._body = bytearray()

    @override
    def prepare(self) -> None:
        length = self.request.headers.get("Content-Length", "0")
        if self.request.method == "POST" and int(length) > MAX_PAYLOAD_BYTES:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    @override
    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= MAX_PAYLOAD_BYTES:
            self._body += chunk

    @override
    async def post(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        body = bytes(self._body)
        if len(body) > MAX_PAYLOAD_BYTES:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not is_signed(body, self._secret, self.request.headers.get("X-CS-Signature", "")):
            _log.warning("a call from %s has no right signature", self.request.remote_ip)
            self.answer(HTTPStatus.UNAUTHORIZED)
        taken = await asyncio.get_running_loop().run_in_executor(self._threads, self._take, body)
        if taken is None:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE)
        elif taken.unreadable:
            self.answer(HTTPStatus.BAD_REQUEST)
        self.answer(HTTPStatus.OK)

    def _take(self, body: bytes) -> Taken | None:
        try:
            return take(self._adapter, body, event_id=self.request.headers.get("X-CS-Event-ID"))
        except COMES_AGAIN as error:
            _log.warning("not taken, it must come again: %s", word_of(error))
            return None


class _Health(_Plain):
    """For probes."""

    @override
    def get(self) -> None:  # type: ignore[mutable-override]  # as `post`
        self.answer(HTTPStatus.OK)


class _Elsewhere(_Plain):
    """No other page is here."""

    @override
    def prepare(self) -> None:
        self.answer(HTTPStatus.NOT_FOUND)


def _tls(certificate: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


def _quiet(_handler: RequestHandler) -> None:
    """Tornado logs addresses and paths of every call; the adapter says what became of a payload."""
