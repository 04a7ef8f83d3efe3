"""Lives of drives where names repeat and overlap, and others have to do with the VM: the right one, always an end."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from rigs.iso_files import read_iso
from rigs.process import wait_until
from tests.e2e.orchestrator import GUEST
from tests.e2e.vmware.conftest import SETTINGS
from tests.e2e.vmware.life import Life
from tests.support import require_rig, run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rigs.vcsim.cloud import Cloud

CLUSTERS = {("DC0", "cluster-01"): ["esx-01", "esx-02"], ("DC1", "cluster-02"): ["esx-11"]}
DATASTORES = {"shared": ["esx-01", "esx-02"], "local-1": ["esx-01"], "DC1/shared": ["esx-11"]}
HOSTS = {
    "esx-01": {"esxi": "esx-01"},
    "cluster-01": {"cluster": "cluster-01"},
    "cluster-02": {"cluster": "cluster-02"},
    "everything": {},
}
"""As the documentation and the example have them: they overlap."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    from rigs.vcsim.cloud import Cloud  # noqa: PLC0415  # needs pyvmomi
    from rigs.vcsim.server import VCenter  # noqa: PLC0415

    with require_rig():
        center = VCenter(tmp_path_factory.mktemp("wide"), DATASTORES, clusters=CLUSTERS)
        center.start()
    with center, closing(Cloud(center)) as opened:
        yield opened


@pytest.fixture(scope="module")
def fleet(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    settings = {**SETTINGS, "orphan_seconds": 0.1, "leftover_seconds": 1}
    inventory = cloud.center.inventory_text(HOSTS)
    with require_rig():
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), inventory, hypervisor="vmware", settings=settings)
    with fleet:
        yield fleet


def sweep(fleet: Fleet) -> str:
    """Sweep the storages, as an operator does."""
    done = run_command(fleet.environment, "sweep")
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_moves_to_another_datacenter_leaves_nothing_on_the_datastore_of_the_same_name(
    cloud: Cloud, fleet: Fleet
) -> None:
    vm = Life(cloud, fleet, "shared", host="cluster-01")
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    before = vm.content()
    assert vm.migrate("prepare", "cluster-02").status is Status.APPLIED
    cloud.relocate(vm.name, host="esx-11", datastore="DC1/shared")
    completed = vm.migrate("complete", "cluster-02")
    assert (completed.status, completed.facts["attach"]) == (Status.APPLIED, "inserted")
    assert "left_behind" not in completed.facts
    [image] = vm.images()
    assert image.startswith("[DC1-shared] ")
    assert vm.medium() == image.replace("DC1-shared", "shared")
    assert (cloud.center.datastore("DC1/shared") / image.partition("] ")[2]).read_bytes() == before
    vm.host = "cluster-02"
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)


@pytest.mark.parametrize("datastore", ["shared", "local-1"])
def test_events_by_another_name_of_the_same_host_keep_the_drive(cloud: Cloud, fleet: Fleet, datastore: str) -> None:
    vm = Life(cloud, fleet, datastore, host="esx-01")
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    before = vm.content()
    for host in ("cluster-01", "everything", "esx-01"):
        vm.host = host
        started = vm.send("start", guest=GUEST)
        assert (started.status, "left_behind" in started.facts) == (Status.APPLIED, False)
        assert read_iso(vm.content()) == read_iso(before)
        assert vm.images() == [vm.medium()]
    assert vm.migrate("complete", "cluster-01").status is Status.APPLIED
    assert vm.images() == [vm.medium()]
    vm.host = "everything"
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)


def test_the_sweep_keeps_the_only_copy_whatever_host_it_is_found_by(cloud: Cloud, fleet: Fleet) -> None:
    vms = [Life(cloud, fleet, "local-1", host=host) for host in ("esx-01", "cluster-01", "everything")]
    for vm in vms[:2]:
        assert vm.send("deploy", guest=GUEST).status is Status.APPLIED
    assert vms[2].send("start", guest=GUEST).status is Status.APPLIED
    before = [vm.images() for vm in vms]
    for _ in range(2):
        sweep(fleet)
    assert [vm.images() for vm in vms] == before
    for vm in vms:
        assert vm.send("destroy").status is Status.APPLIED
        assert vm.images() == []


def test_stop_of_a_suspended_vm_ends_and_is_finished_when_the_vm_is_off(cloud: Cloud, fleet: Fleet) -> None:
    vm = Life(cloud, fleet, "shared", host="cluster-01")
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    cloud.suspend(vm.name)
    stopped = vm.send("stop")
    assert stopped.status is Status.APPLIED
    assert "left_behind" in stopped.facts
    assert vm.images() != []
    vm.power_on()
    vm.power_off()
    wait_until(lambda: vm.images() == [], "the leftover to go", timeout=60)
    assert vm.medium() is None
