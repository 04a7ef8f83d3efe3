"""Slots for a config drive in a VM that has none: which bus and letter, and why. Pure: `choose` is the whole of it.

Two things decide. The guest must have a driver: it has one for the bus that it boots from; Debian's cloud kernels have
none for SATA and USB, Windows brings none for virtio. And the VM must boot what it booted before: with `<boot
dev='cdrom'/>` libvirt gives the one boot index that there is for CDs to the first CD of its list, so a place before
another CD drive is never taken then. A boot order of the devices themselves is not touched by a drive that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.model import GuestOs
from workers.hypervisors.kvm.domain_xml import Definition, Device, Disk, ScsiController, Source, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from configdrive.model import VmDefinition

_LETTERS: Final = {
    "ide": ("hdd", "hdb"),
    "sata": tuple(f"sd{letter}" for letter in "abdef"),
    "scsi": tuple(f"sd{letter}" for letter in "abdefg"),
    "usb": tuple(f"sd{letter}" for letter in "abdefghij"),
}
"""The letters on each bus, the first choice first. CloudStack's slot of the user's ISO (`hdc`, `sdc`) is nobody's, and
libvirt puts what is beyond these on another controller."""

_PREFIXES: Final = ("fd", "hd", "vd", "sd", "xvd", "ubd")
_LEFT: Final = "what is left"
_INTEL: Final = frozenset({"", "x86_64", "i686"})


@dataclass(frozen=True, slots=True)
class Choice:
    """A place for the config drive.

    Args:
        target: where.
        why: in a few words.
        adds_scsi: whether a virtio-scsi controller has to be added for it.
    """

    target: Target
    why: str
    adds_scsi: bool = False


def choose(definition: Definition, wanted: Sequence[str] = (), guest_os: GuestOs | None = None) -> Iterator[Choice]:
    """Give the places that a CD drive of ours may have, the best first; a place may be an empty CD drive's.

    Args:
        definition: of the VM, with which it will boot.
        wanted: the inventory's `cd_targets`, which go before all that is said here, but for the boot order.
        guest_os: what runs in it, if that is known.
    """
    fitting = []
    for target, why in _candidates(definition, wanted, guest_os):
        there = definition.at(target.dev)
        is_free = there is None and is_unit_free(definition, target)
        is_empty = there is not None and there.is_empty_cd and there.target == target
        if (is_free or is_empty) and keeps_boot(definition, target):
            fitting.append((Choice(target, why, adds_scsi=is_free and needs_scsi(definition, target)), is_empty))
    # A drive that is there, on a bus that the guest drives, goes before one that is added.
    yield from (one for one, is_empty in fitting if is_empty and one.why != _LEFT)
    yield from (one for one, is_empty in fitting if not is_empty or one.why == _LEFT)


def possible_targets(
    definition: Definition | None, wanted: Sequence[str] = (), guest_os: GuestOs | None = None
) -> tuple[Target, ...]:
    """Give every target that a CD drive of ours may have, whatever is there now, the first choice first."""
    return tuple(target for target, _ in _candidates(definition, wanted, guest_os))


def _candidates(
    definition: Definition | None, wanted: Sequence[str], guest_os: GuestOs | None
) -> Iterator[tuple[Target, str]]:
    if wanted:
        yield from ((_target_of(definition, one), "the inventory says so") for one in wanted)
        return
    for bus, why in buses(definition, guest_os):
        yield from ((Target(dev, bus), why) for dev in _LETTERS[bus])


def buses(definition: Definition | None, guest_os: GuestOs | None = None) -> Iterator[tuple[str, str]]:
    """Give the buses on which a CD drive may be, the best first, and why."""
    seen: set[str] = set()
    for bus, why in _all_buses(definition, guest_os):
        if bus not in seen:
            seen.add(bus)
            yield bus, why


def _all_buses(definition: Definition | None, guest_os: GuestOs | None) -> Iterator[tuple[str, str]]:
    if definition is None:
        yield "ide", "nothing is known of the VM"
        return
    root = definition.root_disk
    windows, has_scsi = guest_os is GuestOs.WINDOWS, definition.has_virtio_scsi
    possible = _possible(definition)
    if root is not None and root.target.bus in {"scsi", "sata", "ide"}:
        yield root.target.bus, "the guest boots from this bus"
    if has_scsi:
        yield "scsi", "the VM has virtio-scsi"
    if is_pc(definition):
        yield "ide", "every guest of a pc drives IDE"
    elif not windows:
        yield "scsi", "a guest that boots from virtio drives virtio-scsi, not each one SATA"
    for bus in possible:
        if not windows or bus not in {"scsi", "usb"}:
            yield bus, _LEFT


def _possible(definition: Definition) -> tuple[str, ...]:
    if is_pc(definition):
        return ("ide", "scsi", "sata", "usb")
    return ("scsi", "sata", "usb") if definition.arch in _INTEL else ("scsi", "usb")


def is_pc(definition: Definition) -> bool:
    """Whether it is a machine with IDE (i440fx)."""
    return definition.arch in _INTEL and "q35" not in definition.machine


def _target_of(definition: Definition | None, choice: str) -> Target:
    """Read a target as the inventory has it: with or without its bus."""
    bus, _, dev = choice.rpartition(":")
    if not bus:
        named = {"hd": "ide", "vd": "virtio"}
        bus = named.get(dev[:2]) or ("sata" if definition is None else _sd_bus(definition))
    return Target(dev, bus)


def _sd_bus(definition: Definition) -> str:
    """`sdX` is SATA on a PC, unless it is an IDE one with virtio-scsi, and SCSI on all that has no SATA (aarch64)."""
    if definition.arch not in _INTEL:
        return "scsi"
    return "scsi" if is_pc(definition) and definition.has_virtio_scsi else "sata"


def needs_scsi(definition: Definition, target: Target) -> bool:
    """Whether a drive there needs a virtio-scsi controller that the VM has not: any other is not every kernel's."""
    root = definition.root_disk
    if target.bus != "scsi" or definition.has_virtio_scsi:
        return False
    return root is None or root.target.bus != "scsi"


def keeps_boot(definition: Definition, target: Target) -> bool:
    """Whether a CD drive there leaves it to another one to be the CD that the VM boots from."""
    if not definition.boots_cd:
        return True
    others = [
        number
        for number, disk in enumerate(definition.disks)
        if disk.device == Device.CDROM and disk.target != target and not disk.is_ours and disk.image is None
    ]
    return not others or position(definition.disks, target) > max(others)


def position(disks: Sequence[Disk], target: Target) -> int:
    """Say before which disk of its list libvirt puts a new one (`virDomainDiskInsert`), or where it is there already.

    A new disk goes beside the others of its bus, by letter; a bus that has none yet goes to the end.
    """
    place: int | None = None
    for number, disk in reversed(list(enumerate(disks))):
        if disk.target == target:
            return number
        if disk.target.bus != target.bus:
            continue
        if _index(disk.target.dev) > _index(target.dev):
            place = number
        elif place is None:
            place = number + 1
    return len(disks) if place is None else place


def _index(dev: str) -> int:
    """Return the number of a target's letters, as libvirt counts them: `sda` is 0, `sdz` 25, `sdaa` 26."""
    prefix = next((one for one in _PREFIXES if dev.startswith(one)), "")
    number = 0
    for letter in dev[len(prefix) :]:
        if letter.isalpha():
            number = number * 26 + ord(letter.lower()) - ord("a") + 1
    return number - 1


def definition_of(vm: VmDefinition) -> Definition:
    """Return the definition that an orchestrator is about to make; every CD drive is somebody's."""
    disks: list[Disk] = []
    for one in vm.disks:
        disk = Disk(one.device, Target(one.target, one.bus), Source("?"), one.boot)
        disks.insert(position(disks, disk.target), disk)
    scsi = [one for one in vm.controllers if one.type == "scsi"]
    return Definition(
        name="",
        arch=vm.arch,
        machine=vm.machine,
        disks=tuple(disks),
        scsi=tuple(
            ScsiController(number if one.index is None else one.index, one.model or "")
            for number, one in enumerate(scsi)
        ),
        has_usb=any(one.type == "usb" and one.model != "none" for one in vm.controllers),
        boots_cd=Device.CDROM in vm.boot,
    )


def is_unit_free(definition: Definition, target: Target) -> bool:
    """Whether no other disk, and no device of the host, has the connector that libvirt gives to this letter."""
    where = address_of(definition, target)
    if where is None:
        return True
    handed = target.bus == "scsi" and where in definition.handed
    return not handed and all(disk.target.bus != target.bus or disk.address != where for disk in definition.disks)


def address_of(definition: Definition, target: Target) -> tuple[int, int, int] | None:
    """Return the controller, bus and unit that a letter means; `None` where it means none.

    libvirt counts along the controllers, from the first: on SCSI that must be the virtio one.
    """
    number = _index(target.dev)
    match target.bus:
        case "ide":
            return 0, number // 2, number % 2
        case "sata":
            return 0, 0, number
        case "scsi":
            return definition.scsi_of_drive, 0, number
        case _:
            return None
