"""Which drive of a VM is the config drive: pure decisions on definitions.

The config drive is the drive with an image of the fleet in it, or an empty one that the fleet has added. A VM without
one gets the first of its targets (the inventory's `cd_targets`, else by machine type) that is an empty CD drive or is
not taken. A drive with anybody else's medium is never touched, and neither is CloudStack's slot of the user's ISO
(`hdc`, `sdc`), which no default names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Presentation
from configdrive.ports import DriveContent, EmptyDrive, Inserted, NoDrive
from workers.hypervisors.kvm.domain_xml import Definition, Device, Disk, Source, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from configdrive.model import ImageName, Place, VmUuid

_IDE: Final = ("hdd", "hdb")
_SD: Final = ("sda", "sdb", "sdd", "sde", "sdf")
_VIRTIO: Final = tuple(f"vd{letter}" for letter in "zyxwvu")
_HOT_PLUG: Final = tuple(f"sd{letter}" for letter in "abdefghijklmnopqrstuvwxyz")
_BUS_OF: Final = {"hd": "ide", "vd": "virtio"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for the config drive; `disk` is what is plugged in there now (`None`: nothing)."""

    target: Target
    disk: Disk | None = None


def targets(definition: Definition | None, wanted: Sequence[str], device: Device) -> tuple[Target, ...]:
    """Give the targets that a config drive may have, the first choice first.

    Args:
        definition: of the VM; `None` when it is not known yet, then taken for a PC.
        wanted: the inventory's `cd_targets`; empty for the machine type's own.
        device: a disk takes neither, but virtio's last names, which no orchestrator gives to a data disk.
    """
    if device is Device.DISK:
        return tuple(Target(dev, "virtio") for dev in _VIRTIO)
    return tuple(_target(definition, choice) for choice in wanted or _defaults(definition))


def _defaults(definition: Definition | None) -> tuple[str, ...]:
    return _IDE if definition is None or _is_ide_pc(definition) else _SD


def _is_ide_pc(definition: Definition) -> bool:
    return definition.arch in {"", "x86_64", "i686"} and "q35" not in definition.machine


def _target(definition: Definition | None, choice: str) -> Target:
    bus, _, dev = choice.rpartition(":")
    return Target(dev, bus or _BUS_OF.get(dev[:2]) or _sd_bus(definition))


def _sd_bus(definition: Definition | None) -> str:
    """`sdX` is SATA on a PC, unless it is an IDE one with virtio-scsi, and SCSI on all that has no SATA (aarch64)."""
    if definition is None:
        return "sata"
    if definition.arch not in {"", "x86_64", "i686"}:
        return "scsi"
    return "scsi" if _is_ide_pc(definition) and definition.has_virtio_scsi else "sata"


def config_drives(definition: Definition, choices: Iterable[Target], vm: VmUuid, device: Device) -> Iterator[Disk]:
    """Give the drives that are the VM's config drive, what the fleet has added first.

    One that holds the VM's image is; and one that holds another VM's when a config drive may be there: a clone's still
    names the original's.
    """
    names = {target.dev for target in choices}
    mine = [disk for disk in definition.disks if disk.is_ours and (disk.image is not None or disk.is_empty_cd)]
    mine += [disk for image, disk in definition.fleet_disks if image.vm_uuid == vm]
    mine += [disk for _, disk in definition.fleet_disks if disk.target.dev in names]
    return (disk for disk in mine if disk.device == device)


def find_slot(definition: Definition, choices: Collection[Target], vm: VmUuid, device: Device) -> Slot | None:
    """Find the drive that is, or can be made, the config drive in this definition."""
    for disk in config_drives(definition, choices, vm, device):
        return Slot(disk.target, disk)
    for target in choices:
        there = definition.at(target.dev)
        if there is None:
            return Slot(target)
        if device is Device.CDROM and there.is_empty_cd:
            return Slot(there.target, there)
    return None


def find_plugged(
    definition: Definition, choices: Collection[Target], vm: VmUuid, device: Device, config: Definition | None = None
) -> Disk | None:
    """Find the config drive of a VM that runs: one that is plugged in already.

    Args:
        definition: what runs.
        choices: the targets that a config drive may have.
        vm: the VM.
        device: CD or disk.
        config: the persistent definition: it says which empty drive had an image that libvirt could not look at.
    """
    for disk in config_drives(definition, choices, vm, device):
        return disk
    if device is Device.DISK:
        return None
    dropped = () if config is None else dropped_drives(definition, config)
    for disk, image in dropped:
        if image.vm_uuid == vm:
            return disk
    plugged = (definition.at(target.dev) for target in choices)
    return next((disk for disk in plugged if disk is not None and disk.is_empty_cd), None)


def dropped_drives(live: Definition, config: Definition) -> Iterator[tuple[Disk, ImageName]]:
    """Give the empty drives of a running VM that have an image in its persistent definition.

    libvirt starts a VM with such a drive when it cannot look at the image (`startupPolicy`).
    """
    for image, disk in config.fleet_disks:
        there = live.at(disk.target.dev)
        if there is not None and there.is_empty_cd and there.target == disk.target:
            yield there, image


def hot_target(live: Definition, config: Definition | None, device: Device) -> Target | None:
    """Find where a running VM takes another drive: virtio for a disk; SCSI, else USB for a CD (IDE and SATA refuse)."""
    # Where a drive of ours was just unplugged, or will be taken out of the persistent definition, there is room again.
    taken = {disk.target.dev for disk in live.disks if disk.image is None or disk.has_tray}
    taken.update(disk.target.dev for disk in (() if config is None else config.disks) if disk.image is None)
    if device is Device.DISK:
        names, bus = _VIRTIO, "virtio"
    elif live.has_virtio_scsi:
        names, bus = _HOT_PLUG, "scsi"
    elif live.has_usb:
        names, bus = _HOT_PLUG, "usb"
    else:
        return None
    return next((Target(dev, bus) for dev in names if dev not in taken), None)


def device_of(presentation: Presentation) -> Device:
    """Say which kind of disk a presentation is."""
    return Device.DISK if presentation is Presentation.DISK else Device.CDROM


def no_free_slot(vm: VmUuid, tried: Iterable[Target]) -> PermanentError:
    """Make the error of a VM whose every target is taken by something else."""
    names = ", ".join(target.dev for target in tried) or "none"
    detail = f"VM {vm} has no free config drive slot (tried: {names})"
    return PermanentError(PermanentCode.NO_FREE_SLOT, detail, "free one, or name others in the inventory's cd_targets")


def media_of(layers: Iterable[Definition], place_of: Callable[[Source], Place | None]) -> list[Inserted]:
    """Give every image of the fleet in any drive of any of these definitions, with the storage that it lies on."""
    return [
        Inserted(image, None if disk.source is None else place_of(disk.source))
        for layer in layers
        for image, disk in layer.fleet_disks
    ]


def content(
    layers: Iterable[Definition],
    vm: VmUuid,
    place_of: Callable[[Source], Place | None],
    storage: Place | None,
    choices: Sequence[Target],
) -> DriveContent:
    """Say what is in the config drive.

    A VM may have several definitions (running, persistent, saved) that differ. What still has to go is never hidden by
    what is right: another VM's image is reported first, then the oldest, then one that lies elsewhere than `storage`.
    """
    layers = tuple(layers)
    found = media_of(layers, place_of)
    if found and not _is_dropped(layers):
        return min(
            found, key=lambda one: (one.name.vm_uuid == vm, one.name.generation, one.place == storage, str(one.name))
        )
    # The first layer is the one that the guest has.
    first = layers[:1]
    if _is_dropped(layers) or any(
        disk.is_empty_cd and (disk.is_ours or disk.target.dev in {target.dev for target in choices})
        for layer in first
        for disk in layer.disks
    ):
        return EmptyDrive()
    return NoDrive()


def _is_dropped(layers: tuple[Definition, ...]) -> bool:
    """Whether what runs has no image at all, and a drive that should have one: that is what is in the drive."""
    if not layers or not layers[0].runs or any(layers[0].fleet_disks):
        return False
    return any(any(dropped_drives(layers[0], config)) for config in layers[1:])
