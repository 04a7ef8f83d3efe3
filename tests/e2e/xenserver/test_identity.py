"""Whole events on VMs that look like others, are copied, suspended or gone: the right drive, nothing left, an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from tests.e2e.orchestrator import GUEST
from tests.integration.xenserver.cloud import LOCAL_A

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.xenserver.conftest import NewVm
    from tests.integration.xenserver.cloud import Cloud


@pytest.fixture(autouse=True)
def mended(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.pool.faults.clear()


def test_a_stop_ends_while_the_storage_is_away(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm(LOCAL_A)
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    uuids = [cloud.storages[LOCAL_A], *(sr["uuid"] for sr in cloud.iso_srs() if cloud.storages[LOCAL_A] in str(sr))]
    pbds = [pbd for uuid in uuids for pbd in cloud.call("SR.get_PBDs", cloud.call("SR.get_by_uuid", uuid))]
    for pbd in pbds:
        cloud.call("PBD.unplug", pbd)
    try:
        stopped = vm.send("stop")
        assert stopped.status is Status.APPLIED
        assert stopped.facts["left_behind"]
    finally:
        for pbd in pbds:
            cloud.call("PBD.plug", pbd)
    wait_until(lambda: vm.images() == {}, "the leftover to be deleted", timeout=30)
