"""Spans, kept in memory instead of being sent."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import StepRecord
from tasks.mailbox import Retry
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, TRACEPARENT, claim, finish, park

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from workers.observability.tracing import TracingObserver


class Traced:
    """A watcher, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.watcher = TracingObserver(provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def traced() -> Traced:
    return Traced()


def step(name: str, error: str | None = None) -> StepRecord:
    return StepRecord(name, "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 0.25, error)


def test_steps_lie_below_their_attempt_and_that_below_the_publisher_s_span(traced: Traced) -> None:
    traced.watcher.attempt_started(claim(traceparent=TRACEPARENT, attempt=2))
    traced.watcher.step(step("build"))
    traced.watcher.step(step("upload"))
    traced.watcher.attempt_ended(claim(traceparent=TRACEPARENT), finish(), 1.0)
    attempt, build, upload = (traced.spans[name] for name in ("configdrive start", "build", "upload"))

    assert attempt.parent is not None
    assert f"{attempt.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert {f"{span.context.trace_id:032x}" for span in traced.spans.values() if span.context} == {
        TRACEPARENT.split("-")[1]
    }
    for child in (build, upload):
        assert child.parent is not None
        assert attempt.context is not None
        assert child.parent.span_id == attempt.context.span_id
        assert child.start_time is not None
        assert child.end_time is not None
        assert child.end_time - child.start_time == 250_000_000
    assert (attempt.kind, build.kind, upload.kind) == (SpanKind.CONSUMER, SpanKind.INTERNAL, SpanKind.CLIENT)
    assert attempt.attributes is not None
    assert dict(attempt.attributes) == {
        "configdrive.event.id": "event-1",
        "configdrive.event.type": "start",
        "configdrive.event.sequence": 7,
        "configdrive.vm.uuid": UUID,
        "configdrive.hypervisor": "kvm",
        "configdrive.attempt": 2,
        "configdrive.end": "applied",
        "messaging.system": "celery",
        "messaging.destination.name": "configdrive.kvm",
    }


@pytest.mark.parametrize("traceparent", [None, "nonsense", "00-0-0-00"])
def test_without_a_readable_parent_an_attempt_begins_a_trace(traced: Traced, traceparent: str | None) -> None:
    traced.watcher.attempt_started(claim(traceparent=traceparent))
    traced.watcher.attempt_ended(claim(), finish(), 1.0)
    assert traced.spans["configdrive start"].parent is None


def test_what_failed_is_marked_with_its_code_only(traced: Traced) -> None:
    traced.watcher.attempt_started(claim())
    traced.watcher.step(step("attach", "drive_locked"))
    traced.watcher.attempt_ended(claim(), Retry(2.0, "drive_locked"), 1.0)
    for name in ("attach", "configdrive start"):
        span = traced.spans[name]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "drive_locked"
        assert span.events == ()
        assert SECRET not in span.to_json()


@pytest.mark.parametrize(("ending", "failed"), [(finish(), False), (park("access_denied"), True), (None, True)])
def test_an_attempt_is_an_error_when_somebody_has_to_look(traced: Traced, ending: object, *, failed: bool) -> None:
    traced.watcher.attempt_started(claim())
    traced.watcher.attempt_ended(claim(), ending, 1.0)  # type: ignore[arg-type]  # an `Ending`, whose name is no class
    assert (traced.spans["configdrive start"].status.status_code is StatusCode.ERROR) is failed


def test_a_step_or_an_end_outside_of_an_attempt_makes_no_span(traced: Traced) -> None:
    traced.watcher.step(step("observe"))
    traced.watcher.attempt_ended(claim(), finish(), 1.0)
    traced.watcher.leftover_removed("configdrive.kvm")
    assert traced.spans == {}
