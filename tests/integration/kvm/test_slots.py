"""Which drive becomes the config drive, on every kind of machine; and that there are never two."""

from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import AttachBy, GuestOs, Place, Presentation, StoredImage, Vm
from configdrive.ports import AttachedHow, Inserted
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HDD, SCSI, Cloud, MakeDriver, blank, disk, give, image_at
from tests.support import error_of
from workers.hypervisors.kvm.driver import KvmDriver

USB = "<controller type='usb' index='0' model='qemu-xhci'/>"


def fill(cloud: Cloud, vm: Vm, folder: Path) -> None:
    """Plug disks into a running VM until libvirt refuses one."""
    for letter in "bcdefghij":
        data = blank(folder / letter)
        cloud.domain(vm).attachDeviceFlags(disk(data, f"vd{letter}", "virtio", "disk"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def test_a_user_s_iso_in_every_target_or_no_bus_leaves_no_free_slot(
    cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path
) -> None:
    driver, user_iso = make_driver(cd_targets=["hdd"]), blank(tmp_path / "user.iso")
    for running in (False, True):
        vm = cloud.define(disk(user_iso, "hdd", "ide"), running=running)
        for by in AttachBy:
            assert error_of(give, driver, replace(vm, attach_by=by), home).code is PermanentCode.NO_FREE_SLOT
        assert cloud.media(vm) == {"hdd": str(user_iso)}
    assert error_of(give, make_driver(), cloud.define(transient=True), home).code is PermanentCode.NO_FREE_SLOT


@pytest.mark.parametrize(
    ("devices", "bus", "transient"),
    [(SCSI, "scsi", False), (USB, "usb", False), (USB, "usb", True), (SCSI + USB, "scsi", True)],
)
def test_a_running_vm_is_given_a_drive_on_scsi_else_on_usb(  # noqa: PLR0913  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, devices: str, bus: str, *, transient: bool
) -> None:
    vm = cloud.define(devices=devices, running=True, transient=transient, no_usb="usb" not in devices)
    vm = replace(vm, guest_os=GuestOs.WINDOWS if transient else None)
    attachment = give(driver, vm, home)
    assert attachment.how is AttachedHow.HOT_ADDED
    on_usb = {"bus": "usb", "seen_as": "disk", "needs": "cd_at_power_on" if transient else "usb_storage"}
    assert attachment.facts == (on_usb if bus == "usb" else {"bus": "scsi", "needs": "virtio_scsi"})
    assert f'bus="{bus}"' in (attachment.xml or "")
    assert cloud.guest_sees(vm) == [attachment.path]
    assert give(driver, vm, home).how is AttachedHow.ALREADY
    newer = give(driver, vm, home, 2)
    # QEMU makes a plain disk of a USB CD drive: it is exchanged together with its medium.
    assert newer.how is (AttachedHow.INSERTED if bus == "scsi" else AttachedHow.HOT_ADDED)
    assert newer.device == attachment.device
    assert cloud.guest_sees(vm) == [newer.path]
    if not transient:
        assert cloud.media(vm, inactive=True) == cloud.media(vm) == {attachment.device: newer.path}
    driver.detach(vm)
    assert cloud.guest_sees(vm) == []


def test_a_running_vm_without_scsi_and_usb_gets_it_with_its_next_boot(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = cloud.define(running=True)
    for _ in range(2):
        assert give(driver, vm, home).how is AttachedHow.NEXT_BOOT
    assert cloud.media(vm) == {}
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)
    assert error_of(driver.delete, vm, StoredImage(image_name(vm), home)).code is TransientCode.IMAGE_IN_USE
    driver.detach(vm)
    assert cloud.media(vm, inactive=True) == {}
    driver.delete(vm, StoredImage(image_name(vm), home))


@pytest.mark.parametrize(
    ("live", "config"),
    [
        ("", HDD),
        (HDD, ""),
        (HDD, disk("{old}", "hdb", "ide")),
        (disk("{old}", "hdd", "ide"), ""),
        (disk("{old}", "hdd", "ide"), disk("{old}", "hdb", "ide")),
        (disk("{old}", "hdd", "ide"), disk("{user}", "hdd", "ide")),
        (disk("{old}", "hdb", "ide"), disk("{new}", "hdd", "ide")),
        (disk("{new}", "hdd", "ide"), disk("{old}", "hdd", "ide")),
        (disk("{old}", "hdb", "ide") + disk("{older}", "hdd", "ide"), disk("{old}", "hdb", "ide")),
    ],
)
def test_definitions_that_differ_end_with_one_drive_each(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path, live: str, config: str
) -> None:
    vm = cloud.new_vm()
    for generation in (1, 2, 3):
        driver.upload(vm, make_image(vm, generation), home)
    names = {"older": 1, "old": 2, "new": 3}
    paths = {word: str(cloud.pool / image_at(image_name(vm, generation))) for word, generation in names.items()}
    paths["user"] = str(blank(tmp_path / "user.iso"))
    cloud.define(live.format_map(paths), vm=vm, running=True)
    cloud.define(config.format_map(paths), vm=vm)

    driver.attach(vm, image_name(vm, 3), home)

    persistent = [path for path in cloud.media(vm, inactive=True).values() if path not in {None, paths["user"]}]
    assert persistent == [paths["new"]]
    assert cloud.guest_sees(vm) in ([paths["new"]], []) if not live else cloud.guest_sees(vm) == [paths["new"]]
    assert paths["user"] not in config.format_map(paths) or paths["user"] in cloud.media(vm, inactive=True).values()
    driver.detach(vm)
    assert cloud.guest_sees(vm) == []
    assert {None, paths["user"]}.issuperset(cloud.media(vm, inactive=True).values())


def test_a_halted_vm_s_drive_can_be_a_disk(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = replace(cloud.define(HDD), presentation=Presentation.DISK)
    first = give(driver, vm, home)
    assert (first.how, first.device) == (AttachedHow.INSERTED, "vdz")
    assert give(driver, vm, home).how is AttachedHow.ALREADY
    newer = give(driver, vm, home, 2)
    assert cloud.media(vm) == {"hdd": None, "vdz": newer.path}
    cloud.start(vm)
    drives = [drive for drive in cloud.drives(vm).values() if drive.path == newer.path]
    assert [drive.read_only for drive in drives] == [True]
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), home)
    assert give(driver, vm, home, 2).how is AttachedHow.ALREADY


@pytest.mark.parametrize(
    ("before", "presentation"),
    [(Presentation.CDROM, Presentation.DISK), (Presentation.DISK, Presentation.AUTO)],
)
def test_a_changed_presentation_leaves_one_drive(
    cloud: Cloud, driver: KvmDriver, home: Place, before: Presentation, presentation: Presentation
) -> None:
    vm = cloud.define(HDD)
    give(driver, replace(vm, presentation=before), home)
    attachment = give(driver, replace(vm, presentation=presentation), home, 2)
    assert [path for path in cloud.media(vm).values() if path is not None] == [attachment.path]


def test_a_running_vm_is_given_a_disk_and_keeps_it_when_its_guest_does_not_let_go(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = replace(cloud.define(HDD, running=True), presentation=Presentation.DISK)
    first = give(driver, vm, home)
    assert first.how is AttachedHow.HOT_ADDED
    assert cloud.guest_sees(vm) == [first.path]
    assert cloud.media(vm, inactive=True)[first.device] == first.path
    assert error_of(give, driver, vm, home, 2).code is TransientCode.DRIVE_LOCKED
    assert cloud.guest_sees(vm) == [first.path]


def test_a_running_vm_without_room_for_a_disk_gets_it_with_its_next_boot(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    vm = replace(cloud.define(machine="q35", running=True), presentation=Presentation.DISK)
    with pytest.raises(libvirt.libvirtError, match="PCI slots"):
        fill(cloud, vm, tmp_path)
    for generation in (1, 1, 2):
        attachment = give(driver, vm, home, generation)
        assert (attachment.how, attachment.device) == (AttachedHow.NEXT_BOOT, "vdz")
        assert cloud.media(vm, inactive=True) == {"vdz": attachment.path}
    assert cloud.guest_sees(vm) == []
