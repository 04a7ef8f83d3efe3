"""What is counted, under which labels, and what a stranger's words are counted as."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from configdrive.contract.outcome import Status
from configdrive.errors import TransientCode
from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import Connections, StepRecord
from tasks.mailbox import Ending, Retry
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, claim, finish, park
from workers.observability.metrics import EVENTS, WorkMetrics

KVM = HypervisorName("kvm")


class Counted:
    """Metrics with a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = WorkMetrics([KVM], self.registry)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def step(name: str = "upload", error: str | None = None, hypervisor: str = "kvm") -> StepRecord:
    return StepRecord(name, "event-1", "start", VmUuid(UUID), HypervisorName(hypervisor), 0.02, error)


def test_an_attempt_is_in_work_until_it_ends(counted: Counted) -> None:
    counted.metrics.attempt_started(claim())
    assert counted("configdrive_attempts_total", hypervisor="kvm", event="start") == 1
    assert counted("configdrive_events_in_work", hypervisor="kvm") == 1
    counted.metrics.attempt_ended(claim(), finish(), 0.3)
    assert counted("configdrive_events_in_work", hypervisor="kvm") == 0
    assert counted("configdrive_attempt_seconds_count", hypervisor="kvm", event="start") == 1
    assert counted("configdrive_attempt_seconds_bucket", hypervisor="kvm", event="start", le="0.25") == 0
    assert counted("configdrive_attempt_seconds_bucket", hypervisor="kvm", event="start", le="0.5") == 1


@pytest.mark.parametrize(
    ("ending", "name", "labels"),
    [
        (finish(), "events", {"status": "applied", "code": ""}),
        (finish(Status.DROPPED, "superseded"), "events", {"status": "dropped", "code": "superseded"}),
        (park("access_denied"), "events", {"status": "parked", "code": "access_denied"}),
        (Retry(2.0, TransientCode.VM_BUSY), "retries", {"code": "vm_busy"}),
        (None, "attempts_lost", {}),
    ],
)
def test_each_end_is_counted_as_what_it_is(
    counted: Counted, ending: Ending | None, name: str, labels: dict[str, str]
) -> None:
    counted.metrics.attempt_started(claim())
    counted.metrics.attempt_ended(claim(), ending, 0.1)
    assert counted(f"configdrive_{name}_total", hypervisor="kvm", event="start", **labels) == 1
    ends = [
        sample.value
        for family in counted.registry.collect()
        if family.name in {"configdrive_events", "configdrive_retries", "configdrive_attempts_lost"}
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    assert sum(ends) == 1


def test_a_step_is_timed_its_failure_counted_by_its_code_and_what_hosts_gave_up_late_as_well(counted: Counted) -> None:
    counted.metrics.step(step())
    counted.metrics.step(step(error="storage_full"))
    counted.metrics.leftover_removed("configdrive.kvm.berlin-1")
    assert counted("configdrive_step_seconds_count", hypervisor="kvm", step="upload") == 2
    assert counted("configdrive_step_errors_total", hypervisor="kvm", step="upload", code="storage_full") == 1
    assert counted("configdrive_leftovers_collected_total", hypervisor="kvm") == 1


def test_counters_are_there_before_anything_happened(counted: Counted) -> None:
    for event in EVENTS:
        assert counted("configdrive_attempts_total", hypervisor="kvm", event=event) == 0
        assert counted("configdrive_events_total", hypervisor="kvm", event=event, status="parked", code="") == 0


def test_connections_are_reported_as_they_are_and_those_opened_again_are_added_up(counted: Counted) -> None:
    here = {"hypervisor": "kvm", "endpoint": "h1", "kind": "libvirt"}
    other = Connections("h2", "ssh", open=1, reopened=0)
    reported = []
    for kept, reopened in ((0, 0), (2, 0), (1, 3), (1, 3), (0, 4)):
        counted.metrics.connected(KVM, [Connections("h1", "libvirt", kept, reopened), other])
        reported.append([counted(f"configdrive_connections{name}", **here) for name in ("", "_reopened_total")])
    assert reported == [[0, 0], [2, 0], [1, 3], [1, 3], [0, 4]]
    assert counted("configdrive_connections", hypervisor="kvm", endpoint="h2", kind="ssh") == 1


def test_the_successor_of_a_process_that_died_has_no_connection_and_no_work_and_counts_on(counted: Counted) -> None:
    here = {"hypervisor": "kvm", "endpoint": "h1", "kind": "libvirt"}
    counted.metrics.connected(KVM, [Connections("h1", "libvirt", open=2, reopened=3)])
    counted.metrics.attempt_started(claim())
    counted.metrics.forget_work()
    assert counted("configdrive_connections", **here) == 0
    assert counted("configdrive_events_in_work", hypervisor="kvm") == 0
    counted.metrics.connected(KVM, [Connections("h1", "libvirt", open=2, reopened=1)])
    assert counted("configdrive_connections", **here) == 2
    assert counted("configdrive_connections_reopened_total", **here) == 4


@settings(max_examples=25)
@given(event=st.text(), queue=st.text(), code=st.text(min_size=1), word=st.text())
def test_a_stranger_s_words_become_no_labels(event: str, queue: str, code: str, word: str) -> None:
    """Whoever can write to Redis could otherwise make as many series as he likes."""
    counted = Counted()
    before = generate_latest(counted.registry).count(b"\n")
    strange = claim(f"x{event}", f"x{queue}")
    counted.metrics.attempt_started(strange)
    counted.metrics.step(step(f"x{word}", error=f"x{code}", hypervisor=f"x{word}"))
    counted.metrics.attempt_ended(strange, finish(Status.APPLIED, f"x{code}"), 0.1)
    counted.metrics.attempt_ended(strange, Retry(1.0, f"x{code}"), 0.1)
    counted.metrics.leftover_removed(f"x{queue}")
    text = generate_latest(counted.registry)
    assert counted("configdrive_attempts_total", hypervisor="other", event="other") == 1
    assert counted("configdrive_events_total", hypervisor="other", event="other", status="applied", code="other") == 1
    assert text.count(b"\n") - before < 80


def test_no_vm_no_event_and_no_content_is_in_what_is_shown(counted: Counted) -> None:
    counted.metrics.attempt_started(claim())
    counted.metrics.step(step(error="vm_busy"))
    counted.metrics.attempt_ended(claim(), park("vm_busy"), 0.1)
    text = generate_latest(counted.registry).decode()
    for word in (UUID, "event-1", SECRET):
        assert word not in text
