"""The choice of the drive that is the config drive: pure decisions on definitions.

The config drive is the drive with an image of the fleet in it, or an empty one that the fleet has added. A VM without
one gets the first of its slots (`slot_choice.choose`). A drive with anybody else's medium is never touched, and
neither is CloudStack's slot of the user's ISO (`hdc`, `sdc`), which no default names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import GuestOs, Presentation
from configdrive.ports import DriveContent, EmptyDrive, Inserted, NoDrive
from workers.hypervisors.kvm.domain_xml import Definition, Device, Disk, Source, Target
from workers.hypervisors.kvm.slot_choice import (
    Choice,
    address_of,
    choose,
    is_unit_free,
    keeps_boot,
    possible_targets,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from configdrive.model import ImageName, Place, Vm, VmUuid

_VIRTIO: Final = tuple(f"vd{letter}" for letter in "zyxwvu")
_HOT_PLUG: Final = tuple(f"sd{letter}" for letter in "abdefghijklmnopqrstuvwxyz")
_SCSI_UNITS: Final = 7


@dataclass(frozen=True, slots=True)
class Wanted:
    """What config drive a VM is to have.

    Args:
        vm: whose.
        device: CD or disk.
        cd_targets: the inventory's: the places that a CD may have; empty for those that fit the machine and its guest.
        guest_os: what runs in it, if that is known.
    """

    vm: VmUuid
    device: Device = Device.CDROM
    cd_targets: tuple[str, ...] = ()
    guest_os: GuestOs | None = None

    @classmethod
    def by(cls, vm: Vm, cd_targets: tuple[str, ...]) -> Wanted:
        """Say what an event wants."""
        device = Device.DISK if vm.presentation is Presentation.DISK else Device.CDROM
        return cls(vm.uuid, device, cd_targets, vm.guest_os)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for the config drive.

    Args:
        target: where.
        disk: what is plugged in there now; `None`: nothing.
        adds_scsi: whether a virtio-scsi controller has to be added for it.
    """

    target: Target
    disk: Disk | None = None
    adds_scsi: bool = False


def targets(definition: Definition | None, wanted: Wanted) -> tuple[Target, ...]:
    """Give the targets at which a config drive may be, whatever is there now, the first choice first.

    A disk takes virtio's last names, which no orchestrator gives to a data disk.
    """
    if wanted.device is Device.DISK:
        return tuple(Target(dev, "virtio") for dev in _VIRTIO)
    return possible_targets(definition, wanted.cd_targets, wanted.guest_os)


def config_drives(definition: Definition, wanted: Wanted) -> Iterator[Disk]:
    """Give the drives that are the VM's config drive, what the fleet has added first.

    One that holds the VM's image is; and one that holds another VM's when a config drive may be there: a clone's still
    names the original's.
    """
    names = {target.dev for target in targets(definition, wanted)}
    mine = [disk for disk in definition.disks if disk.is_ours and (disk.image is not None or disk.is_empty_cd)]
    mine += [disk for image, disk in definition.fleet_disks if image.vm_uuid == wanted.vm]
    mine += [disk for _, disk in definition.fleet_disks if disk.target.dev in names]
    return (disk for disk in mine if disk.device == wanted.device)


def find_slot(definition: Definition, wanted: Wanted, first: Target | None = None) -> Slot | None:
    """Find the drive that is, or can be made, the config drive in a definition with which the VM will boot.

    Args:
        definition: the persistent one.
        wanted: what drive.
        first: where it is best, if that can be: the running VM has it there.
    """
    found = next(config_drives(definition, wanted), None)
    if found is not None and not (found.is_ours and not keeps_boot(definition, found.target)):
        return Slot(found.target, found)
    better = next(_free_places(definition, wanted, first), None)
    if better is not None:
        return Slot(better.target, definition.at(better.target.dev), better.adds_scsi)
    return None if found is None else Slot(found.target, found)


def _free_places(definition: Definition, wanted: Wanted, first: Target | None) -> Iterator[Choice]:
    room = first is not None and definition.at(first.dev) is None and is_unit_free(definition, first)
    if first is not None and room and keeps_boot(definition, first):
        yield Choice(first, "the running VM has it there")
    if wanted.device is Device.DISK:
        yield from (Choice(target, "") for target in targets(definition, wanted) if definition.at(target.dev) is None)
    else:
        yield from choose(definition, wanted.cd_targets, wanted.guest_os)


def find_plugged(definition: Definition, wanted: Wanted, config: Definition | None = None) -> Disk | None:
    """Find the config drive of a VM that runs: one that is plugged in already.

    Args:
        definition: what runs.
        wanted: what drive.
        config: the persistent definition: it says which empty drive had an image that libvirt could not look at.
    """
    for disk in config_drives(definition, wanted):
        return disk
    if wanted.device is Device.DISK:
        return None
    dropped = () if config is None else dropped_drives(definition, config)
    for disk, image in dropped:
        if image.vm_uuid == wanted.vm:
            return disk
    plugged = (definition.at(target.dev) for target in targets(definition, wanted))
    empty = next((disk for disk in plugged if disk is not None and disk.is_empty_cd), None)
    root = definition.root_disk
    driven = empty is None or empty.target.bus != "sata" or (root is not None and root.target.bus == "sata")
    # Where a SCSI drive can be plugged in, a SATA one is not the best that there is.
    return empty if driven or wanted.cd_targets or not definition.has_virtio_scsi else None


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
        names, bus = _HOT_PLUG[: _SCSI_UNITS - 1], "scsi"
    elif live.has_usb:
        names, bus = _HOT_PLUG, "usb"
    else:
        return None
    free = [Target(dev, bus) for dev in names if dev not in taken and is_unit_free(live, Target(dev, bus))]
    return min(free, key=lambda one: config is not None and not keeps_boot(config, one), default=None)


def address_in(definition: Definition, target: Target) -> tuple[int, int, int] | None:
    """Return the address that a new drive must be given: libvirt's own, by the letter, is on the first controller."""
    address = address_of(definition, target)
    return address if target.bus == "scsi" and address is not None and address[0] > 0 else None


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
