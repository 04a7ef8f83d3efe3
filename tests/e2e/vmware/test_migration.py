"""A VM moves to another host or datastore of its vCenter, and its config drive with it."""

import pytest

from configdrive.contract.outcome import Status
from rigs.process import RigError
from tests.e2e.orchestrator import GUEST
from tests.e2e.vmware.conftest import NewVm
from tests.e2e.vmware.life import Life


def running(new_vm: NewVm, datastore: str) -> tuple[Life, bytes]:
    """A VM that runs with its drive; and the drive's bytes."""
    vm = new_vm(datastore)
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    return vm, vm.content()


def test_on_a_shared_datastore_the_drive_stays_as_it_is(new_vm: NewVm) -> None:
    vm, content = running(new_vm, "shared")
    before = vm.medium()
    assert vm.migrate("prepare").status is Status.APPLIED
    vm.cloud.relocate(vm.name, host="esx-02")
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"]) == (Status.APPLIED, "already")
    assert (vm.medium(), vm.content(), vm.images()) == (before, content, [before])


def test_with_its_disks_on_another_datastore_the_drive_follows(new_vm: NewVm) -> None:
    vm, content = running(new_vm, "shared")
    assert vm.migrate("prepare").status is Status.APPLIED
    vm.cloud.relocate(vm.name, host="esx-02", datastore="other")
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"], completed.facts["storage"]) == (
        Status.APPLIED,
        "inserted",
        "other",
    )
    assert vm.content() == content
    assert vm.images() == [vm.medium()]
    assert vm.images()[0].startswith("[other] ")
    vm.host = "h2"
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)


def test_off_a_local_datastore_vsphere_refuses_until_prepare_and_the_drive_is_there_after_complete(
    new_vm: NewVm,
) -> None:
    vm, content = running(new_vm, "local-1")
    with pytest.raises(RigError, match="CannotAccessVmDevice"):
        vm.cloud.relocate(vm.name, host="esx-02", datastore="local-2")
    assert vm.migrate("prepare").status is Status.APPLIED
    assert vm.medium() is None
    assert len(vm.images()) == 2
    vm.cloud.relocate(vm.name, host="esx-02", datastore="local-2")
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"], completed.facts["password"]) == (
        Status.APPLIED,
        "inserted",
        "on_drive",
    )
    assert vm.content() == content
    assert vm.images() == [vm.medium()]
    assert vm.images()[0].startswith("[local-2] ")


def test_off_a_local_datastore_and_not_at_all_the_drive_is_as_before(new_vm: NewVm) -> None:
    vm, content = running(new_vm, "local-1")
    before = vm.medium()
    assert vm.migrate("prepare").status is Status.APPLIED
    rolled = vm.migrate("rollback")
    assert (rolled.status, rolled.facts["attach"]) == (Status.APPLIED, "inserted")
    assert (vm.content(), vm.images(), vm.medium()) == (content, [before], before)
