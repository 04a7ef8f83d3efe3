"""Lives of drives where names repeat and overlap, and others have to do with the VM: the right one, always an end."""

import pytest

from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from rigs.iso_files import read_iso
from rigs.process import wait_until
from rigs.vcsim.cloud import Cloud
from tests.e2e.orchestrator import GUEST
from tests.e2e.vmware.conftest import NewVm
from tests.support import run_command


def test_what_moves_to_another_datacenter_leaves_nothing_on_the_datastore_of_the_same_name(
    cloud: Cloud, new_vm: NewVm
) -> None:
    vm = new_vm("shared", "cluster-01")
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
def test_events_by_another_name_of_the_same_host_keep_the_drive(new_vm: NewVm, datastore: str) -> None:
    vm = new_vm(datastore)
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    before = vm.content()
    for host in ("cluster-01", "everything", "h1"):
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


def test_the_sweep_keeps_the_only_copy_whatever_host_it_is_found_by(new_vm: NewVm, fleet: Fleet) -> None:
    vms = [new_vm("local-1", host) for host in ("h1", "cluster-01", "everything")]
    for vm in vms[:2]:
        assert vm.send("deploy", guest=GUEST).status is Status.APPLIED
    assert vms[2].send("start", guest=GUEST).status is Status.APPLIED
    before = [vm.images() for vm in vms]
    for _ in range(2):
        done = run_command(fleet.environment, "sweep")
        assert done.exit_code == 0, done.output
    assert [vm.images() for vm in vms] == before
    for vm in vms:
        assert vm.send("destroy").status is Status.APPLIED
        assert vm.images() == []


def test_stop_of_a_suspended_vm_ends_and_is_finished_when_the_vm_is_off(cloud: Cloud, new_vm: NewVm) -> None:
    vm = new_vm("shared", "cluster-01")
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
