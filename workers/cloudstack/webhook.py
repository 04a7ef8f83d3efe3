"""The entry point for CloudStack's webhooks: an HTTP server that takes a payload only with the right signature.

CloudStack posts the action events of an account, a domain or the whole cloud, signed with the webhook's secret key:
`X-CS-Signature` is the base64 of the HMAC-SHA256 of the body. Only 200 counts for it; it tries three times, each up to
ten seconds, without a pause between (`WebhookDeliveryThread.java`), and never again. So a call is kept waiting while
something is away: a 503 at once would use up all three tries in an instant. State events and jobs come by its bus only.

| answer | when                                                                                      |
|--------|-------------------------------------------------------------------------------------------|
| 200    | what the notice leads to is stored, or it leads to nothing, or it is a dead letter        |
| 400    | it is no JSON object; it is a dead letter                                                 |
| 401    | the signature is missing or wrong; nothing else was looked at                             |
| 413    | it is larger than any payload of CloudStack's                                             |
| 503    | Redis or CloudStack's API is away for so long, or refuses us: it must come again          |

`GET /health` answers 200. No answer says more than its word.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Final

from typing_extensions import override

from workers.cloudstack import http_server
from workers.cloudstack.adapter import Adapter, Taken
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES
from workers.cloudstack.retrying import COMES_AGAIN, PASSES, Life, take, word_of

_log: Final = logging.getLogger("configdrive.cloudstack.webhook")
_THREADS: Final = 16
_PAUSE: Final = 0.25
_GRACE_SECONDS: Final = 15


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
    patience_seconds: float,
) -> None:
    """Serve until asked to end; what is in work then is finished. What cannot be taken now is tried for so long.

    Raises:
        OSError: the address is taken.
        PermanentError: `MISCONFIGURED`: the certificate cannot be used.
    """
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook")
    http_server.serve(
        [("/", _Hook, {"adapter": adapter, "secret": secret, "threads": threads, "seconds": patience_seconds})],
        name=_log.name,
        address=address,
        port=port,
        certificate=certificate,
        life=life,
        threads=threads,
        grace_seconds=_GRACE_SECONDS,
    )


class _Hook(http_server.Posted):
    """One call."""

    most = MAX_PAYLOAD_BYTES

    @override
    def initialize(self, adapter: Adapter, secret: str, threads: ThreadPoolExecutor, seconds: float) -> None:
        self._adapter = adapter
        self._seconds = seconds
        self._secret = secret
        self._threads = threads

    @override
    async def post(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        body = self.body()
        if not is_signed(body, self._secret, self.request.headers.get("X-CS-Signature", "")):
            _log.warning("a call from %s has no right signature", self.request.remote_ip)
            self.answer(HTTPStatus.UNAUTHORIZED)
        taken = await self.in_thread(self._threads, self._take, body)
        if taken is None:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE)
        elif taken.unreadable:
            self.answer(HTTPStatus.BAD_REQUEST)
        self.answer(HTTPStatus.OK)

    def _take(self, body: bytes) -> Taken | None:
        until = time.monotonic() + self._seconds
        while True:
            try:
                return take(self._adapter, body, event_id=self.request.headers.get("X-CS-Event-ID"))
            except COMES_AGAIN as error:
                if not isinstance(error, PASSES) or time.monotonic() + _PAUSE > until:
                    _log.warning("not taken, it must come again: %s", word_of(error))
                    return None
            time.sleep(_PAUSE)
