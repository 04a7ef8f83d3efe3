"""The slots of a VM's drives (userdevice): what the fleet has in them, and which may be the config drive's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Presentation
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK, image_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from configdrive.model import VmUuid
    from configdrive.ports import DriveContent
    from workers.hypervisors.xenserver.records import Ref, VbdRecord, VdiRecord
    from workers.hypervisors.xenserver.visit import Visit

CD: Final = "CD"
DISK: Final = "Disk"

RESERVED: Final = frozenset({"0", "3"})
"""Slots that are never the config drive's: the root disk's, and that of the user's ISO, as CloudStack has it."""


@dataclass(frozen=True, slots=True)
class Drive:
    """One drive of a VM that is, or may become, the config drive.

    Args:
        vbd: as read just now.
        image: the fleet's image in it, whosever, and where it lies; `None` when there is none.
        dangling: what is in it was deleted past XAPI.
    """

    vbd: VbdRecord
    image: Inserted | None
    dangling: bool = False

    @property
    def owner(self) -> str | None:
        """The VM whose config drive this is by its mark."""
        return self.vbd.other_config.get(VM_MARK)


def kind_of(presentation: Presentation) -> str:
    """Return XAPI's type of drive for a presentation."""
    return DISK if presentation is Presentation.DISK else CD


def root_of(vbds: Mapping[Ref, VbdRecord]) -> Ref | None:
    """Return the VDI of the root disk: the bootable disk, else the one in the lowest slot; never a config drive."""
    disks = [vbd for vbd in vbds.values() if vbd.kind == DISK and vbd.medium and VM_MARK not in vbd.other_config]
    disks.sort(key=lambda vbd: (not vbd.bootable, vbd.mode != "RW", _number(vbd)))
    return disks[0].medium if disks else None


def may_be_ours(vbd: VbdRecord) -> bool:
    """Say whether a drive can be the config drive: a CD, or a disk that the guest only reads."""
    return vbd.kind == CD or (vbd.kind, vbd.mode) == (DISK, "RO")


def read_drives(visit: Visit, vbds: Mapping[Ref, VbdRecord]) -> tuple[Drive, ...]:
    """Say of every drive that can be the config drive what the fleet has in it."""
    return tuple(_read(visit, vbd) for vbd in sorted(filter(may_be_ours, vbds.values()), key=_number))


def _read(visit: Visit, vbd: VbdRecord) -> Drive:
    vdi = None if vbd.medium is None else visit.xapi.vdi(vbd.medium)
    return Drive(vbd, image_of(visit, vdi), dangling=vbd.medium is not None and vdi is None)


def image_of(visit: Visit, vdi: VdiRecord | None) -> Inserted | None:
    """Say which image of the fleet a VDI is, if any."""
    name = None if vdi is None else image_at(vdi.location)
    return None if vdi is None or name is None else Inserted(name, visit.place_of_iso_sr(vdi.sr))


def content(drives: Iterable[Drive], vm: VmUuid) -> DriveContent:
    """Say what is in the config drive: what has to go first, then the oldest of the VM's own."""
    media = [drive.image for drive in drives if drive.image is not None]
    if media:
        return min(media, key=lambda medium: (medium.name.vm_uuid == vm, medium.name.generation))
    ours = any(drive.owner is not None and drive.vbd.kind == CD and drive.vbd.medium is None for drive in drives)
    return EmptyDrive() if ours else NoDrive()


def inserted_for(full: Iterable[VbdRecord]) -> str | None:
    """Return the host for which the medium of the config drive was inserted, of drives that have one in them."""
    marks = (vbd.other_config.get(HOST_MARK) for vbd in full)
    return next((mark for mark in marks if mark), None)


def choose(drives: Iterable[Drive], vm: VmUuid, kind: str, vdi: Ref | None) -> Drive | None:
    """Return the drive to use: one that has the image, else the marked one, else one with an older image.

    Raises:
        PermanentError: `NO_FREE_SLOT` when a user's medium is in the marked one.
    """
    fit = [drive for drive in drives if drive.vbd.kind == kind and drive.vbd.userdevice not in RESERVED]
    if kind == DISK:  # a disk's medium cannot be exchanged
        return next((drive for drive in fit if drive.vbd.medium == vdi and vdi is not None), None)
    ours = [drive for drive in fit if drive.owner is not None or drive.image is not None]
    ours.sort(key=lambda drive: (drive.vbd.medium != vdi or vdi is None, drive.owner is None))
    for drive in ours:
        if drive.image is None and drive.vbd.medium is not None and not drive.dangling:
            detail = f"the config drive {device_name(drive.vbd.userdevice)} of VM {vm} holds a user's medium"
            raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "eject it: users' ISOs belong into slot 3")
        return drive
    return None


def device_name(userdevice: str) -> str:
    """Return what a Linux guest with Xen drivers calls a VBD (XenAPI reference, VM.get_allowed_VBD_devices)."""
    number = int(userdevice) if userdevice.isdecimal() else -1
    return f"xvd{chr(ord('a') + number)}" if 0 <= number < 26 else userdevice  # noqa: PLR2004  # the letters


def _number(vbd: VbdRecord) -> int:
    return int(vbd.userdevice) if vbd.userdevice.isdecimal() else 1 << 16
