"""What Redis tells of the whole fleet, read when Prometheus asks: the same from every worker, so take the maximum."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from workers.census import Census

_log = logging.getLogger(__name__)

_MOST = 10_000
"""Pending VMs of one queue that are looked at for the oldest; more are counted, not looked at."""

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """One queue at a moment; `since` is the longest that a VM's next event has been seen to wait, in seconds."""

    name: str
    messages: int
    pending: int
    oldest: float
    hosts_owing: int
    vms_left: int


@dataclass(frozen=True, slots=True)
class FleetNumbers:
    """The fleet at a moment. Ages are seconds; 0 when there is nothing."""

    queues: tuple[QueueNumbers, ...]
    parked: int
    oldest_parked: float
    dead_letters: int
    strays: int
    intake: int = 0
    settled: int = 0


@dataclass
class Heads:
    """Since when the next event of each pending VM has been the next one, as far as this process has seen.

    Mailboxes do not say it, so what lay at their heads is remembered from one question to the next.
    """

    clock: Callable[[], float] = time.monotonic
    _seen: dict[bytes, tuple[bytes, float]] = field(default_factory=dict)

    def oldest(self, heads: Mapping[bytes, bytes | None]) -> float:
        """Return the age of the oldest, in seconds; `heads` is what lies at the head of each pending VM's mailbox."""
        now, before = self.clock(), self._seen
        self._seen = {}
        for vm, head in heads.items():
            if head is not None:
                known, since = before.get(vm, (None, now))
                self._seen[vm] = (head, since if known == head else now)
        return max((now - since for _, since in self._seen.values()), default=0.0)


class Numbers(Census):
    """The mailboxes, counted."""

    def read(self, served: Collection[str], ages: dict[str, Heads]) -> FleetNumbers:
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
        pipeline.zcard(self._key("strays"))
        for key in ("intake", "intake:taken"):
            pipeline.llen(self._key(key))
        pipeline.get(self._key("intake:number"))
        for name in names:
            pipeline.llen(f"{self._options.prefix}{name}")  # Celery's list, behind the same prefix
            pipeline.zcard(self._key("due", name))
            pipeline.zrange(self._key("due", name), 0, _MOST - 1)
            pipeline.zrange(self._key("left", name), 0, -1)
        moment, parked, first_parked, dead, strays, there, taken, settled, *rest = pipeline.execute()
        now = moment[0] + moment[1] / 1e6
        queues = [
            self._queue(name, rest[start : start + 4], ages.setdefault(name, Heads()))
            for name, start in zip(names, range(0, len(rest), 4), strict=True)
        ]
        oldest_parked = max(0.0, now - first_parked[0][1] / 1000) if first_parked else 0.0
        return FleetNumbers(tuple(queues), parked, oldest_parked, dead, strays, there + taken, int(settled or 0))

    def _queue(self, name: str, answers: Sequence[Any], ages: Heads) -> QueueNumbers:
        messages, pending, vms, left = answers
        hosts = {member.partition(b" ")[2] for member in left}
        return QueueNumbers(name, messages, pending, ages.oldest(self._heads(vms)), len(hosts), len(left))

    def _heads(self, vms: Sequence[bytes]) -> dict[bytes, bytes | None]:
        heads: dict[bytes, bytes | None] = {}
        for start in range(0, len(vms), _AT_ONCE):
            batch = vms[start : start + _AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for vm in batch:
                pipeline.lindex(self._key("mail", vm.decode("utf-8", "replace")), 0)
            heads |= dict(zip(batch, pipeline.execute(), strict=True))
        return heads


class FleetCollector(Collector):
    """Reads Redis at each scrape. A Redis that is away costs its client's time limits, and is told as such."""

    def __init__(self, numbers: Numbers, served: Collection[str]) -> None:
        self._numbers = numbers
        self._served = frozenset(served)
        self._ages: dict[str, Heads] = {}

    @override
    def collect(self) -> Iterator[Metric]:
        try:
            found = self._numbers.read(self._served, self._ages)
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
        yield _gauge("configdrive_stray_images", "Images of VMs that nobody knows, in their grace period", found.strays)
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
            "The longest that a VM's next event has been seen to be the next one",
            lambda one: one.oldest,
        ),
        (
            "configdrive_hosts_owing",
            "Hosts that were away and have something of VMs still",
            lambda one: one.hosts_owing,
        ),
        ("configdrive_left_vms", "VMs of which such a host has something", lambda one: one.vms_left),
    )
    for name, text, value in facts:
        family = GaugeMetricFamily(name, text, labels=("queue",))
        for one in queues:
            family.add_metric((one.name,), value(one))
        yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
