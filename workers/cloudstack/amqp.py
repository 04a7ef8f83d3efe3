"""The entry point for CloudStack's event bus on RabbitMQ: a queue of ours on its exchange, acknowledged when stored.

CloudStack publishes on a durable topic exchange with the key `source.category.type.resourceType.uuid`, dots inside a
part as hyphens. The queue is durable: what is published while no adapter runs waits. One message at a time, so the
order stays; several adapters on one queue may mix it, which does no harm (`decide`).
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, Final

from kombu import Connection, Consumer, Exchange, Queue, binding
from kombu.message import Message

from configdrive.errors import PermanentCode, PermanentError
from workers.cloudstack.adapter import Adapter
from workers.cloudstack.retrying import Life, patiently, take

_log: Final = logging.getLogger("configdrive.cloudstack.amqp")
_CONNECT_SECONDS: Final = 5.0
_HEARTBEAT: Final = 60
_LOOK_SECONDS: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_REFUSED: Final = (403, 404, 406)

KEYS: Final = ("*.*.*.VirtualMachine.#", "*.AsyncJobEvent.*.unknown.#")
"""Everything about VMs, and jobs of which CloudStack does not say what they are about."""


def connection_to(url: str, ca_file: Path | None, *, seconds: float = _CONNECT_SECONDS) -> Connection:
    """Return a connection to RabbitMQ that is not open yet; under `amqps` the server has to show who it is.

    Args:
        url: with the login.
        ca_file: the authority of its certificate; the system's otherwise.
        seconds: time limit of connecting.

    Raises:
        PermanentError: `MISCONFIGURED`: the authority's file cannot be read.
    """
    options: dict[str, Any] = {"login_method": "PLAIN"}
    if url.startswith("amqps://"):
        try:
            ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            detail = f"cloudstack.amqp_ca_file: {ca_file} cannot be read ({type(error).__name__})"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct its path; it is a PEM file") from None
        options["ssl"] = {
            "cert_reqs": ssl.CERT_REQUIRED,
            "ca_certs": None if ca_file is None else str(ca_file),
            "server_hostname": Connection(url).hostname,
        }
    return Connection(url, connect_timeout=seconds, heartbeat=_HEARTBEAT, **options)


def distrust(error: BaseException) -> str | None:
    """Say what is wrong with RabbitMQ's certificate, if that is the error, with the remedy."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return f"its certificate is not trusted: {error.verify_message}; set cloudstack.amqp_ca_file, or correct amqp_url"


class AmqpConsumer:
    """Takes messages from the queue, one after the other.

    Args:
        adapter: what takes them.
        url: RabbitMQ's, with the login.
        exchange: CloudStack's.
        queue: ours.
        ca_file: the authority of its certificate; the system's otherwise.
    """

    def __init__(self, adapter: Adapter, url: str, *, exchange: str, queue: str, ca_file: Path | None = None) -> None:
        self._adapter = adapter
        self._url = url
        topic = Exchange(exchange, type="topic", durable=True)
        self._queue = Queue(queue, bindings=[binding(topic, routing_key=key) for key in KEYS], durable=True)
        self._ca_file = ca_file

    def run(self, life: Life) -> None:
        """Take messages until asked to end; a RabbitMQ that is away is waited for.

        Raises:
            PermanentError: `ACCESS_DENIED`, when RabbitMQ refuses the login or the queue; as `Adapter.take`, and
            `connection_to`.
        """
        pause = _FIRST_PAUSE
        while life.goes_on():
            with connection_to(self._url, self._ca_file) as connection:
                try:
                    self._consume(connection, life)
                    pause = _FIRST_PAUSE
                except (*connection.connection_errors, *connection.channel_errors) as error:
                    self._refuse_refusals(error)
                    _log.warning("RabbitMQ is away, again in %g s: %s", pause, distrust(error) or type(error).__name__)
            life.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _consume(self, connection: Connection, life: Life) -> None:
        connection.connect()
        channel = connection.channel()
        with Consumer(channel, [self._queue], on_message=lambda message: self._take(message, life), prefetch_count=1):
            _log.info("listening on queue %s", self._queue.name)
            while life.goes_on():
                try:
                    connection.drain_events(timeout=_LOOK_SECONDS)
                except TimeoutError:
                    connection.heartbeat_check()

    def _take(self, message: Message, life: Life) -> None:
        raw: Any = message.body  # text, where its sender named a charset
        body = raw.encode() if isinstance(raw, str) else bytes(raw)
        key = str(message.delivery_info.get("routing_key", ""))
        taken = patiently(lambda: take(self._adapter, body, routing_key=key), life)
        if taken is None:
            message.requeue()
        else:
            message.ack()

    def _refuse_refusals(self, error: BaseException) -> None:
        code = getattr(error, "reply_code", None)
        if code not in _REFUSED:
            return
        detail = f"RabbitMQ refuses the login, or the queue {self._queue.name} ({code})"
        remedy = (
            "correct cloudstack.amqp_url; the user needs configure, write and read on the queue, read on the exchange"
        )
        raise PermanentError(PermanentCode.ACCESS_DENIED, detail, remedy)
