"""How many events a second, and how long one takes: the fleet, a no-op Celery task, and the naive design."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import traffic
from benchmarks.arena import Arena, Contender, Event
from benchmarks.report import Effort, Item, Panel, Row, milliseconds, percentile
from benchmarks.samples import LIFE, SampleVm

SHARE_OF_NOOP = 0.9
TIMES_NOOP_LATENCY = 2.0
SETTING = "prefork of 4"


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Measure whole lives (deploy, start, stop, start, stop, destroy) of VMs on a hypervisor that takes no time."""
    with Arena(directory) as arena:
        warm = effort.pick(8, 8, 2)
        yield from _rates(arena, rounds=effort.pick(5, 3, 1), vms=effort.pick(100, 40, 2), warm=warm)
        yield from _publishing(arena, effort.pick(2000, 500, 5))
        yield from _latencies(arena, effort.pick(400, 100, 2), warm=warm)
        yield from traffic.measure(arena, effort)


def _rates(arena: Arena, *, rounds: int, vms: int, warm: int) -> Iterator[Item]:
    contenders = (arena.ours, arena.noop, arena.naive)
    for contender in contenders:
        _life(arena, contender, warm)  # each child has opened its connections
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            seconds[contender.name].append(_life(arena, contender, vms))
    ours, noop, naive = (seconds[contender.name] for contender in contenders)
    rates = {name: 1 / statistics.median(found) for name, found in seconds.items()}
    share = statistics.median(peer / own for own, peer in zip(ours, noop, strict=True))
    times = statistics.median(peer / own for own, peer in zip(ours, naive, strict=True))
    figure = f"{rates[arena.ours.name]:.0f} events/s"
    yield Row(
        f"throughput, {SETTING}, whole lives, queue drained",
        f"{figure}, {share:.2f} of the no-op's",
        f"a no-op Celery task: {rates[arena.noop.name]:.0f}/s",
        f"≥ {SHARE_OF_NOOP} of the no-op's",
        share >= SHARE_OF_NOOP,
        f"**{figure}** by one worker with four processes: {times:.1f} times a naive task around genisoimage, "
        f"{share:.2f} of a Celery task that does nothing.",
    )
    yield Row(
        "the same against the naive design (genisoimage, no order, no sealing)",
        f"{figure}, {times:.2f} times the naive one's",
        f"the naive task: {rates[arena.naive.name]:.0f}/s",
        "faster",
        times > 1,
    )
    yield Panel(f"Events per second, {SETTING}", "1/s", rates)


def _life(arena: Arena, contender: Contender, vms: int) -> float:
    """Return seconds per event, over all events of so many VMs' lives."""
    fleet = [SampleVm(number) for number in range(vms)]
    seconds, count = 0.0, 0
    for kinds in LIFE:
        events = [vm.event(kind) for kind in kinds for vm in fleet]
        seconds += arena.drain(contender, events) * len(events)
        count += len(events)
        if contender is arena.ours:
            arena.require_applied(events)
    return seconds / count


def _publishing(arena: Arena, count: int) -> Iterator[Item]:
    """Only sending: checked, sealed, stored and woken, against kombu's own batch of messages."""
    deploys = [SampleVm(number).event("deploy") for number in range(count)]
    ours = _sending(arena, arena.ours, deploys)
    noop = _sending(arena, arena.noop, deploys)
    yield Row(
        f"`publish_many` of {count} deploy events with user data, checked and sealed",
        f"{count / ours:.0f} events/s",
        f"`send_task` of as many no-ops in batches: {count / noop:.0f}/s",
    )


def _sending(arena: Arena, contender: Contender, events: Sequence[Event]) -> float:
    with arena.held():
        began = time.perf_counter()
        contender.send(events)
        seconds = time.perf_counter() - began
    arena.settle()
    return seconds


def _latencies(arena: Arena, runs: int, *, warm: int) -> Iterator[Item]:
    vm = SampleVm(1)
    arena.one_by_one(arena.ours, [vm.event("deploy")])
    kinds = ("start", "stop")
    found: dict[str, list[float]] = {arena.ours.name: [], arena.tell.name: []}
    for number in range(warm + runs):
        event = vm.event(kinds[number % 2])
        for contender in (arena.ours, arena.tell):
            seconds = arena.one_by_one(contender, [event])
            found[contender.name] += seconds if number >= warm else []
    ours, tell = found.values()
    times = statistics.median(ours) / statistics.median(tell)
    percent_99 = milliseconds(percentile(ours, 99))
    yield Row(
        f"publish → outcome, start and stop alternating, {SETTING}, nothing else to do",
        f"p50 {milliseconds(statistics.median(ours))}, p99 {percent_99}; {times:.1f} times",
        f"a Celery task that only says that it ran: p50 {milliseconds(statistics.median(tell))}, "
        f"p99 {milliseconds(percentile(tell, 99))}",
        f"p50 ≤ {TIMES_NOOP_LATENCY:.0f} times",
        times <= TIMES_NOOP_LATENCY,
        f"**{milliseconds(statistics.median(ours))}** from publishing to the outcome, the hypervisor's own time left "
        f"out ({percent_99} in the slowest of a hundred).",
    )
    yield Panel(
        "From publishing to the outcome",
        "ms",
        {
            f"{name}, {label}": 1000 * percentile(values, percent)
            for name, values in found.items()
            for label, percent in (("p50", 50), ("p99", 99))
        },
    )
