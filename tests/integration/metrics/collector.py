"""A small OpenTelemetry collector: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import override

from rigs.process import LOOPBACK


@dataclass(frozen=True, slots=True)
class Seen:
    """One span as it arrived."""

    name: str
    trace: str
    id: str
    parent: str
    failed: str | None
    seconds: float
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Listens on a free loopback port; `raw` is all that it was sent."""

    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}/v1/traces"

    def take(self, body: bytes) -> None:
        """Read one request."""
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [_seen(span) for span in scope.spans]

    def __enter__(self) -> Self:
        """Start."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _seen(span: Any) -> Seen:  # noqa: ANN401 - protobuf makes the type at run time
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=(span.status.message or "yes") if span.status.code == 2 else None,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes={one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
    )
