"""A backlog that lasts for many resend times: how long the list of messages gets, and what follows when it is over."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks import samples
from benchmarks.report import Effort, Item, Row, milliseconds
from benchmarks.storm import HOSTS, ends_of, start
from configdrive.client.connection import connect_redis
from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from workers.store.mailbox import MailboxOptions, RedisMailbox

QUEUE = "configdrive.simulated"
RESEND = 2.0
EXCESS, TIMES_IDLE, SHARE_OF_FIRST = 100, 2.0, 0.9
_FRESH = 20
_PATIENCE = 60.0


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start far more VMs than the workers can within the resend time, and watch the list meanwhile."""
    count, latency = effort.pick(10_000, 500, 20), effort.pick(12, 12, 1)
    settings = {"concurrency": 4, "resend_seconds": RESEND}
    with tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory()) as world:
        inventory = samples.inventory(Path(world), hosts=HOSTS, latency_ms=latency)
        with Fleet(directory, inventory, settings=settings) as fleet:
            ends_of(fleet, len(fleet.publisher.publish_many([start(number) for number in range(8)])))
            idle = _fresh(fleet)
            position = fleet.mailbox.end_of_outcomes()
            with _watched(fleet) as watch:
                fleet.publisher.publish_many([start(number, HOSTS) for number in range(count)])
                ends = sorted(ends_of(fleet, count, position).values())
            yield from _rows(ends, watch, idle, _fresh(fleet))
            fleet.stop_workers()
            yield _idle_day(fleet, effort.pick(1000, 200, 10), effort.pick(5000, 500, 10))
            yield _lost(fleet, effort.pick(50, 20, 2))


@dataclass
class _Watch:
    """By how many the messages were more than the VMs that wait, at the worst moment, and how many looks there were."""

    excess: int = 0
    longest: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, client: Redis, prefix: str) -> None:
        while not self.ended.wait(0.05):
            with client.pipeline() as pipeline:  # one moment
                pipeline.llen(f"{prefix}{QUEUE}")
                pipeline.zcard(f"{prefix}due:{QUEUE}")
                pipeline.zcard(f"{prefix}wakeups:{QUEUE}")
                messages, in_work, waiting = pipeline.execute()
            self.excess = max(self.excess, messages - in_work - waiting)
            self.longest = max(self.longest, messages)


@contextmanager
def _watched(fleet: Fleet) -> Iterator[_Watch]:
    watch = _Watch()
    with fleet.redis.client() as client:
        thread = threading.Thread(target=watch.run, args=(client, fleet.settings.key_prefix))
        thread.start()
        try:
            yield watch
        finally:
            watch.ended.set()
            thread.join()


def _rows(ends: Sequence[float], watch: _Watch, idle: list[float], after: list[float]) -> Iterator[Row]:
    lasted = ends[-1] - ends[0]
    yield Row(
        f"backlog of {len(ends)} VMs for {lasted:.0f} s, resend time {RESEND:.0f} s: messages beyond waiting VMs",
        f"{watch.excess} at most; the list was {watch.longest} long",
        "",
        f"≤ {EXCESS}",
        watch.excess <= EXCESS,
    )
    part = max(len(ends) // 10, 2)
    first, last = (part / (found[-1] - found[0]) for found in (ends[:part], ends[-part:]))
    yield Row(
        f"the last {part} of them against the first {part}",
        f"{last:.0f} events/s",
        f"the first: {first:.0f}/s",
        f"≥ {SHARE_OF_FIRST}",
        last >= SHARE_OF_FIRST * first,
    )
    was, is_ = statistics.median(idle), statistics.median(after)
    yield Row(
        f"a fresh VM's start right after it, p50 of {_FRESH}",
        milliseconds(is_),
        f"before it: {milliseconds(was)}",
        f"≤ {TIMES_IDLE:.0f} times",
        is_ <= TIMES_IDLE * was,
    )


def _fresh(fleet: Fleet) -> list[float]:
    """Return how many seconds each of some fresh VMs' starts takes."""
    seconds = []
    for number in range(_FRESH):
        began = time.perf_counter()
        outcome = fleet.publisher.wait(fleet.publisher.publish(start(number)), _PATIENCE)
        if outcome is None or outcome.status is not Status.APPLIED:
            raise RuntimeError(f"a start came to {outcome}")
        seconds.append(time.perf_counter() - began)
    return seconds


def _idle_day(fleet: Fleet, vms: int, looks: int) -> Row:
    """Look for lost wake-ups as often as in a day without workers, each time as if the resend time had passed."""
    fleet.publisher.publish_many([start(number) for number in range(vms)])
    options = MailboxOptions.of(fleet.settings.model_copy(update={"resend_seconds": 0.002}))
    mailbox = RedisMailbox(connect_redis(fleet.settings), options)
    for _ in range(looks):
        mailbox.wake_due(QUEUE, 1000)
    with fleet.redis.client() as client:
        length: Any = client.llen(f"{fleet.settings.key_prefix}{QUEUE}")
    mailbox.close()
    return Row(
        f"{vms} VMs without a worker, after {looks} looks for lost wake-ups",
        f"{length} messages",
        "",
        f"≤ {vms + EXCESS}",
        length <= vms + EXCESS,
    )


def _lost(fleet: Fleet, lost: int) -> Row:
    """Take messages out of the list, as a worker that is killed then, and see when their events are done."""
    position = fleet.mailbox.end_of_outcomes()
    with fleet.redis.client() as client:
        waiting: Any = client.llen(f"{fleet.settings.key_prefix}{QUEUE}")
        for _ in range(lost):
            client.rpop(f"{fleet.settings.key_prefix}{QUEUE}")
    fleet.start_workers()
    ends = sorted(ends_of(fleet, waiting, position).values())
    seconds = ends[-1] - ends[-lost - 1]
    return Row(
        f"{lost} wake-ups that were lost with a worker, of {waiting}: done after the list has run past them",
        f"{seconds:.1f} s",
        f"resend time {RESEND:.0f} s",
        "≤ 2 resend times",
        seconds <= 2 * RESEND,
    )
