"""Which drive becomes the config drive, on every kind of machine; and that there are never two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt
import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import AttachBy, GuestOs, Presentation, StoredImage
from configdrive.ports import AttachedHow, Inserted
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk, image_at

if TYPE_CHECKING:
    from configdrive.model import Place, Vm
    from configdrive.ports import Attachment
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"
USB = "<controller type='usb' index='0' model='qemu-xhci'/>"
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def give(driver: KvmDriver, vm: Vm, home: Place, generation: int = 1) -> Attachment:
    driver.upload(vm, make_image(vm, generation), home)
    return driver.attach(vm, image_name(vm, generation), home)


def fill(cloud: Cloud, vm: Vm, path: Path) -> list[str]:
    """Plug disks into a running VM until libvirt refuses one, and say how."""
    for letter in "bcdefghij":
        data = path.with_suffix(f".{letter}")
        data.write_bytes(bytes(4096))
        try:
            cloud.domain(vm).attachDeviceFlags(disk(data, f"vd{letter}", "virtio", "disk"), LIVE)
        except libvirt.libvirtError as error:
            return [str(error)]
    return []


@pytest.fixture
def user_iso(tmp_path: Path) -> Path:
    path = tmp_path / "user.iso"
    path.write_bytes(bytes(4096))
    return path


def guest_sees(cloud: Cloud, vm: Vm) -> list[str]:
    """The images in the drives of a running VM, as QEMU has them."""
    return [drive.path for drive in cloud.drives(vm).values() if drive.path is not None and drive.path.endswith(".iso")]


@pytest.mark.parametrize(
    ("machine", "taken", "expected"),
    [
        ("pc", "", "hdd"),
        ("pc", disk("{user}", "hdd", "ide"), "hdb"),
        ("q35", "", "sda"),
        ("q35", disk("{user}", "sda", "sata") + disk("{user}", "sdb", "sata"), "sdd"),
    ],
)
def test_a_halted_vm_gets_the_first_free_target_of_its_machine(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, user_iso: Path, machine: str, taken: str, expected: str
) -> None:
    vm = cloud.define(taken.format(user=user_iso), machine=machine)
    attachment = give(driver, vm, home)
    assert (attachment.how, attachment.device) == (AttachedHow.INSERTED, expected)
    assert cloud.media(vm)[expected] == attachment.path
    cloud.start(vm)
    assert attachment.path in guest_sees(cloud, vm)


def test_the_inventory_s_targets_go_before_the_machine_s(cloud: Cloud, make_driver: MakeDriver, home: Place) -> None:
    driver = make_driver(cd_targets=["scsi:sdx", "hdb"])
    vm = cloud.define(devices=SCSI)
    attachment = give(driver, vm, home)
    assert attachment.device == "sdx"
    assert 'bus="scsi"' in (attachment.xml or "")
    cloud.start(vm)
    assert guest_sees(cloud, vm) == [attachment.path]


def test_a_user_s_iso_in_every_target_leaves_no_free_slot(
    cloud: Cloud, make_driver: MakeDriver, home: Place, user_iso: Path
) -> None:
    driver = make_driver(cd_targets=["hdd"])
    for running in (False, True):
        vm = cloud.define(disk(user_iso, "hdd", "ide"), running=running)
        with pytest.raises(FleetError) as caught:
            give(driver, vm, home)
        assert caught.value.code is PermanentCode.NO_FREE_SLOT
        assert cloud.media(vm) == {"hdd": str(user_iso)}
        with pytest.raises(FleetError) as caught:
            driver.attach(replace(vm, attach_by=AttachBy.ORCHESTRATOR), image_name(vm), home)
        assert caught.value.code is PermanentCode.NO_FREE_SLOT


@pytest.mark.parametrize(("devices", "bus"), [(SCSI, "scsi"), (USB, "usb"), (SCSI + USB, "scsi")])
@pytest.mark.parametrize("transient", [False, True])
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
    assert guest_sees(cloud, vm) == [attachment.path]
    assert give(driver, vm, home).how is AttachedHow.ALREADY
    newer = give(driver, vm, home, 2)
    # QEMU makes a plain disk of a USB CD drive: it is exchanged together with its medium.
    assert newer.how is (AttachedHow.INSERTED if bus == "scsi" else AttachedHow.HOT_ADDED)
    assert newer.device == attachment.device
    assert guest_sees(cloud, vm) == [newer.path]
    if not transient:
        assert cloud.media(vm, inactive=True) == cloud.media(vm) == {attachment.device: newer.path}
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []


def test_a_running_vm_without_scsi_and_usb_gets_it_with_its_next_boot(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = cloud.define(running=True)
    for _ in range(2):
        assert give(driver, vm, home).how is AttachedHow.NEXT_BOOT
    assert cloud.media(vm) == {}
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)
    with pytest.raises(FleetError) as caught:
        driver.delete(vm, StoredImage(image_name(vm), home))
    assert caught.value.code is TransientCode.IMAGE_IN_USE
    driver.detach(vm)
    assert cloud.media(vm, inactive=True) == {}
    driver.delete(vm, StoredImage(image_name(vm), home))


def test_a_transient_vm_without_scsi_and_usb_gets_none(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(transient=True)
    with pytest.raises(FleetError) as caught:
        give(driver, vm, home)
    assert caught.value.code is PermanentCode.NO_FREE_SLOT


def test_a_transient_vm_s_drive_is_exchanged_and_emptied(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(disk(None, "hdd", "ide"), transient=True)
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert attachment.how is AttachedHow.INSERTED
        assert guest_sees(cloud, vm) == [attachment.path]
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []
    assert cloud.media(vm) == {"hdd": None}


@pytest.mark.parametrize(
    ("live", "config"),
    [
        ("", disk(None, "hdd", "ide")),
        (disk(None, "hdd", "ide"), ""),
        (disk(None, "hdd", "ide"), disk("{old}", "hdb", "ide")),
        (disk("{old}", "hdd", "ide"), ""),
        (disk("{old}", "hdd", "ide"), disk("{old}", "hdb", "ide")),
        (disk("{old}", "hdd", "ide"), disk("{user}", "hdd", "ide")),
        (disk("{old}", "hdb", "ide"), disk("{new}", "hdd", "ide")),
        (disk("{new}", "hdd", "ide"), disk("{old}", "hdd", "ide")),
        (disk("{old}", "hdb", "ide") + disk("{older}", "hdd", "ide"), disk("{old}", "hdb", "ide")),
    ],
)
def test_definitions_that_differ_end_with_one_drive_each(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, user_iso: Path, live: str, config: str
) -> None:
    vm = cloud.new_vm()
    for generation in (1, 2, 3):
        driver.upload(vm, make_image(vm, generation), home)
    names = {"older": 1, "old": 2, "new": 3}
    paths = {word: str(cloud.pool / image_at(image_name(vm, generation))) for word, generation in names.items()}
    paths["user"] = str(user_iso)
    cloud.define(live.format_map(paths), vm=vm, running=True)
    cloud.define(config.format_map(paths), vm=vm)

    driver.attach(vm, image_name(vm, 3), home)

    persistent = [path for path in cloud.media(vm, inactive=True).values() if path not in {None, paths["user"]}]
    assert persistent == [paths["new"]]
    assert guest_sees(cloud, vm) in ([paths["new"]], []) if not live else guest_sees(cloud, vm) == [paths["new"]]
    assert paths["user"] not in config.format_map(paths) or paths["user"] in cloud.media(vm, inactive=True).values()
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []
    assert {None, paths["user"]}.issuperset(cloud.media(vm, inactive=True).values())


@pytest.mark.parametrize("running", [False, True])
def test_a_clone_s_drive_with_the_original_s_image_is_used_and_the_original_s_is_left_alone(
    cloud: Cloud, driver: KvmDriver, home: Place, *, running: bool
) -> None:
    original = cloud.define(disk(None, "hdd", "ide"))
    theirs = give(driver, original, home).path
    clone = cloud.define(disk(theirs, "hdd", "ide") + disk(theirs, "hdc", "ide"), running=running)
    attachment = give(driver, clone, home)
    assert (attachment.how, attachment.device) == (AttachedHow.INSERTED, "hdd")
    for inactive in (False, True):
        assert cloud.media(clone, inactive=inactive) == {"hdd": attachment.path, "hdc": None}
    assert cloud.media(original) == {"hdd": theirs}
    assert driver.observe(original).drive == Inserted(image_name(original), home)


def test_a_halted_vm_s_drive_can_be_a_disk(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = replace(cloud.define(disk(None, "hdd", "ide")), presentation=Presentation.DISK)
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
    vm = cloud.define(disk(None, "hdd", "ide"))
    give(driver, replace(vm, presentation=before), home)
    attachment = give(driver, replace(vm, presentation=presentation), home, 2)
    assert [path for path in cloud.media(vm).values() if path is not None] == [attachment.path]


def test_a_running_vm_is_given_a_disk_and_keeps_it_when_its_guest_does_not_let_go(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = replace(cloud.define(disk(None, "hdd", "ide"), running=True), presentation=Presentation.DISK)
    first = give(driver, vm, home)
    assert first.how is AttachedHow.HOT_ADDED
    assert guest_sees(cloud, vm) == [first.path]
    assert cloud.media(vm, inactive=True)[first.device] == first.path
    with pytest.raises(FleetError) as caught:
        give(driver, vm, home, 2)
    assert caught.value.code is TransientCode.DRIVE_LOCKED
    assert guest_sees(cloud, vm) == [first.path]


def test_a_running_vm_without_room_for_a_disk_gets_it_with_its_next_boot(
    cloud: Cloud, driver: KvmDriver, home: Place, user_iso: Path
) -> None:
    vm = replace(cloud.define(machine="q35", running=True), presentation=Presentation.DISK)
    (full,) = fill(cloud, vm, user_iso)
    assert "PCI slots" in full
    for generation in (1, 1, 2):
        attachment = give(driver, vm, home, generation)
        assert (attachment.how, attachment.device) == (AttachedHow.NEXT_BOOT, "vdz")
        assert cloud.media(vm, inactive=True) == {"vdz": attachment.path}
    assert guest_sees(cloud, vm) == []
