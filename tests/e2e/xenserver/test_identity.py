"""Whole events on VMs that look like others, are copied, suspended or gone: the right drive, nothing left, an end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from rigs.cloud import VmScript
from rigs.process import wait_until
from tests.e2e.orchestrator import GUEST
from tests.integration.xenserver.cloud import LOCAL_A

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.xenserver.conftest import NewVm
    from tests.e2e.xenserver.life import Life
    from tests.integration.xenserver.cloud import Cloud


@pytest.fixture(autouse=True)
def mended(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.pool.faults.clear()


def clone_of(vm: Life, cloud: Cloud) -> Life:
    """The clone of a VM that is off, known to the orchestrator by its own uuid."""
    uuid = cloud.site.clone_vm(vm.script.uuid, "clone")
    clone = replace(vm, script=VmScript(), is_there=True)
    clone.script.uuid, clone.script.name = uuid, "clone"
    return clone


def test_a_vm_of_the_same_name_keeps_its_drive(new_vm: NewVm, cloud: Cloud) -> None:
    there, gone = new_vm(), new_vm()
    cloud.call("VM.destroy", cloud.ref(gone.vm))
    gone.script.name = there.script.name
    assert there.send("start", guest=GUEST).status is Status.APPLIED
    content = there.medium()
    parked = gone.send("start", guest=GUEST)
    assert (parked.status, parked.code) == (Status.PARKED, PermanentCode.VM_NOT_FOUND)
    assert gone.send("destroy").status is Status.APPLIED
    assert there.medium() == content
    assert gone.images() == {}


def test_a_clone_holds_nobody_up_and_gets_a_drive_of_its_own(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm()
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    clone = clone_of(vm, cloud)
    again = vm.send("start", guest=GUEST)
    assert (again.status, "left_behind" in again.facts) == (Status.APPLIED, False)
    assert list(vm.images().values()) == [vm.medium()]
    assert clone.send("start", guest=GUEST).status is Status.APPLIED
    assert list(clone.images().values()) == [clone.medium()]
    assert vm.send("destroy").status is Status.APPLIED
    assert clone.medium() is not None


def test_what_a_running_clone_has_is_left_behind_and_goes_later(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm()
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    clone = clone_of(vm, cloud)
    clone.power_on()
    again = vm.send("start", guest=GUEST)
    assert again.status is Status.APPLIED
    assert again.facts["left_behind"]
    assert vm.medium() is not None
    clone.power_off()
    wait_until(lambda: len(vm.images()) == 1, "the leftover to be deleted", timeout=30)
    assert list(vm.images().values()) == [vm.medium()]


def test_a_stop_of_a_suspended_vm_ends_and_is_finished_when_it_is_off(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm()
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    row = cloud.pool.world.db.row("VM", cloud.ref(vm.vm))
    row["power_state"] = "Suspended"
    stopped = vm.send("stop")
    assert stopped.status is Status.APPLIED
    assert stopped.facts["left_behind"]
    assert vm.medium() is not None
    row["power_state"] = "Running"
    vm.power_off()
    wait_until(lambda: vm.images() == {}, "the leftover to be deleted", timeout=30)
    assert vm.medium() is None


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


def test_what_a_failed_start_has_brought_goes_with_the_destroy(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm()
    cloud.pool.faults.fail("VBD.create", "INTERNAL_ERROR", "no", times=None)
    assert vm.send("start", guest=GUEST).status is Status.PARKED
    assert len(vm.images()) == 1
    cloud.pool.faults.clear()
    cloud.call("VM.destroy", cloud.ref(vm.vm))
    destroyed = vm.send("destroy")
    assert (destroyed.status, "left_behind" in destroyed.facts) == (Status.APPLIED, False)
    assert vm.images() == {}


def test_a_user_s_own_drive_is_as_it_was_after_a_whole_life(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm()
    cloud.site.add_user_iso(vm.script.uuid)
    cloud.site.add_cd(vm.script.uuid, "1", {"theirs": "yes"})
    before = cloud.site.drives(vm.script.uuid)
    assert vm.send("deploy", guest=GUEST).status is Status.APPLIED
    for kind in ("start", "stop", "start", "destroy"):
        assert vm.send(kind).status is Status.APPLIED
    assert cloud.site.drives(vm.script.uuid) == before
