"""The numbers of the whole fleet, read from Redis when Prometheus asks: the same at every worker, so take the max."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from configdrive.errors import PermanentCode, TransientCode
from configdrive.lifecycle.orphans import Why
from tasks.mailbox import SweepCounts
from workers.store.inspection import Inspection, QueueNumbers

_log = logging.getLogger(__name__)


class FleetCollector(Collector):
    """Reads Redis at each scrape. A Redis that is away costs its client's time limits, and counts as such."""

    def __init__(self, inspection: Inspection, served: Collection[str]) -> None:
        self._inspection = inspection
        self._served = frozenset(served)

    @override
    def collect(self) -> Iterator[Metric]:
        try:
            found = self._inspection.numbers(self._served)
        except redis.RedisError as error:
            _log.warning("Redis could not be counted: %s", type(error).__name__)
            found = None
        yield _gauge("configdrive_redis_up", "Whether Redis has answered this question", float(found is not None))
        if found is None:
            return
        yield _gauge(
            "configdrive_parked_vms", "VMs whose next event needs a person or a place that is away", found.parked
        )
        yield _gauge(
            "configdrive_oldest_parked_seconds", "For how long the VM parked first has been so", found.oldest_parked
        )
        yield _gauge("configdrive_dead_letters", "Messages kept that could not be taken as events", found.dead_letters)
        yield _gauge("configdrive_orphan_images", "Images of VMs that nobody knows, in their grace", found.orphans)
        yield _gauge("configdrive_intake_entries", "Entries of the intake that no ingester has settled", found.intake)
        yield CounterMetricFamily(
            "configdrive_intake_settled", "Entries of the intake that were taken in or refused", value=found.settled
        )
        yield from _per_queue(found.queues)
        yield from _of_sweeps(found.swept)


def _per_queue(queues: Sequence[QueueNumbers]) -> Iterator[Metric]:
    facts: tuple[tuple[str, str, Callable[[QueueNumbers], float]], ...] = (
        ("configdrive_queue_messages", "Wake-ups in Celery's list that no worker has taken", lambda one: one.messages),
        (
            "configdrive_pending_vms",
            "VMs with events that wait or are in work: scale workers on it",
            lambda one: one.pending,
        ),
        (
            "configdrive_oldest_pending_seconds",
            "How long ago the oldest of the VMs' next events was published",
            lambda one: one.oldest,
        ),
        (
            "configdrive_leftover_hosts",
            "Hosts that were away and have something of VMs still",
            lambda one: one.leftover_hosts,
        ),
        ("configdrive_leftover_vms", "VMs of which such a host has something", lambda one: one.leftover_vms),
        (
            "configdrive_unverified_vms",
            "VMs that a worker may have left half-done, and nobody has looked at since",
            lambda one: one.unverified,
        ),
    )
    for name, text, value in facts:
        family = GaugeMetricFamily(name, text, labels=("queue",))
        for one in queues:
            family.add_metric((one.name,), value(one))
        yield family


def _of_sweeps(swept: Mapping[str, SweepCounts]) -> Iterator[Metric]:
    """Yield what the storage sweeps found; every label is of a list, whatever stands on Redis."""
    labels = ("hypervisor",)
    rounds = CounterMetricFamily("configdrive_storage_sweep_rounds", "Sweeps of all storages", labels=labels)
    ended = GaugeMetricFamily(
        "configdrive_storage_sweep_last_round_timestamp_seconds",
        "When the last sweep ended; of a fleet that never swept, when its first worker began",
        labels=labels,
    )
    away = GaugeMetricFamily(
        "configdrive_storage_sweep_hosts_away", "Hosts that did not answer in the last sweep", labels=labels
    )
    images = GaugeMetricFamily(
        "configdrive_storage_sweep_images",
        "Images that the last sweep found, by what is said of them",
        labels=(*labels, "why"),
    )
    deleted = CounterMetricFamily(
        "configdrive_storage_sweep_deleted", "Images that were deleted, by the reason", labels=(*labels, "why")
    )
    failed = CounterMetricFamily(
        "configdrive_storage_sweep_failed",
        "Images that should be deleted and could not be",
        labels=(*labels, "code"),
    )
    for name, counts in swept.items():
        rounds.add_metric((name,), counts.rounds)
        ended.add_metric((name,), counts.at)
        away.add_metric((name,), counts.away)
        for why in Why:
            images.add_metric((name, why.name.lower()), counts.images.get(why.name.lower(), 0))
            if why.goes:
                deleted.add_metric((name, why.name.lower()), counts.deleted.get(why.name.lower(), 0))
        for code in (*TransientCode, *PermanentCode):
            failed.add_metric((name, str(code)), counts.failed.get(str(code), 0))
    yield from (rounds, ended, away, images, deleted, failed)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
