"""Many VMs: what an idle one keeps on Redis, and whether an event or the look for wake-ups costs more among many."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena
from benchmarks.report import Effort, Item, Panel, Row, milliseconds
from benchmarks.samples import LIFE, SampleVm
from configdrive.client.postings import Header, Posting, queue_name
from configdrive.contract.event_key import event_key
from configdrive.contract.outcome import Outcome
from configdrive.drive_data import SshKey
from configdrive.lifecycle import state
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import VmState
from configdrive.model import EventId, InstanceName, VmUuid
from tasks.mailbox import Claim, Wakeup
from tasks.wakeup import wake_due
from workers.config.key_ring import make_sealer

MOST_BYTES = 3 * 1024
FLAT = 1.10
QUEUE = queue_name("simulated")
_AT_ONCE = 500


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Compare a fleet that knows few VMs with one that knows many: two Redis, taken in turn."""
    few, many = effort.pick(1000, 500, 20), effort.pick(100_000, 5000, 60)
    with ExitStack() as stack:
        large = stack.enter_context(Arena(directory / "many", alone=True))
        small = large if effort is Effort.TINY else stack.enter_context(Arena(directory / "few", alone=True))
        Crowd(small).come(few)
        yield from _memory(large, many)
        yield from _flatness(small, large, effort.pick(9, 3, 1), effort.pick(60, 20, 2), f"{few:,} → {many:,} VMs")


def _memory(arena: Arena, count: int) -> Iterator[Item]:
    crowd = Crowd(arena)
    before = _used(arena)
    crowd.come(count)
    each = (_used(arena) - before) / count
    yield Row(
        f"Redis memory per idle VM, {count:,} of them, {crowd.about}",
        f"{each:.0f} bytes",
        crowd.shares(),
        f"≤ {MOST_BYTES} bytes",
        each <= MOST_BYTES,
    )
    yield Panel("Redis memory per idle VM", "bytes", {"the fleet": each, "bar": MOST_BYTES})


def _flatness(small: Arena, large: Arena, rounds: int, vms: int, what: str) -> Iterator[Item]:
    seconds: dict[str, list[float]] = {"few": [], "many": []}
    for number in range(rounds + 1):
        for name, arena in (("few", small), ("many", large)) if number % 2 else (("many", large), ("few", small)):
            taken = _events(arena, vms)
            seconds[name] += [taken] if number else []  # the first round warms up
    times = statistics.median(many / few for few, many in zip(seconds["few"], seconds["many"], strict=True))
    yield Row(
        f"an event among many VMs, {what}",
        f"{milliseconds(statistics.median(seconds['many']))} per event, {times:.2f} times",
        f"among few: {milliseconds(statistics.median(seconds['few']))}",
        f"≤ {FLAT:.2f} times",
        times <= FLAT,
    )
    passes = [_look(arena) for arena in (large, small)]
    yield Row(
        "a look for wake-ups with nothing due, among many VMs",
        milliseconds(passes[0]),
        f"among few: {milliseconds(passes[1])}",
    )


def _events(arena: Arena, vms: int) -> float:
    fleet = [SampleVm(number) for number in range(vms)]
    seconds, count = 0.0, 0
    for kinds in LIFE:
        events = [vm.event(kind) for kind in kinds for vm in fleet]
        seconds += arena.drain(arena.ours, events) * len(events)
        count += len(events)
    return seconds / count


def _look(arena: Arena) -> float:
    fleet = arena.fleet
    took = []
    for _ in range(20):
        began = time.perf_counter()
        wake_due(fleet.mailbox, [QUEUE], pause=30.0)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _used(arena: Arena) -> int:
    """Return the bytes that Redis takes, without the outcome stream: it keeps so many entries, however many VMs."""
    info: Any = arena.redis.info("memory")
    stream = arena.redis.memory_usage(f"{arena.fleet.settings.key_prefix}outcomes", samples=0)
    return int(info["used_memory"]) - int(stream or 0)


class Crowd:
    """VMs that a fleet knows, though no worker ever saw them: deployed and started, by the store's own scripts.

    What is remembered of each is what a worker has written of one real VM, with a uuid, names and a key of its own.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._mailbox = arena.fleet.mailbox
        self._sealer = make_sealer(arena.fleet.settings)
        vm = SampleVm(1)
        deploy, start = vm.event("deploy"), vm.event("start")
        for event in (deploy, start):
            arena.one_by_one(arena.ours, [event])
        arena.require_applied([deploy, start])
        self._outcomes = [
            self._mailbox.outcome_of(event_key(event["source"], event["id"])) for event in (deploy, start)
        ]
        self._text = self._mailbox.snapshot(VmUuid(vm.uuid)).state
        self._state = state.load(self._text, self._sealer, VmUuid(vm.uuid))
        self._ids: list[str] = []

    @property
    def about(self) -> str:
        """Say what is known of each."""
        data = self._state.data
        size = 0 if data.user_data is None else len(data.user_data.get_secret_value())
        return (
            f"each with metadata, an ed25519 key and {size} bytes of cloud-config, deployed and started; "
            "2 events' ids and outcomes included"
        )

    def come(self, count: int) -> None:
        """Let so many VMs be known; the worker stands still, and gets none of the wake-ups."""
        with self._arena.held():
            for first in range(0, count, _AT_ONCE):
                vms = [SampleVm(first + number) for number in range(min(_AT_ONCE, count - first))]
                for outcome in self._outcomes:
                    self._happen(vms, outcome)
                self._ids = [vm.uuid for vm in vms]
                self._arena.redis.delete(f"{self._arena.fleet.settings.key_prefix}{QUEUE}")

    def _happen(self, vms: Sequence[SampleVm], outcome: Outcome | None) -> None:
        if outcome is None:
            raise RuntimeError("the model VM has no outcome")
        headers = [
            Header(
                EventId(uuid.uuid4().hex), outcome.source, outcome.event_type, VmUuid(vm.uuid), QUEUE, outcome.sequence
            )
            for vm in vms
        ]
        self._mailbox.put_many([Posting(header, b"{}") for header in headers])
        for vm, header in zip(vms, headers, strict=True):
            claim = self._mailbox.claim(Wakeup(header.key, header.vm_uuid, QUEUE, 2**31))
            if not isinstance(claim, Claim):
                raise TypeError(f"not claimed: {claim}")
            facts = {name: fact.replace(str(outcome.vm_uuid), vm.uuid) for name, fact in outcome.facts.items()}
            own = replace(outcome, event_id=header.event_id, vm_uuid=vm.uuid, at=time.time(), facts=facts)
            self._mailbox.done(claim, Settled(own, state.dump(self._of(vm), self._sealer, header.vm_uuid)))

    def _of(self, vm: SampleVm) -> VmState:
        if self._state.vm is None:
            raise RuntimeError("nothing is remembered of the model VM")
        own = replace(self._state.vm, uuid=VmUuid(vm.uuid), instance_name=InstanceName(vm.name))
        guest = vm.guest()
        data = replace(
            self._state.data,
            metadata=replace(
                self._state.data.metadata,
                **{name: guest["metadata"][name] for name in ("instance_id", "local_hostname", "vm_id")},
            ),
            ssh_keys=(SshKey("deploy", guest["ssh_keys"][0]["key"]),),
        )
        return replace(self._state, vm=own, data=data)

    def shares(self) -> str:
        """Say where it lies: the mean of some VMs' keys, and the stream's share."""
        client, prefix = self._arena.redis, self._arena.fleet.settings.key_prefix
        kinds = {"the VM": [f"{prefix}vm:{uuid_}" for uuid_ in self._ids[:100]]}
        seen = list(client.scan_iter(f"{prefix}seen:*", count=1000))[:100]
        kinds["each event's id and outcome"] = [key.decode() for key in seen]
        parts = []
        for kind, keys in kinds.items():
            sizes = [size for key in keys if (size := client.memory_usage(key)) is not None]
            parts.append(f"{kind} {statistics.mean(sizes):.0f}")
        length = client.xlen(f"{prefix}outcomes")
        stream = client.memory_usage(f"{prefix}outcomes", samples=0) or 0
        parts.append(f"beside it an entry of the outcome stream {stream / length:.0f}, of which about 100,000 are kept")
        return "; ".join(parts)
