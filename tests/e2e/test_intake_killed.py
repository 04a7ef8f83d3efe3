"""Processes that take from the intake are killed in the middle of 1,000 events: none lost, none twice, order kept."""

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configdrive.model import VmUuid
from rigs.cloud import Cloud, VmScript
from rigs.fleet import Fleet
from rigs.process import Daemon, wait_until
from rigs.worker import CONFIGDRIVE
from tests.support import require_rig

VMS, ROUNDS, EACH = 25, 2, 20
"""In each round each VM has so many events: 1,000 in all."""

SETTINGS = {"lease_seconds": 0.6, "wakeup_seconds": 0.1, "intake_seconds": 0.005}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without workers: what was taken in stays where it can be looked at."""
    with require_rig():
        fleet = Fleet(tmp_path, Cloud(tmp_path / "world").inventory, workers=0, settings=SETTINGS)
    with fleet:
        yield fleet


def test_nothing_is_lost_doubled_or_out_of_order(fleet: Fleet, tmp_path: Path) -> None:
    vms = [VmScript() for _ in range(VMS)]
    ingesters = [
        Daemon([CONFIGDRIVE, "wake", "--every", "0.5"], tmp_path / f"ingester-{number}.log", fleet.environment)
        for number in range(2)
    ]
    pushed = 0

    with fleet.redis.client() as redis:

        def feed(events: list[dict[str, Any]]) -> None:
            for event in events:
                redis.lpush("configdrive:intake", json.dumps(event))
                time.sleep(0.001)

        def settled() -> bool:
            return int(redis.get("configdrive:intake:number") or 0) == pushed

        try:
            for round_ in range(ROUNDS):
                for ingester in ingesters:
                    ingester.start()
                wait_until(settled, f"{pushed} events to be taken", timeout=60)
                wait_until(lambda: redis.exists("configdrive:intake:lease"), "an ingester", timeout=60)
                events = [vm.event("stop") for _ in range(EACH) for vm in vms]
                pushed += len(events)
                feeder = threading.Thread(target=feed, args=(events,), daemon=True)
                feeder.start()
                time.sleep(random.uniform(0, 0.3))  # noqa: S311 - no secret
                for ingester in ingesters[round_ % 2 :]:  # all of them, or the one that may be at it or stand by
                    ingester.kill()
                feeder.join(300)
            for ingester in ingesters:
                ingester.start()
            wait_until(settled, "all events to be taken", timeout=60)
            assert redis.llen("configdrive:intake") == redis.llen("configdrive:intake:taken") == 0
        finally:
            for ingester in ingesters:
                ingester.kill()
    assert pushed == 1000
    for vm in vms:
        view = fleet.mailbox.view(VmUuid(vm.uuid))
        assert view is not None
        assert [header.sequence for header in view.mail] == list(range(1, ROUNDS * EACH + 1))
    assert fleet.mailbox.dead_letters(10) == []
    assert all("Traceback" not in ingester.log.read_text() for ingester in ingesters)
