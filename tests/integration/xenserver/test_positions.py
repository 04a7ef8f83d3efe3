"""The table of a VM's drives: what is attached, where, how the guest sees it, and what is left when it is off."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import ImageName, Place, Presentation, StoredImage, Vm
from configdrive.ports import AttachedHow
from rigs.xapi import Drive, XapiError, XapiPool
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import BLOCK_A, BLOCK_B, NFS, A, B, Cloud, give
from tests.support import error_of, require_rig
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import VM_MARK

DISKS = ((), ("1",), ("1", "2"), ("1", "2", "4"))
CD_AT_2, DISK_AT_15 = ("CD", "2", "xvdc"), ("Disk", "15", "xvdp")
RIGHT = dict(zip(DISKS, (CD_AT_2, CD_AT_2, DISK_AT_15, DISK_AT_15), strict=True))
"""By the VM's data disks; CDs of the user's own change nothing, as they belong at 3."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with require_rig():
        pool = XapiPool(tmp_path_factory.mktemp("places") / "pool", (A, B))
    with pool:
        made = Cloud(pool)
        yield made
        made.close()


@pytest.fixture(scope="module")
def driver(cloud: Cloud) -> XenServerDriver:
    return cloud.driver()


def made(cloud: Cloud, place: Place, cd: str, disks: tuple[str, ...], *, drivers: bool = True) -> Vm:
    """A halted VM on A; `cd`: `none`, `empty` or `iso`, at 3."""
    vm = cloud.vm(place, pv_drivers=drivers)
    for disk in disks:
        cloud.site.add_disk(vm.uuid, disk, cloud.storages[place])
    if cd == "empty":
        cloud.site.add_cd(vm.uuid, "3")
    if cd == "iso":
        cloud.site.add_user_iso(vm.uuid)
    return vm


def place_of(drives: list[Drive]) -> tuple[str, str]:
    (drive,) = drives
    return drive.kind, drive.userdevice


@pytest.mark.parametrize("place", [NFS, BLOCK_A], ids=["shared", "local"])
@pytest.mark.parametrize("power", ["halted", "running", "without drivers"])
@pytest.mark.parametrize("disks", DISKS, ids=len)
@pytest.mark.parametrize("cd", ["none", "empty", "iso"])
def test_a_life(  # noqa: PLR0913, PLR0917  # the table's columns
    cloud: Cloud, driver: XenServerDriver, cd: str, disks: tuple[str, ...], power: str, place: Place
) -> None:
    drivers = power != "without drivers"
    vm = made(cloud, place, cd, disks, drivers=drivers)
    before = cloud.site.drives(vm.uuid)
    kind, device, name = RIGHT[disks]
    is_cd = kind == "CD"
    sees = is_cd or drivers
    if power != "halted":
        cloud.site.start_vm(vm.uuid, A)

    # A start: what is attached, where, and what the outcome says.
    given = give(driver, vm, place=place)
    assert given.how is (AttachedHow.INSERTED if power == "halted" else AttachedHow.NEXT_BOOT)
    assert given.device == name
    assert given.facts == ({"seen_as": "cdrom"} if is_cd else {"seen_as": "disk", "needs": "xen_drivers"})
    assert place_of(cloud.config_drives(vm)) == (kind, device)

    # The next boot: how the guest sees it.
    if power != "halted":
        cloud.site.stop_vm(vm.uuid)
    cloud.site.start_vm(vm.uuid, A)
    (drive,) = cloud.config_drives(vm)
    assert (drive.attached, drive.seen, drive.mode) == (True, sees, "RO")

    # `--now`: a CD is exchanged, what is a disk stays until a stop and a start.
    now = give(driver, vm, 2, place)
    assert now.how is (AttachedHow.INSERTED if is_cd else AttachedHow.NEXT_BOOT)
    assert now.facts.get("needs") == (None if is_cd else "stop_and_start")
    assert cloud.medium(vm) == make_image(vm, 2 if is_cd else 1).content
    if not is_cd:
        error = error_of(driver.delete, vm, StoredImage(image_name(vm), place), anyones=False)
        assert error.code is TransientCode.IMAGE_IN_USE  # left behind: the start is applied all the same

    _snapshot(cloud, vm, possible=is_cd)
    at = _migrate(cloud, driver, vm, place, image_name(vm, 2 if is_cd else 1), is_cd=is_cd, drivers=drivers)

    # A stop leaves the drives as they were; its images go in tests/e2e/xenserver/test_life.py.
    cloud.site.stop_vm(vm.uuid)
    driver.detach(at)
    assert cloud.site.drives(vm.uuid) == before
    cloud.call("VM.destroy", cloud.ref(vm))  # lest the pool grow with each life


def _snapshot(cloud: Cloud, vm: Vm, *, possible: bool) -> None:
    """XAPI snapshots the VDI of each disk, and the ISO driver has no such ability (after xapi's sources)."""
    if possible:
        cloud.call("VM.destroy", cloud.call("VM.snapshot", cloud.ref(vm), "kept"))
        return
    with pytest.raises(XapiError) as refused:
        cloud.call("VM.snapshot", cloud.ref(vm), "kept")
    assert refused.value.description[0] == "SR_OPERATION_NOT_SUPPORTED"


def _migrate(  # noqa: PLR0913
    cloud: Cloud, driver: XenServerDriver, vm: Vm, place: Place, there: ImageName, *, is_cd: bool, drivers: bool
) -> Vm:
    """A live migration in its phases; answers where the VM is then."""
    on_b = replace(vm, host=B)
    if place == NFS:
        cloud.site.migrate_vm(vm.uuid, B)
        assert driver.attach(on_b, there, NFS).how is AttachedHow.ALREADY
        return on_b
    with pytest.raises(XapiError) as refused:
        cloud.site.migrate_vm(vm.uuid, B)
    assert refused.value.description[0] == "VM_REQUIRES_SR"
    if not (is_cd or drivers):
        error = error_of(driver.copy, on_b, there, BLOCK_A, BLOCK_B)
        assert error.code is PermanentCode.NOT_SUPPORTED  # the guest has no drivers to give a disk up
        return vm
    driver.copy(on_b, there, BLOCK_A, BLOCK_B)
    cloud.site.migrate_vm(vm.uuid, B)
    arrived = driver.attach(on_b, there, BLOCK_B)
    assert arrived.how is (AttachedHow.INSERTED if is_cd else AttachedHow.NEXT_BOOT)
    return on_b


@pytest.mark.parametrize("iso", [True, False])
def test_an_empty_drive_of_the_user_s_is_borrowed_where_the_inventory_says_so(cloud: Cloud, *, iso: bool) -> None:
    driver = cloud.driver(borrow_empty_cd=True)
    vm = made(cloud, NFS, "iso" if iso else "empty", ())
    before = cloud.site.drives(vm.uuid)
    cloud.site.start_vm(vm.uuid, A)
    for generation in (1, 2):
        given = give(driver, vm, generation)
        if iso:  # theirs is not empty
            assert (given.how, given.device) == (AttachedHow.NEXT_BOOT, "xvdc")
            continue
        assert (given.how, given.facts["borrowed"]) == (AttachedHow.INSERTED, "xvdd")
        assert cloud.medium(vm) == make_image(vm, generation).content
    cloud.site.stop_vm(vm.uuid)
    driver.detach(vm)
    assert cloud.site.drives(vm.uuid) == before


def test_a_data_disk_that_wants_the_drive_s_place_comes_while_the_vm_is_off(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = made(cloud, NFS, "none", ("1",))
    give(driver, vm)
    cloud.site.start_vm(vm.uuid, A)
    with pytest.raises(XapiError) as refused:
        cloud.site.add_disk(vm.uuid, "2", cloud.storages[NFS])
    assert refused.value.description == ["DEVICE_ALREADY_EXISTS", "2"]
    cloud.site.stop_vm(vm.uuid)
    driver.detach(vm)
    cloud.site.add_disk(vm.uuid, "2", cloud.storages[NFS])
    assert give(driver, vm, 2).device == "xvdp"


def test_where_guests_see_one_cd_only_it_is_a_disk(cloud: Cloud) -> None:
    driver, vm = cloud.driver(second_cd=False), made(cloud, NFS, "empty", ())
    assert give(driver, vm).device == "xvdp"
    assert give(driver, made(cloud, NFS, "none", ())).device == "xvdc"


@pytest.mark.parametrize("place", ["1", "4", "5"])
def test_an_old_drive_at_a_place_that_is_no_longer_used_goes_with_the_next_start(
    cloud: Cloud, driver: XenServerDriver, place: str
) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    old = cloud.site.add_cd(vm.uuid, place, {VM_MARK: vm.uuid})
    (sr,) = {sr["uuid"] for sr in cloud.iso_srs() if sr["shared"]}
    cloud.site.insert(vm.uuid, place, sr, image_name(vm).file)
    cloud.site.start_vm(vm.uuid, A)
    now = give(driver, vm, 2)  # while it runs, XAPI can exchange what is emulated alone
    assert now.how is (AttachedHow.INSERTED if place == "1" else AttachedHow.NEXT_BOOT)
    if place != "1":
        assert error_of(driver.detach, vm).code is TransientCode.VM_BUSY
    cloud.site.stop_vm(vm.uuid)
    assert give(driver, vm, 3).device == "xvdc"
    assert place_of(cloud.config_drives(vm)) == ("CD", "2")
    assert old not in {drive.reference for drive in cloud.site.drives(vm.uuid)}


@pytest.mark.parametrize("presentation", list(Presentation))
def test_a_guest_of_another_kind_than_hvm_gets_a_disk_plugged(cloud: Cloud, presentation: Presentation) -> None:
    """Recorded: a CD comes with the next boot; a disk is refused for HVM only (xapi's sources)."""
    vm = replace(cloud.vm(hvm=False, running=True), presentation=presentation)
    driver = cloud.driver()
    for generation in (1, 2):
        is_disk = presentation is Presentation.DISK
        given = give(driver, vm, generation)
        assert given.how is (AttachedHow.HOT_ADDED if is_disk else AttachedHow.NEXT_BOOT)
        assert cloud.medium(vm) == make_image(vm, generation).content
