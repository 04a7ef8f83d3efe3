"""A VM that moves in its pool: whose host it is, and what each phase finds and leaves."""

from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import PowerState, StoredImage, Vm
from configdrive.ports import AttachedHow, EmptyDrive, Inserted, NoDrive
from tests.contract.rig import failure_of, image_name, make_image, verbs
from tests.integration.xenserver.cloud import BLOCK_A, BLOCK_B, LOCAL_A, NFS, A, B, Cloud, give, given
from tests.support import error_of
from workers.hypervisors.xenserver.driver import XenServerDriver


def on_b(vm: Vm) -> Vm:
    return replace(vm, host=B)


def test_a_running_vm_is_on_its_host_and_no_other(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, running=True)
    assert driver.observe(vm).power is PowerState.RUNNING
    away = driver.observe(on_b(vm))
    assert (away.power, away.storage, away.drive) == (PowerState.UNDEFINED, None, NoDrive())
    driver.detach(on_b(vm))
    assert cloud.medium(vm) == make_image(vm).content
    assert error_of(driver.attach, on_b(vm), image_name(vm), NFS).code is PermanentCode.VM_NOT_FOUND


@pytest.mark.parametrize("ending", ["complete", "rollback"])
def test_where_each_host_has_its_own_the_image_is_there_after_either_end(
    cloud: Cloud, driver: XenServerDriver, ending: str
) -> None:
    vm = given(cloud, driver, BLOCK_A, running=True)
    name = image_name(vm)
    there = driver.observe(replace(on_b(vm), primary_storage=BLOCK_A.storage), [BLOCK_A])
    assert (there.power, there.storage) == (PowerState.UNDEFINED, BLOCK_B)
    assert there.images == (StoredImage(name, BLOCK_A),)
    for _ in range(2):  # prepare, twice
        driver.copy(on_b(vm), name, BLOCK_A, BLOCK_B)
    assert driver.observe(vm).drive == EmptyDrive()
    at, place, left = (on_b(vm), BLOCK_B, BLOCK_A) if ending == "complete" else (vm, BLOCK_A, BLOCK_B)
    if ending == "complete":
        cloud.site.migrate_vm(vm.uuid, B)
    assert driver.observe(at, [left]).storage == place
    assert driver.attach(at, name, place).how is AttachedHow.INSERTED
    driver.delete(at, StoredImage(name, left))
    assert cloud.medium(vm) == make_image(vm).content
    assert (list(cloud.images(place)), list(cloud.images(left))) == ([str(name)], [])


def test_a_halted_vm_whose_image_is_copied_keeps_its_medium(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, BLOCK_A, running=True)
    cloud.site.stop_vm(vm.uuid)
    driver.copy(on_b(vm), image_name(vm), BLOCK_A, BLOCK_B)
    assert cloud.medium(vm) == make_image(vm).content


def test_a_halted_vm_that_was_given_to_another_host_is_not_emptied_on_the_one_before(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    """HA: the VM's host failed, its start comes for another host, and the one before is to give up what it has."""
    vm = given(cloud, driver, running=True)
    cloud.site.stop_vm(vm.uuid)
    again = on_b(vm)
    seen = driver.observe(again)
    assert (seen.power, seen.storage, seen.drive) == (PowerState.UNDEFINED, NFS, Inserted(image_name(vm), NFS))
    give(driver, again, 2)
    assert driver.observe(again).power is PowerState.HALTED
    assert driver.observe(vm).power is PowerState.UNDEFINED  # so nobody detaches it there
    assert [one.uuid for one in driver.survey(A).vms] == []
    assert [one.uuid for one in driver.survey(B).vms] == [vm.uuid]


def test_a_stop_finds_the_drive_on_whatever_host_it_is_said_to_be(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, running=True)
    cloud.site.migrate_vm(vm.uuid, B)  # by itself
    cloud.site.stop_vm(vm.uuid)
    for at in (on_b(vm), vm):
        assert driver.observe(at).drive == Inserted(image_name(vm), NFS)
    driver.detach(on_b(vm))
    assert cloud.medium(vm) is None


def test_a_halted_vm_is_not_on_a_host_that_has_not_its_root_disk_s_storage(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = cloud.vm(LOCAL_A)
    assert driver.observe(vm).power is PowerState.HALTED
    assert driver.observe(on_b(vm)).power is PowerState.UNDEFINED


def test_a_host_that_its_pool_has_lost_is_away_and_so_is_what_it_has(cloud: Cloud, driver: XenServerDriver) -> None:
    vm, other = cloud.vm(BLOCK_A), given(cloud, driver, BLOCK_A, running=True)
    for place in (BLOCK_A, BLOCK_B):
        driver.upload(vm, make_image(vm), place)
    with cloud.pool.down(B):
        fresh = cloud.driver()
        seen = fresh.observe(vm, [BLOCK_B, NFS])
        assert seen.images == (StoredImage(image_name(vm), BLOCK_A),)
        assert seen.unreachable == (BLOCK_B,)
        for verb in verbs(fresh, on_b(vm), make_image(vm), BLOCK_B, BLOCK_B).values():
            failure = failure_of(verb)
            assert failure is not None
            assert failure.code is TransientCode.HOST_UNREACHABLE
        assert fresh.observe(other).power is PowerState.RUNNING
    assert driver.observe(vm, [BLOCK_B]).unreachable == ()


@pytest.mark.parametrize("newer", [False, True])
def test_a_vm_that_is_on_its_way_is_busy_and_nothing_else(
    cloud: Cloud, driver: XenServerDriver, *, newer: bool
) -> None:
    """Newer releases name the task, too."""
    cloud.pool.world.newer = newer
    vm = cloud.vm(running=True)
    driver.upload(vm, make_image(vm), NFS)
    with cloud.site.migrating(vm.uuid, B):
        assert error_of(driver.attach, vm, image_name(vm), NFS).code is TransientCode.VM_BUSY
    assert driver.attach(on_b(vm), image_name(vm), NFS).how is AttachedHow.NEXT_BOOT


def test_a_place_of_another_host_is_not_attached(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm(BLOCK_A)
    driver.upload(vm, make_image(vm), BLOCK_B)
    assert error_of(driver.attach, vm, image_name(vm), BLOCK_B).code is PermanentCode.STORAGE_NOT_FOUND


# --- HA: a VM that is restarted on any host has its image where all see it --------------------------------------------


@pytest.mark.parametrize("newer", [False, True])
def test_an_image_that_one_host_sees_is_refused_for_good(cloud: Cloud, *, newer: bool) -> None:
    cloud.pool.world.newer = newer
    driver, vm = cloud.driver(), cloud.vm(BLOCK_A)
    cloud.pool.protect(vm.uuid)
    error = error_of(give, driver, vm, place=BLOCK_A)
    assert error.code is PermanentCode.MISCONFIGURED
    assert "fallback_sr" in error.remedy
    assert ("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED" in error.detail) is newer


def test_with_a_fallback_it_lies_there_and_moves_with_the_vm(cloud: Cloud) -> None:
    driver, vm, plain = cloud.driver(fallback_sr="nfs"), cloud.vm(BLOCK_A), cloud.vm(BLOCK_A)
    cloud.pool.protect(vm.uuid)
    assert driver.observe(plain).storage == BLOCK_A
    assert driver.observe(vm).storage == NFS
    assert give(driver, vm).how is AttachedHow.INSERTED
    cloud.site.start_vm(vm.uuid, A)
    cloud.site.stop_vm(vm.uuid)  # its host fails
    cloud.site.start_vm(vm.uuid, B)
    seen = driver.observe(replace(vm, host=B))
    assert (seen.storage, seen.images) == (NFS, (StoredImage(image_name(vm), NFS),))
    assert cloud.medium(vm) == make_image(vm).content


@pytest.mark.parametrize(("name", "well"), [("nfs", True), ("local", False), ("elsewhere", False)])
def test_doctor_looks_at_the_fallback(cloud: Cloud, name: str, *, well: bool) -> None:
    assert cloud.storages[LOCAL_A]
    assert all(check.ok for check in cloud.driver(fallback_sr=name).check(A)) is well
