"""Five hundred events over fifty VMs, while workers and their children are killed at random."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from configdrive.contract.outcome import Status
from rigs.fleet import Supervisor
from tests.e2e.site import QUICK, Site, new_vm

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import EventKey
    from rigs.cloud import VmScript

VMS = 50
EVENTS_PER_VM = 10
KILLS = 6
KINDS = ("start", "start", "stop", "password_reset", "update")
FINAL = ("start", "stop", "destroy")


class Chaos(threading.Thread):
    """Kills (SIGKILL) main processes and children of pools, so many of each, or until it is told to end."""

    def __init__(self, site: Site, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._dice = dice
        self._ended = threading.Event()
        self.kills = {"main": 0, "child": 0}

    @override
    def run(self) -> None:
        # On a slow machine a worker that is killed as soon as it is there would never come to do anything.
        while min(self.kills.values()) < KILLS and not self._ended.wait(self._dice.uniform(0.1, 0.6)):
            worker = self._dice.choice(self._site.workers)
            children = worker.children()
            if children and self.kills["child"] < KILLS and self._dice.random() < 0.7:
                with suppress(ProcessLookupError):
                    os.kill(self._dice.choice(children), signal.SIGKILL)
                self.kills["child"] += 1
            elif worker.running and self.kills["main"] < KILLS:
                worker.kill()
                self.kills["main"] += 1

    def end(self) -> None:
        self._ended.set()
        self.join()


def script_of(vm: VmScript, dice: random.Random) -> list[dict[str, Any]]:
    kinds = ["deploy", *dice.choices(KINDS, k=EVENTS_PER_VM - 2), dice.choice(FINAL)]
    extra: dict[str, dict[str, Any]] = {
        "password_reset": {"guest": {"password": "swordfish"}},
        "update": {"guest": {"user_data": {"text": "#cloud-config\n"}}, "apply": "now"},
    }
    return [vm.event(kind, **extra.get(kind, {})) for kind in kinds]


def drive_at_the_end(events: list[dict[str, Any]]) -> int | None:
    """Return the generation that must be in the drive after all of a VM's events, each VM being off all the time."""
    last = events[-1]
    return int(last["data"]["sequence"]) if ".start." in last["type"] else None


def test_every_event_has_one_outcome_in_order_whoever_dies(
    make_site: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(10**6)  # noqa: S311  # chaos, no cryptography
    dice = random.Random(seed)  # noqa: S311
    site = make_site(workers=3, settings={**QUICK, "unclassified_attempts": 100, "attempts": 1000})
    site.start()
    scripts = {vm: script_of(vm, dice) for vm in (new_vm() for _ in range(VMS))}
    started = time.monotonic()
    chaos = Chaos(site, dice)
    ids: dict[VmScript, list[EventKey]] = {vm: [] for vm in scripts}
    with Supervisor(site.workers) as supervisor:
        chaos.start()
        # In three waves, so that some events find their VM idle and others find it busy.
        for wave in (slice(0, 4), slice(4, 7), slice(7, None)):
            for vm, events in scripts.items():
                ids[vm] += site.publish(*events[wave])
            time.sleep(1.5)
        found = site.outcomes([event for events in ids.values() for event in events], timeout=150)
        chaos.end()
    seconds = time.monotonic() - started

    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] {VMS * EVENTS_PER_VM} events over {VMS} VMs in {seconds:.1f} s, seed {seed}; killed "
            f"{chaos.kills['main']} main processes and {chaos.kills['child']} children\n"
        )
    assert min(chaos.kills.values()) >= 2
    # 1: Celery gives up when a child dies before it was ever ready.
    assert set(supervisor.ends) <= {-signal.SIGKILL, 1}
    order = site.stream()
    assert len(order) == len(set(order)) == VMS * EVENTS_PER_VM
    for vm, events in scripts.items():
        assert [event for event in order if event in set(ids[vm])] == ids[vm]
        statuses = {found[event][0].status for event in ids[vm]}
        assert statuses <= {Status.APPLIED, Status.DROPPED}
        site.require(vm, drive_at_the_end(events))
    assert site.require_no_overlap(scripts) > VMS * 3
    assert site.mailbox.pending() == {"configdrive.simulated": 0}
    assert site.mailbox.dead_letters(10) == []
