from dataclasses import replace

import pytest

from configdrive.model import Generation, HostName, ImageName, InstanceName, Place, StorageName, VmUuid
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from workers.hypervisors.kvm.domain_xml import MARK, Definition, Device, Disk, ScsiController, Source, Target
from workers.hypervisors.kvm.slots import Wanted, content, find_plugged, find_slot, hot_target, targets

VM = VmUuid("00000000-0000-4000-8000-000000000001")
OTHER = VmUuid("00000000-0000-4000-8000-000000000002")
SCSI = ScsiController(0, "virtio-scsi")
CD = Wanted(VM)
HOME = Place(StorageName("local"), HostName("h1"))


def name(vm: VmUuid = VM, generation: int = 1) -> ImageName:
    return ImageName.of(InstanceName("i-2-3-VM"), vm, Generation(generation))


def cd(dev: str, path: str | None = None, bus: str = "ide") -> Disk:
    return Disk("cdrom", Target(dev, bus), None if path is None else Source(path))


def ours(dev: str, generation: int = 1, vm: VmUuid = VM) -> Disk:
    return cd(dev, f"/p/configdrive/{name(vm, generation)}")


def marked(disk: Disk) -> Disk:
    return replace(disk, alias=MARK)


def pc(*disks: Disk, scsi: tuple[ScsiController, ...] = (), usb: bool = False) -> Definition:
    return Definition("i-2-3-VM", "x86_64", "pc-i440fx-7.2", disks, scsi, has_usb=usb)


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        ((), ("hdd", False)),
        ((cd("hdd"),), ("hdd", True)),
        ((cd("hdd", "/user.iso"),), ("hdb", False)),
        ((cd("hdd", "/user.iso"), cd("hdb")), ("hdb", True)),
        ((ours("hdc"), cd("hdd")), ("hdc", True)),
        ((cd("hdd"), ours("hdb", 3)), ("hdb", True)),
        ((cd("hdd", "/a"), cd("hdb", "/b")), ("sda", False)),
        ((Disk("disk", Target("hdd", "ide"), None),), ("hdb", False)),
    ],
)
def test_our_own_drive_goes_first_then_the_first_target_that_is_empty_or_free(
    disks: tuple[Disk, ...], expected: tuple[str, bool]
) -> None:
    slot = find_slot(pc(*disks), CD)
    assert (slot and (slot.target.dev, slot.disk is not None)) == expected


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        ((cd("hdd"), ours("hdc", vm=OTHER)), "hdd"),
        ((cd("hdb"), ours("hdd", vm=OTHER)), "hdd"),
        ((ours("hdd", vm=OTHER), ours("hdc")), "hdc"),
        ((cd("hdd"), marked(cd("hdc"))), "hdc"),
        ((ours("hdd"), marked(ours("hdc"))), "hdc"),
        ((cd("hdd"), marked(cd("hdc", "/user.iso"))), "hdd"),
    ],
)
def test_a_drive_of_the_fleet_s_own_goes_first_and_a_clone_s_where_a_config_drive_may_be(
    disks: tuple[Disk, ...], expected: str
) -> None:
    slot = find_slot(pc(*disks), CD)
    plugged = find_plugged(pc(*disks), CD)
    assert (slot and slot.target.dev, plugged and plugged.target.dev) == (expected, expected)


@pytest.mark.parametrize(
    ("live", "config", "device", "expected"),
    [
        (pc(), None, Device.CDROM, None),
        (pc(usb=True), None, Device.CDROM, Target("sda", "usb")),
        (pc(scsi=(SCSI,), usb=True), None, Device.CDROM, Target("sda", "scsi")),
        (pc(cd("sda", "/user.iso"), scsi=(SCSI,)), pc(cd("sdb", "/x")), Device.CDROM, Target("sdd", "scsi")),
        (pc(scsi=(SCSI,)), pc(ours("sda")), Device.CDROM, Target("sda", "scsi")),
        (pc(), None, Device.DISK, Target("vdz", "virtio")),
        (pc(Disk("disk", Target("vdz", "virtio"), Source("/data"))), None, Device.DISK, Target("vdy", "virtio")),
    ],
)
def test_a_running_vm_takes_a_drive_where_it_has_a_bus_for_it(
    live: Definition, config: Definition | None, device: Device, expected: Target | None
) -> None:
    assert hot_target(live, config, device) == expected


def elsewhere(source: Source) -> Place | None:
    return HOME if source.path is not None and source.path.startswith("/p/") else None


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], NoDrive()),
        ([pc()], NoDrive()),
        ([pc(cd("hdd"))], EmptyDrive()),
        ([pc(cd("hdc"))], NoDrive()),
        ([pc(marked(cd("hdc")))], EmptyDrive()),
        ([pc(), pc(cd("hdd"))], NoDrive()),
        ([pc(ours("hdd"))], Inserted(name(), HOME)),
        ([pc(ours("hdd", 2)), pc(ours("hdb", 1))], Inserted(name(VM, 1), HOME)),
        ([pc(ours("hdd", 1)), pc(ours("hdb", 2, OTHER))], Inserted(name(OTHER, 2), HOME)),
        ([pc(ours("hdd")), pc(cd("hdd", f"/q/{name()}"))], Inserted(name(), None)),
        ([pc(cd("hdd", "/user.iso"))], NoDrive()),
    ],
)
def test_what_still_has_to_go_is_reported_first(layers: list[Definition], expected: object) -> None:
    choices = targets(pc(), CD)
    assert content(layers, VM, elsewhere, HOME, choices) == expected
