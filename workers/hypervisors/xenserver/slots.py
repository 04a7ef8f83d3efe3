"""The slots of a VM's drives (userdevice): what the fleet has in them, and which may be the config drive's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Presentation
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from configdrive.model import VmUuid
    from configdrive.ports import DriveContent
    from workers.hypervisors.xenserver.records import Ref, VbdRecord
    from workers.hypervisors.xenserver.visit import Visit

CD: Final = "CD"
DISK: Final = "Disk"

RESERVED: Final = frozenset({0, 3})
"""Slots that are never the config drive's: the root disk's, and that of the user's ISO, as CloudStack has it."""

_SLOTS: Final = range(16)
"""Those that every guest can have; XAPI counts to 254."""

_LETTER: Final = re.compile(r"(?:xvd|hd|sd)([a-p])")


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
    def is_added(self) -> bool:
        """Whether a fleet has added it, for this VM or for the one of which this is a clone: it bears a mark."""
        return VM_MARK in self.vbd.other_config


def kind_of(presentation: Presentation) -> str:
    """Return XAPI's type of drive for a presentation."""
    return DISK if presentation is Presentation.DISK else CD


def root_of(vbds: Iterable[VbdRecord]) -> Ref | None:
    """Return the VDI of the root disk: the bootable disk, else the one in the lowest slot; never a config drive."""
    disks = [vbd for vbd in vbds if vbd.kind == DISK and vbd.medium and VM_MARK not in vbd.other_config]
    disks.sort(key=lambda vbd: (not vbd.bootable, vbd.mode != "RW", _number(vbd)))
    return disks[0].medium if disks else None


def may_be_ours(vbd: VbdRecord) -> bool:
    """Say whether a drive can be the config drive: a CD, or a disk that the guest only reads."""
    return vbd.kind == CD or (vbd.kind, vbd.mode) == (DISK, "RO")


def read_drives(visit: Visit, vbds: Iterable[VbdRecord]) -> tuple[Drive, ...]:
    """Say of every drive that can be the config drive what the fleet has in it."""
    return tuple(_read(visit, vbd) for vbd in sorted(filter(may_be_ours, vbds), key=_number))


def _read(visit: Visit, vbd: VbdRecord) -> Drive:
    if vbd.medium is None:
        return Drive(vbd, None)
    image, gone = visit.medium(vbd.medium)
    return Drive(vbd, image, gone)


def content(drives: Iterable[Drive], vm: VmUuid) -> DriveContent:
    """Say what is in the config drive: what has to go first, then what the VM's own drive has."""
    full = [(drive.image, drive.is_added) for drive in drives if drive.image is not None]
    if full:
        return min(full, key=lambda one: (one[0].name.vm_uuid == vm, one[1]))[0]
    ours = any(drive.is_added and drive.vbd.kind == CD and drive.vbd.medium is None for drive in drives)
    return EmptyDrive() if ours else NoDrive()


def inserted_for(full: Iterable[VbdRecord]) -> str | None:
    """Return the uuid of the host for which the medium was inserted, of drives that have one in them."""
    marks = (vbd.other_config.get(HOST_MARK) for vbd in full)
    return next((mark for mark in marks if mark), None)


def choose(drives: Iterable[Drive], vm: VmUuid, kind: str, vdi: Ref | None) -> Drive | None:
    """Return the drive to use; a user's own is none, but what holds an image of this VM already is used on.

    Raises:
        PermanentError: `NO_FREE_SLOT` when a user's medium is in the one that the fleet has added.
    """
    fit = [drive for drive in drives if drive.vbd.kind == kind and _number(drive.vbd) not in RESERVED]
    if kind == DISK:  # a disk's medium cannot be exchanged
        return next((drive for drive in fit if drive.vbd.medium == vdi and vdi is not None), None)
    ours = [drive for drive in fit if drive.is_added or (drive.image is not None and drive.image.name.vm_uuid == vm)]
    ours.sort(key=lambda drive: (drive.vbd.medium != vdi or vdi is None, not drive.vbd.currently_attached))
    for drive in ours:
        if drive.image is None and drive.vbd.medium is not None and not drive.dangling:
            detail = f"the config drive {device_name(drive.vbd.userdevice)} of VM {vm} holds a user's medium"
            raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "eject it: users' ISOs belong into slot 3")
        return drive
    return None


def free_slot(vbds: Iterable[VbdRecord], vm: VmUuid) -> str:
    """Return the first slot for a new drive.

    Raises:
        PermanentError: `NO_FREE_SLOT`.
    """
    used = RESERVED | {_number(vbd) for vbd in vbds}
    free = next((slot for slot in _SLOTS if slot not in used), None)
    if free is None:
        detail = f"VM {vm} has no free slot for a config drive"
        raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "remove a drive of it")
    return str(free)


def device_name(userdevice: str) -> str:
    """Return what a Linux guest with Xen drivers calls a VBD (XenAPI reference, VM.get_allowed_VBD_devices)."""
    number = int(userdevice) if userdevice.isdecimal() else -1
    return f"xvd{chr(ord('a') + number)}" if 0 <= number < 26 else userdevice  # noqa: PLR2004  # the letters


def _number(vbd: VbdRecord) -> int:
    """Return a drive's slot; XAPI takes letters for it as well, and keeps what it was given."""
    letter = _LETTER.fullmatch(vbd.userdevice)
    if letter is not None:
        return ord(letter[1]) - ord("a")
    return int(vbd.userdevice) if vbd.userdevice.isdecimal() else 1 << 16
