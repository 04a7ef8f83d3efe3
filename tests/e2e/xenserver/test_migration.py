"""A VM moves to another host of its pool, and its config drive with it."""

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import Place
from rigs.xapi import XapiError
from tests.e2e.orchestrator import GUEST
from tests.e2e.xenserver.conftest import NewVm
from tests.e2e.xenserver.life import Life
from tests.integration.xenserver.cloud import BLOCK_A, BLOCK_B, NFS, B, Cloud


def running(new_vm: NewVm, place: Place) -> tuple[Life, bytes]:
    """A VM that runs with its drive; and the drive's bytes."""
    vm = new_vm(place)
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    content = vm.medium()
    assert content is not None
    return vm, content


def move(vm: Life, cloud: Cloud) -> None:
    cloud.site.migrate_vm(vm.script.uuid, B)
    assert cloud.site.host_of(vm.script.uuid) == B


def test_on_shared_files_nothing_is_copied_and_the_drive_stays_in(new_vm: NewVm, cloud: Cloud) -> None:
    vm, content = running(new_vm, NFS)
    assert vm.migrate("prepare").status is Status.APPLIED
    assert vm.medium() == content
    move(vm, cloud)
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"]) == (Status.APPLIED, "already")
    assert (vm.medium(), list(vm.images().values())) == (content, [content])


def test_without_shared_files_xapi_refuses_until_prepare_and_the_drive_is_there_after_complete(
    new_vm: NewVm, cloud: Cloud
) -> None:
    vm, content = running(new_vm, BLOCK_A)
    with pytest.raises(XapiError) as refused:
        move(vm, cloud)
    assert refused.value.description[0] == "VM_REQUIRES_SR"
    assert vm.migrate("prepare").status is Status.APPLIED
    assert (vm.medium(), list(vm.images(BLOCK_B).values())) == (None, [content])
    move(vm, cloud)
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"], completed.facts["password"]) == (
        Status.APPLIED,
        "inserted",
        "on_drive",
    )
    assert vm.medium() == content
    assert (vm.images(BLOCK_A), list(vm.images(BLOCK_B).values())) == ({}, [content])
    again = vm.migrate("complete")
    assert (again.status, again.facts["attach"]) == (Status.APPLIED, "already")

    vm.power_off()
    assert vm.send("stop", host=B).status is Status.APPLIED
    assert (vm.medium(), vm.images(BLOCK_B)) == (None, {})
