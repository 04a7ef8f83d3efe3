"""Spans: one for each attempt at an event, below the span that the publisher named (`traceparent`), and one per step.

A span says what a log line says: event, VM, attempt, outcome, codes, durations. Nothing of a drive's content, and no
text of an exception, ever reaches one.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final

from celery import signals
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from configdrive import __version__
from configdrive.contract.outcome import Status as OutcomeStatus
from configdrive.ports import StepRecord
from tasks.mailbox import Claim, Ending
from workers.observability.observers import WorkObserver, hypervisor_of, what_became

_EXPORT_SECONDS = 3.0
"""How long a collector may take: so long the end of a process waits for one that is away."""

_FAILED: Final = frozenset({"lost", "retry", str(OutcomeStatus.PARKED), str(OutcomeStatus.REJECTED)})

_span: ContextVar[Span | None] = ContextVar("span of the attempt in work", default=None)


def make_provider(url: str) -> TracerProvider:
    """Return what sends spans to a collector, from a thread of its own; what is left goes when this process ends.

    Made in the process that works: a thread is not forked with its process.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": "configdrive-worker", "service.version": __version__})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_EXPORT_SECONDS)))

    def flush(**_named: object) -> None:
        provider.shutdown()

    # A child of the pool ends without Python's own handlers of an exit.
    signals.worker_process_shutdown.connect(flush, weak=False)
    return provider


class TracingObserver(WorkObserver):
    """Makes the spans."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("configdrive", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @override
    def attempt_started(self, claim: Claim) -> None:
        header = claim.header
        carrier = {} if header.traceparent is None else {"traceparent": header.traceparent}
        _span.set(
            self._tracer.start_span(
                f"configdrive {header.event_type}",
                context=self._propagator.extract(carrier),
                kind=SpanKind.CONSUMER,
                attributes={
                    "configdrive.event.id": header.event_id,
                    "configdrive.event.type": header.event_type,
                    "configdrive.event.sequence": header.sequence,
                    "configdrive.vm.uuid": header.vm_uuid,
                    "configdrive.hypervisor": hypervisor_of(header.queue),
                    "configdrive.attempt": claim.attempt,
                    "messaging.system": "celery",
                    "messaging.destination.name": header.queue,
                },
            )
        )

    @override
    def step(self, record: StepRecord) -> None:
        parent = _span.get()
        if parent is None:
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            record.step,
            context=trace.set_span_in_context(parent),
            kind=SpanKind.INTERNAL if record.step == "build" else SpanKind.CLIENT,
            start_time=ended - round(record.seconds * 1e9),
            attributes={"configdrive.hypervisor": record.hypervisor},
        )
        if record.error:
            span.set_attribute("error.type", record.error)
            span.set_status(Status(StatusCode.ERROR, record.error))
        span.end(ended)

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        span = _span.get()
        if span is None:
            return
        _span.set(None)
        end, code = what_became(ending)
        span.set_attribute("configdrive.end", end)
        if code:
            span.set_attribute("configdrive.code", code)
        if end in _FAILED:
            span.set_status(Status(StatusCode.ERROR, code or end))
        span.end()

    @override
    def leftover_removed(self, queue: str) -> None:
        """No event, no span."""
