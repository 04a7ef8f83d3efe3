"""What one event costs Redis: commands that clients send, counted by MONITOR."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

from benchmarks.arena import Arena, Contender, Event
from benchmarks.report import Effort, Item, Row
from benchmarks.samples import LIFE, SampleVm
from workers.store.mailbox import SCRIPTS

MOST = 8
_OF_NO_EVENT = ("wakeup", "leftovers")
"""The scripts of the look for wake-ups: they run once a second, however many events there are."""


def measure(arena: Arena, effort: Effort) -> Iterator[Item]:
    """Count over whole lives, event by event, publishing included; and those of a task that only says that it ran."""
    vms = [SampleVm(number) for number in range(effort.pick(20, 5, 1))]
    events = [vm.event(kind) for kinds in LIFE for kind in kinds for vm in vms]
    ours, inside = _count(arena, arena.ours, events)
    noop, _ = _count(arena, arena.tell, events)
    each = ours.total() / len(events)
    scripts = ", ".join(f"{name.upper()} {ours[name] / len(events):.2f}" for name in ("put", *SCRIPTS) if ours[name])
    yield Row(
        "commands to Redis per event, publishing and Celery's included",
        f"{each:.2f} ({scripts})",
        f"a task that only says that it ran, by Celery as it comes: {noop.total() / len(events):.1f}",
        f"≤ {MOST}",
        each <= MOST,
    )
    yield Row("commands that these scripts run inside Redis, per event", f"{inside / len(events):.1f}")


def _count(arena: Arena, contender: Contender, events: list[Event]) -> tuple[Counter[str], int]:
    """Return the clients' commands (scripts by their names), and how many the scripts ran."""
    mailbox = arena.fleet.mailbox
    names = {script.sha: name for name, script in mailbox._scripts.items()} | {mailbox._put.sha: "put"}  # noqa: SLF001 - to name them
    onlooker = {str(arena.redis.client_info()["addr"])}
    with _Monitor(arena) as monitor:
        arena.one_by_one(contender, events)
    found: Counter[str] = Counter()
    inside = 0
    for seen in monitor.seen:
        address = f"{seen['client_address']}:{seen['client_port']}"
        word, *rest = str(seen["command"]).split(" ", 2)
        name = names.get(rest[0], word) if word.upper() == "EVALSHA" else word.upper()
        if seen["client_type"] == "lua":
            inside += 1
        elif address not in onlooker and name not in {*_OF_NO_EVENT, "PING"}:
            found[name] += 1
    return found, inside


class _Monitor:
    """Writes down every command between its two ends."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._mark = uuid.uuid4().hex
        self.seen: list[dict[str, Any]] = []
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._arena.redis.echo(self._mark)
        self._thread.join()

    def _listen(self) -> None:
        with self._arena.fleet.redis.client() as client, client.monitor() as monitor:
            self._begun.set()
            for command in monitor.listen():
                if self._mark in command["command"]:
                    return
                self.seen.append(command)
