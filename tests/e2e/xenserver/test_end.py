"""A worker that ends gives its sessions back: XAPI keeps a few hundred, and throws the oldest out beyond that."""

from __future__ import annotations

from pathlib import Path

import pytest

from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from rigs.xapi import XapiPool
from tests.e2e.xenserver.life import Life
from tests.integration.xenserver.cloud import NFS, A, B, Cloud
from tests.support import require_rig, wait_until


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_session_outlives_its_worker(tmp_path: Path, pool: str) -> None:
    """In a pool of its own: the sessions of other tests' fleets come and go."""
    with require_rig():
        xapi = XapiPool(tmp_path / "pool", (A, B))
    with xapi:
        cloud = Cloud(xapi)
        before = xapi.sessions
        settings = {"concurrency": 2, "pool": pool}
        fleet = Fleet(tmp_path, cloud.pool.inventory_text(), hypervisor="xenserver", settings=settings)
        with fleet:
            vm = Life(cloud, fleet, NFS, A)
            assert vm.send("start").status is Status.APPLIED
            assert xapi.sessions > before
            assert vm.send("destroy").status is Status.APPLIED
            fleet.stop_workers()
            wait_until(lambda: xapi.sessions <= before, "the sessions to end", timeout=20)
