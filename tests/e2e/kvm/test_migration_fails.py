"""Migrations that do not come about: the VM keeps its drive, and the outcome says what to do."""

from contextlib import suppress
from pathlib import Path

import libvirt
import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, TransientCode
from rigs.process import wait_until
from tests.e2e.kvm.moving import NewVm, require_moved, require_untouched, running
from tests.e2e.kvm.site import ALONE, LOCAL, Site


def test_complete_before_the_vm_has_come_changes_nothing_and_is_done_when_it_is_published_again(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    content = vm.images("h1")[path]
    vm.migrate("prepare")
    early = vm.migrate("complete")
    assert (early.status, early.code) == (Status.PARKED, PermanentCode.VM_NOT_FOUND)
    require_untouched(vm, path)
    vm.move()
    assert vm.retry(early).status is Status.APPLIED
    require_moved(vm, path, content)
    assert vm.images("h1") == {}


@pytest.mark.parametrize("ejected", [False, True], ids=["medium in", "medium ejected"])
def test_rollback_is_as_if_nothing_had_been_prepared(new_vm: NewVm, *, ejected: bool) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    before = vm.images("h1")
    vm.migrate("prepare")
    assert vm.images("h2") == before
    if ejected:
        vm.change_medium("h1", None)
    with pytest.raises(libvirt.libvirtError, match="Cannot access storage file"):
        vm.move(root=False)
    assert vm.migrate("rollback").status is Status.APPLIED
    require_untouched(vm, path)
    assert (vm.images("h1"), vm.images("h2")) == (before, {})


def test_a_rollback_without_the_destination_says_what_stays_there_and_it_goes_when_that_is_back(
    new_vm: NewVm, hosts: Site
) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    vm.migrate("prepare")
    with hosts.clouds["h2"].unreachable():
        rolled_back = vm.migrate("rollback")
    assert (rolled_back.status, rolled_back.facts["left_behind"]) == (Status.APPLIED, f"drive@h2, {LOCAL}@h2")
    require_untouched(vm, path)
    vm.power_off()
    assert vm.send("stop").status is Status.APPLIED
    assert vm.images("h1") == {}
    wait_until(lambda: vm.images("h2") == {}, "h2 to be asked again", timeout=30)


def test_a_destination_that_does_not_answer_parks_the_copy_until_it_is_back(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    with hosts.clouds["h2"].unreachable():
        parked = vm.migrate("prepare")
        assert (parked.status, parked.code, parked.attempts) == (Status.PARKED, TransientCode.HOST_UNREACHABLE, 3)
        assert "h2" in parked.detail
        assert vm.images("h2") == {}
    assert vm.goes_on(parked).status is Status.APPLIED
    require_untouched(vm, path)
    assert vm.images("h2") == vm.images("h1")


@pytest.mark.parametrize(
    ("storage", "destination", "ending"),
    [
        (LOCAL, "h9", (Status.REJECTED, PermanentCode.UNKNOWN_HOST)),
        (ALONE, "h2", (Status.PARKED, PermanentCode.STORAGE_NOT_FOUND)),
    ],
    ids=["unknown", "lacks the pool"],
)
def test_a_destination_that_cannot_take_the_drive_is_reported_at_once(
    new_vm: NewVm, hosts: Site, storage: str, destination: str, ending: tuple[Status, PermanentCode]
) -> None:
    vm = new_vm(storage)
    path = running(vm)
    leave_of_a_pool(hosts, hosts.directory / storage)
    ended = vm.migrate("prepare", destination=destination)
    assert (ended.status, ended.code, ended.attempts) == (*ending, 1)
    assert destination in ended.detail
    assert ended.remedy
    require_untouched(vm, path)
    assert vm.images("h2") == {}


def leave_of_a_pool(hosts: Site, directory: Path) -> None:
    """Have h2 hold what the fleet leaves of a pool that was undefined there: no place for anything new."""
    hosts.hosts["h2"].outside(directory / "configdrive").mkdir(parents=True, exist_ok=True)
    target = f"<target><path>{directory}/configdrive</path></target>"
    with suppress(libvirt.libvirtError):  # an earlier test has left one
        hosts.clouds["h2"].connection.storagePoolCreateXML(
            f"<pool type='dir'><name>configdrive-gone</name>{target}</pool>"
        )
