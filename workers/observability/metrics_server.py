"""The server that Prometheus asks: `GET /metrics` on one port of a worker, the storage sweeper or an adapter."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from typing_extensions import override

from configdrive import __version__
from configdrive.client.connection import connect_redis
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HypervisorName
from workers.config.settings import Settings
from workers.observability.metrics import AnswerMetrics, NoticeMetrics, WorkMetrics
from workers.observability.metrics_files import MetricFiles
from workers.observability.metrics_fleet import FleetCollector
from workers.store.inspection import Inspection
from workers.store.mailbox import MailboxOptions

_log = logging.getLogger(__name__)

_CLIENT_SECONDS = 10.0
"""How long somebody who has connected may take for all, to ask and to take the answer."""

_CLIENTS = 16
"""So many may be connected at once; more are turned away."""


class MetricsEndpoint:
    """Answers `GET /metrics` from a registry, as OpenMetrics or in Prometheus' older format, as the asker prefers.

    It is bound when it is made, so that a mistake shows at once; it answers from `start` on. A child that is forked
    later closes its copy of the socket: it must not hold the port when its main process is no more.

    Raises:
        PermanentError: `MISCONFIGURED`; the port is taken, or the address is not of this machine.
    """

    def __init__(self, address: str, port: int, registry: Collector) -> None:
        self._owner = os.getpid()
        self._server = _bound(address, port, _handler(registry))
        self.port: int = self._server.server_address[1]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}/metrics"
        self._serving = False
        os.register_at_fork(after_in_child=self._server.socket.close)

    def start(self) -> None:
        """Begin to answer. Called after the pool was forked: a thread is not forked with its process."""
        if not self._serving:
            self._serving = True
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
            _log.info("metrics at %s", self.url)

    def close(self) -> None:
        """Answer no more. In a forked child nothing happens."""
        if os.getpid() == self._owner:
            if self._serving:
                self._server.shutdown()
            self._server.server_close()


class _Metrics:
    """A registry, what answers here, and the address of both.

    Raises:
        PermanentError: as `MetricsEndpoint`.
    """

    def __init__(self, settings: Settings, hypervisor: str = "") -> None:
        self._registry = CollectorRegistry()
        self._endpoint = MetricsEndpoint(settings.metrics_address, settings.metrics_port or 0, self._registry)
        self._registry.register(_About(hypervisor))

    def _add_fleet(self, settings: Settings, served: Collection[str]) -> None:
        inspection = Inspection(connect_redis(settings, patient=False), MailboxOptions.of(settings))
        self._registry.register(FleetCollector(inspection, served))

    def start(self) -> None:
        """Begin to answer."""
        self._endpoint.start()

    def close(self) -> None:
        """Answer no more, and leave nothing behind."""
        self._endpoint.close()


class WorkerMetrics(_Metrics):
    """A worker's metrics: what all its processes count, and the fleet's numbers from Redis.

    Made in the main process before its pool is forked.
    """

    def __init__(self, settings: Settings, hypervisor: HypervisorName, served: Collection[str]) -> None:
        super().__init__(settings, hypervisor)
        self._files = MetricFiles()
        self.watcher = WorkMetrics([hypervisor])
        self._files.collect_into(self._registry)
        self._add_fleet(settings, served)

    @override
    def close(self) -> None:
        super().close()
        self._files.close()


class SweeperMetrics(_Metrics):
    """The storage sweeper's metrics, and the fleet's numbers: where no worker runs, somebody must say what waits."""

    def __init__(self, settings: Settings, served: Collection[str]) -> None:
        super().__init__(settings)
        # They double the counters, to say when this process began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._add_fleet(settings, served)
        self.start()


class AdapterMetrics(_Metrics):
    """The metrics of an adapter for CloudStack. None of the fleet's: its Redis user may not count what waits."""

    def __init__(self, settings: Settings, entry_point: str, results: Collection[str]) -> None:
        super().__init__(settings)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as the sweeper's
        self.notices = NoticeMetrics(entry_point, results, self._registry)
        self.start()


class GateMetrics(_Metrics):
    """The metrics of a gate for CloudStack's hosts; as an adapter's, none of the fleet's."""

    def __init__(self, settings: Settings, verdicts: Collection[str]) -> None:
        super().__init__(settings)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as the sweeper's
        self.answers = AnswerMetrics(verdicts, self._registry)
        self.start()


class _About(Collector):
    """What answers here."""

    def __init__(self, hypervisor: str) -> None:
        self._facts = {"version": __version__, "hypervisor": hypervisor}

    @override
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("configdrive", "What answers here", value=self._facts)


def _bound(address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        family, *_, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]

        class Server(ThreadingHTTPServer):
            address_family: int = family
            daemon_threads = True
            free = threading.BoundedSemaphore(_CLIENTS)

            @override
            def process_request(self, request: Any, client_address: Any) -> None:
                if self.free.acquire(blocking=False):
                    super().process_request(request, client_address)
                else:
                    self.shutdown_request(request)

            @override
            def process_request_thread(self, request: Any, client_address: Any) -> None:
                cut = threading.Timer(_CLIENT_SECONDS, _cut, (request,))
                cut.daemon = True
                cut.start()
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    cut.cancel()
                    self.free.release()

            @override
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Who goes in the middle of it is of no interest."""

        return Server((str(place[0]), port), handler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another process" if taken else f"cannot be listened on ({error.strerror})"
    detail = f"metrics_port: {address} port {port} {reason}"
    remedy = "give each worker of a machine a port of its own: --metrics-port, or CONFIGDRIVE_METRICS_PORT"
    raise PermanentError(
        PermanentCode.MISCONFIGURED, detail, remedy if taken else "correct metrics_address or metrics_port"
    )


def _cut(client: socket.socket) -> None:
    """End a connection, whatever its thread waits for."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _handler(registry: Collector) -> type[BaseHTTPRequestHandler]:
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        """Answers one question."""

        timeout: ClassVar[float | None] = _CLIENT_SECONDS
        server_version = "configdrive"
        sys_version = ""

        def do_GET(self) -> None:
            if urlsplit(self.path).path != "/metrics":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            with one_at_a_time:
                body = encode(registry)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Who asks, and how often, is of no interest."""

    return Handler
