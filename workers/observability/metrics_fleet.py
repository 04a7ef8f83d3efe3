"""The numbers of the whole fleet, read from Redis when Prometheus asks: the same at every worker, so take the max."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

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
        yield _gauge("configdrive_parked_vms", "VMs whose next event needs a person", found.parked)
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
    )
    for name, text, value in facts:
        family = GaugeMetricFamily(name, text, labels=("queue",))
        for one in queues:
            family.add_metric((one.name,), value(one))
        yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
