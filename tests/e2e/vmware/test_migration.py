"""A VM moves to another host or datastore of its vCenter, and its config drive with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode
from configdrive.outcome import Status
from tests.e2e.vmware.life import GUEST

if TYPE_CHECKING:
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


def test_a_migration_that_does_not_come_about_leaves_all_as_it_was(new_vm: NewVm) -> None:
    vm, content = running(new_vm, "shared")
    assert vm.migrate("prepare").status is Status.APPLIED
    assert vm.migrate("rollback").status is Status.APPLIED
    assert (vm.content(), vm.images()) == (content, [vm.medium()])


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


def test_to_a_host_that_does_not_see_the_datastore_is_refused_with_the_remedy(new_vm: NewVm) -> None:
    vm, content = running(new_vm, "local-1")
    parked = vm.migrate("prepare")
    assert (parked.status, parked.code) == (Status.PARKED, PermanentCode.STORAGE_NOT_FOUND)
    assert (vm.content(), vm.images()) == (content, [vm.medium()])
