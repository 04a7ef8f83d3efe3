"""Where a VM's config drive goes: the table of docs/how-to/kvm.md, and libvirt's order of disks."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from configdrive.model import GuestOs
from workers.hypervisors.kvm.domain_xml import Definition, Target, read_definition, scsi_xml
from workers.hypervisors.kvm.slot_choice import choose, keeps_boot, position

PAGE = Path(__file__).parents[5] / "docs/how-to/kvm.md"
MACHINES = {
    "pc": ("x86_64", "pc-i440fx-7.2"),
    "q35": ("x86_64", "pc-q35-7.2"),
    "aarch64 virt": ("aarch64", "virt-7.2"),
}


def rows() -> Iterator[tuple[str, ...]]:
    lines = PAGE.read_text().splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("| machine | root disk on |"))
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            return
        yield tuple(cell.strip() for cell in line.strip("|").split("|"))


def disk(words: str, device: str = "disk", source: str = "<source file='/x'/>") -> str:
    bus, dev = words.split()
    return f"<disk type='file' device='{device}'>{source}<target dev='{dev}' bus='{bus}'/></disk>"


def definition(machine: str, root: str, beside: str) -> Definition:
    arch, kind = MACHINES[machine]
    devices, boot = [disk(root)], ""
    for thing in filter(None, beside.split(", ")):
        what, _, where = thing.rpartition(" ide " if " ide " in thing else " sata " if " sata " in thing else " scsi ")
        bus = next((one for one in ("ide", "sata", "scsi") if f" {one} " in thing), "")
        match what or thing:
            case "virtio-scsi" | "lsilogic":
                devices.append(f"<controller type='scsi' index='0' model='{thing}'/>")
            case "boots CDs":
                boot = "<boot dev='cdrom'/><boot dev='hd'/>"
            case "a disk":
                devices.append(disk(f"{bus} {where}"))
            case "an ISO":
                devices.append(disk(f"{bus} {where}", "cdrom"))
            case "an empty CD":
                devices.append(disk(f"{bus} {where}", "cdrom", ""))
            case _:
                raise AssertionError(thing)
    return read_definition(
        f"<domain><name>x</name><os><type arch='{arch}' machine='{kind}'>hvm</type>{boot}</os>"
        f"<devices>{''.join(devices)}</devices></domain>"
    )


@pytest.mark.parametrize("row", list(rows()), ids=" ".join)
def test_the_documented_place_is_chosen(row: tuple[str, ...]) -> None:
    machine, root, beside, guest, drive, why = row
    found = definition(machine, root, beside)
    for guest_os in (None, GuestOs.LINUX) if guest == "any" else (GuestOs(guest),):
        choice = next(choose(found, (), guest_os))
        words = f"{choice.target.bus} {choice.target.dev}" + (", with its controller" if choice.adds_scsi else "")
        assert (words, choice.why) == (drive, why)


def test_no_place_is_the_user_s_iso_slot_or_before_a_cd_that_the_vm_boots_from() -> None:
    for machine in MACHINES:
        for beside in ("", "an ISO scsi sdb, virtio-scsi, boots CDs", "an ISO scsi sdg, virtio-scsi, boots CDs"):
            found = definition(machine, "virtio vda", beside)
            for choice in choose(found):
                assert choice.target.dev not in {"hdc", "sdc"}
                assert keeps_boot(found, choice.target)


def test_a_full_vm_has_no_place() -> None:
    beside = ", ".join(f"a disk ide hd{letter}" for letter in "bd")
    beside += ", " + ", ".join(f"a disk scsi sd{letter}" for letter in "abdefghij")
    assert not list(choose(definition("pc", "virtio vda", beside)))


@pytest.mark.parametrize(
    ("disks", "new", "place"),
    [
        ("", "ide hdd", 0),
        ("ide hda, ide hdc", "ide hdb", 1),
        ("ide hda, ide hdc", "ide hdd", 2),
        ("scsi sda, sata sdc", "scsi sdb", 1),
        ("scsi sda, sata sdc", "sata sdb", 1),
        ("scsi sda, sata sdc", "usb sdb", 2),
        ("sata sdz", "sata sdaa", 1),
        ("ide hda, ide hdc", "ide hdc", 1),
    ],
)
def test_libvirt_puts_a_new_disk_beside_those_of_its_bus(disks: str, new: str, place: int) -> None:
    devices = "".join(disk(one) for one in disks.split(", ") if one)
    bus, dev = new.split()
    found = read_definition(f"<domain><devices>{devices}</devices></domain>")
    assert position(found.disks, Target(dev, bus)) == place


DRIVE = "<disk type='file' device='cdrom'><target dev='sda' bus='scsi'/><address type='drive' controller='1'/></disk>"


@pytest.mark.parametrize(
    ("devices", "idle"),
    [
        (scsi_xml(1), True),
        (scsi_xml(1) + DRIVE, False),
        (scsi_xml(1) + DRIVE.replace("'1'", "'0'"), True),
        (scsi_xml(1) + re.sub("<address.*/>", "", DRIVE), False),
        (scsi_xml(1) + "<hostdev><address type='drive' controller='1'/></hostdev>", False),
        ("<controller type='scsi' index='1' model='virtio-scsi'/>", False),
    ],
)
def test_only_a_controller_that_is_ours_and_that_nothing_is_on_goes(devices: str, idle: bool) -> None:  # noqa: FBT001
    found = read_definition(f"<domain><devices>{devices}</devices></domain>")
    assert (found.idle_scsi() is not None) is idle
    assert scsi_xml(1) not in devices or found.idle_scsi(found.disks) is not None or "<hostdev" in devices
