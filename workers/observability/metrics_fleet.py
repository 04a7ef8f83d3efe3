"""The numbers of the whole fleet, read from Redis when Prometheus asks: the same at every worker, so take the max."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from workers.store.encoding import posted_at
from workers.store.inspection import Inspection

_log = logging.getLogger(__name__)

_MOST = 10_000
"""Pending VMs of one queue that are looked at for the oldest; more are counted, not looked at."""

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """One queue at a moment; `oldest` is how long ago the oldest of the VMs' next events was published, in seconds."""

    name: str
    messages: int
    pending: int
    oldest: float
    leftover_hosts: int
    leftover_vms: int


@dataclass(frozen=True, slots=True)
class FleetNumbers:
    """The fleet at a moment. Ages are seconds; 0 when there is nothing."""

    queues: tuple[QueueNumbers, ...]
    parked: int
    oldest_parked: float
    dead_letters: int
    orphans: int
    intake: int = 0
    settled: int = 0


class Numbers(Inspection):
    """The mailboxes, counted."""

    def read(self, served: Collection[str]) -> FleetNumbers:
        """Count all queues that there are or that are `served`.

        Raises:
            redis.RedisError: it does not answer in time.
        """
        known: Any = self._redis.smembers(self._key("queues"))
        names = sorted({name.decode("utf-8", "replace") for name in known}.union(served))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.zcard(self._key("parked"))
        pipeline.zrange(self._key("parked"), 0, 0, withscores=True)
        pipeline.llen(self._key("dead"))
        pipeline.zcard(self._key("orphans"))
        for key in ("intake", "intake:taken"):
            pipeline.llen(self._key(key))
        pipeline.get(self._key("intake:number"))
        for name in names:
            pipeline.llen(f"{self.prefix}{name}")  # Celery's list, behind the same prefix
            pipeline.zrange(self._key("due", name), 0, _MOST - 1)
            pipeline.zrange(self._key("wakeups", name), 0, _MOST - 1)
            pipeline.zcard(self._key("due", name))
            pipeline.zcard(self._key("wakeups", name))
            pipeline.zrange(self._key("left", name), 0, -1)
        moment, parked, first_parked, dead, orphans, there, taken, settled, *rest = pipeline.execute()
        now = moment[0] + moment[1] / 1e6
        queues = [
            self._queue(name, rest[start : start + 6], now)
            for name, start in zip(names, range(0, len(rest), 6), strict=True)
        ]
        oldest_parked = max(0.0, now - first_parked[0][1] / 1000) if first_parked else 0.0
        return FleetNumbers(tuple(queues), parked, oldest_parked, dead, orphans, there + taken, int(settled or 0))

    def _queue(self, name: str, answers: Sequence[Any], now: float) -> QueueNumbers:
        messages, due, woken, in_work, waiting, left = answers
        hosts = {member.partition(b" ")[2] for member in left}
        posted = [at for head in self._heads([*due, *woken]) if (at := posted_at(head)) is not None]
        oldest = max(0.0, now - min(posted, default=now))
        return QueueNumbers(name, messages, in_work + waiting, oldest, len(hosts), len(left))

    def _heads(self, vms: Sequence[bytes]) -> Iterator[bytes | None]:
        """Yield what lies at the head of each VM's mailbox."""
        for start in range(0, len(vms), _AT_ONCE):
            batch = vms[start : start + _AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for vm in batch:
                pipeline.lindex(self._key("mail", vm.decode("utf-8", "replace")), 0)
            yield from pipeline.execute()


class FleetCollector(Collector):
    """Reads Redis at each scrape. A Redis that is away costs its client's time limits, and counts as such."""

    def __init__(self, numbers: Numbers, served: Collection[str]) -> None:
        self._numbers = numbers
        self._served = frozenset(served)

    @override
    def collect(self) -> Iterator[Metric]:
        try:
            found = self._numbers.read(self._served)
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
