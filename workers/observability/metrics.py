"""The counters of a worker, in all processes of its pool: events, attempts, steps; images found; CloudStack's part.

No metric has a label for a VM or an event, and every label takes its values from a list or from the inventory: what a
stranger may have written to Redis is counted as `other`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from typing_extensions import override

from configdrive.contract.events import SHORT_TYPES
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode, TransientCode
from configdrive.model import HypervisorName
from configdrive.ports import Connections, StepRecord
from tasks.mailbox import Claim, Ending
from workers.observability.observers import WorkObserver, hypervisor_of, what_became

OTHER = "other"

EVENTS = SHORT_TYPES
STEPS = ("observe", "build", "upload", "copy", "attach", "detach", "delete")
_CODES = frozenset({"", *PermanentCode, *StaleCode, *TransientCode})
_STATUSES = frozenset(Status)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""From a simulated step to the default time limit of an attempt."""


class _Maker:
    """Makes metrics of one registry. `labels` are names with spaces between."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: str = "") -> Counter:
        return Counter(f"configdrive_{name}", text, labels.split(), registry=self._registry)

    def gauge(self, name: str, text: str, labels: str = "") -> Gauge:
        """Make a gauge; of several processes, those that live are added up."""
        mode: Literal["livesum"] = "livesum"
        return Gauge(f"configdrive_{name}", text, labels.split(), registry=self._registry, multiprocess_mode=mode)

    def histogram(self, name: str, text: str, labels: str) -> Histogram:
        return Histogram(f"configdrive_{name}", text, labels.split(), registry=self._registry, buckets=_SECONDS)


class WorkMetrics(WorkObserver):
    """The counters of one worker.

    Args:
        hypervisors: those that it serves.
        registry: where they are collected; `None` when each process of a pool writes to a file (`metrics_files`).
    """

    def __init__(self, hypervisors: Collection[HypervisorName], registry: CollectorRegistry | None = None) -> None:
        self._hypervisors = frozenset(hypervisors)
        make = _Maker(registry)
        self._attempts = make.counter("attempts", "Attempts at events that were begun", "hypervisor event")
        self._events = make.counter(
            "events", "Events that came to an end, or were parked", "hypervisor event status code"
        )
        self._retries = make.counter(
            "retries", "Attempts after which the event is tried again, by the cause", "hypervisor event code"
        )
        self._lost = make.counter(
            "attempts_lost",
            "Attempts whose end could not be written: another worker had taken the VM over, or Redis was away",
            "hypervisor event",
        )
        self._attempt_seconds = make.histogram(
            "attempt_seconds", "Duration of one attempt at an event, from its claim to its end", "hypervisor event"
        )
        self._step_seconds = make.histogram(
            "step_seconds", "Duration of one step, whether it failed or not", "hypervisor step"
        )
        self._step_errors = make.counter("step_errors", "Steps that failed, by the cause", "hypervisor step code")
        self._in_work = make.gauge("events_in_work", "Events that this worker works on now", "hypervisor")
        self._collected = make.counter(
            "leftovers_collected", "VMs of which a host that was away has nothing any more", "hypervisor"
        )
        self._dropped = make.counter(
            "drives_dropped", "Running VMs found without their medium, as their host could not look at it", "hypervisor"
        )
        self._connections = make.gauge(
            "connections", "Connections and sessions that this worker keeps open", "hypervisor endpoint kind"
        )
        self._reopened = make.counter(
            "connections_reopened",
            "Connections that were opened in the place of one that broke, was forgotten or given up",
            "hypervisor endpoint kind",
        )
        self._last: dict[tuple[str, str, str], Connections] = {}
        self._noting = threading.Lock()
        self._begin_at_zero()

    def forget_work(self) -> None:
        """Note that this process has nothing in work or open: its predecessor in the pool may have died with both."""
        for name in self._hypervisors:
            self._in_work.labels(name).set(0)
        for labels in self._last:
            self._connections.labels(*labels).set(0)
            self._last[labels] = Connections(*labels[1:], open=0, reopened=0)

    def connected(self, hypervisor: HypervisorName, found: Collection[Connections]) -> None:
        """Take note of what a driver says of its connections in this process."""
        with self._noting:
            for one in found:
                labels = (self._known(hypervisor), one.endpoint, one.kind)
                last = self._last.get(labels)
                if one != last:
                    self._last[labels] = one
                    self._connections.labels(*labels).set(one.open)
                    self._reopened.labels(*labels).inc(one.reopened - (last.reopened if last else 0))

    @override
    def attempt_started(self, claim: Claim) -> None:
        hypervisor, event = self._of(claim)
        self._attempts.labels(hypervisor, event).inc()
        self._in_work.labels(hypervisor).inc()

    @override
    def step(self, record: StepRecord) -> None:
        hypervisor, step = self._known(record.hypervisor), _one_of(STEPS, record.step)
        self._step_seconds.labels(hypervisor, step).observe(record.seconds)
        if record.error:
            self._step_errors.labels(hypervisor, step, _one_of(_CODES, record.error)).inc()

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        hypervisor, event = self._of(claim)
        self._in_work.labels(hypervisor).dec()
        self._attempt_seconds.labels(hypervisor, event).observe(seconds)
        status, code = what_became(ending)
        if ending is None:
            self._lost.labels(hypervisor, event).inc()
        elif status == "retry":
            self._retries.labels(hypervisor, event, _one_of(_CODES, code)).inc()
        else:
            self._events.labels(hypervisor, event, _one_of(_STATUSES, status), _one_of(_CODES, code)).inc()

    @override
    def leftover_removed(self, queue: str) -> None:
        self._collected.labels(self._known(hypervisor_of(queue))).inc()

    def drives_dropped(self, hypervisor: HypervisorName, number: int) -> None:
        """Take note of running VMs whose drive was found empty; those that are found again count again."""
        self._dropped.labels(self._known(hypervisor)).inc(number)

    def _begin_at_zero(self) -> None:
        """Have the counters there before the first event: Prometheus cannot see a counter's jump from nothing."""
        self.forget_work()
        for hypervisor in self._hypervisors:
            self._collected.labels(hypervisor)
            self._dropped.labels(hypervisor)
            for event in EVENTS:
                self._attempts.labels(hypervisor, event)
                self._lost.labels(hypervisor, event)
                self._attempt_seconds.labels(hypervisor, event)
                for status in (Status.APPLIED, Status.PARKED):
                    self._events.labels(hypervisor, event, status, "")
            for step in STEPS:
                self._step_seconds.labels(hypervisor, step)

    def _of(self, claim: Claim) -> tuple[str, str]:
        header = claim.header
        return self._known(hypervisor_of(header.queue)), _one_of(EVENTS, header.event_type)

    def _known(self, hypervisor: str) -> str:
        return _one_of(self._hypervisors, hypervisor)


class NoticeMetrics:
    """What an adapter for CloudStack has done with the notices that came by its entry point.

    Args:
        entry_point: how they come.
        results: what may become of one.
        registry: where they are collected.
    """

    def __init__(self, entry_point: str, results: Collection[str], registry: CollectorRegistry) -> None:
        self._entry_point = entry_point
        self._notices = _Maker(registry).counter(
            "cloudstack_notices",
            "Notices of CloudStack's, by what became of them; those retried, once for each try in vain",
            "entry_point result",
        )
        for result in results:
            self._notices.labels(entry_point, result)

    def count(self, result: str) -> None:
        """Take note of one."""
        self._notices.labels(self._entry_point, result).inc()


class AnswerMetrics:
    """What a gate has answered hosts that start VMs of CloudStack's, and for how long it has kept them waiting.

    Args:
        verdicts: what a host may be told.
        registry: where they are collected.
    """

    def __init__(self, verdicts: Collection[str], registry: CollectorRegistry) -> None:
        make = _Maker(registry)
        self._answers = make.counter(
            "gate_answers", "Answers to hosts that start a VM, by what they were told", "verdict"
        )
        self._seconds = make.histogram("gate_seconds", "For how long a host was kept waiting", "verdict")
        for verdict in verdicts:
            self._answers.labels(verdict)

    def count(self, verdict: str, seconds: float) -> None:
        """Take note of one."""
        self._answers.labels(verdict).inc()
        self._seconds.labels(verdict).observe(seconds)


def _one_of(known: Collection[str], word: object) -> str:
    return str(word) if isinstance(word, str) and word in known else OTHER
