"""The places of a VM's drives (userdevice): what the fleet has in them, and where the config drive goes.

The device model of an HVM guest emulates the places 0 to 3, as IDE. A CD above is seen by no guest (Linux' own driver
passes over CDs), and XAPI can change it only while the VM is off. A read-only disk is seen by PV drivers alone, and can
be plugged into no running HVM guest. So the config drive is a CD at 2, else at 1; and a disk where there is no room.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Presentation
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from configdrive.model import VmUuid
    from configdrive.ports import DriveContent
    from workers.hypervisors.xenserver.records import Ref, VbdRecord
    from workers.hypervisors.xenserver.visit import Visit

CD: Final = "CD"
DISK: Final = "Disk"

EMULATED: Final = frozenset(range(4))
"""The places that every HVM guest sees; 0 is the root disk's, and 3 that of the user's ISO, as CloudStack has it."""

CD_PLACES: Final = (2, 1)
"""Those of a config drive that is a CD, the best first: data disks come at 1 first."""

_DISK_PLACES: Final = range(15, 4, -1)
"""Those of one that is a disk: the highest first, out of the orchestrator's way. Every guest has 16."""

_LETTER: Final = re.compile(r"(?:xvd|hd|sd)([a-p])")


class Goal(NamedTuple):
    """Where a config drive is to be: what kind of drive, and at which place."""

    kind: str
    place: int


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

    @property
    def goal(self) -> Goal:
        """Its kind and place."""
        return Goal(self.vbd.kind, place_of(self.vbd))


def root_of(vbds: Iterable[VbdRecord]) -> Ref | None:
    """Return the VDI of the root disk: the bootable disk, else the one in the lowest slot; never a config drive."""
    disks = [vbd for vbd in vbds if vbd.kind == DISK and vbd.medium and VM_MARK not in vbd.other_config]
    disks.sort(key=lambda vbd: (not vbd.bootable, vbd.mode != "RW", place_of(vbd)))
    return disks[0].medium if disks else None


def may_be_ours(vbd: VbdRecord) -> bool:
    """Say whether a drive can be the config drive: a CD, or a disk that the guest only reads."""
    return vbd.kind == CD or (vbd.kind, vbd.mode) == (DISK, "RO")


def read_drives(visit: Visit, vbds: Iterable[VbdRecord]) -> tuple[Drive, ...]:
    """Say of every drive that can be the config drive what the fleet has in it."""
    return tuple(_read(visit, vbd) for vbd in sorted(filter(may_be_ours, vbds), key=place_of))


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


def goal_of(stay: Collection[VbdRecord], vm: VmUuid, wanted: Presentation, *, second_cd: bool) -> Goal:
    """Say where a new config drive belongs.

    Args:
        stay: the drives beside which it comes.
        vm: the VM's uuid.
        wanted: by the event.
        second_cd: whether it may be a CD where the VM has another one.

    Raises:
        PermanentError: `NO_FREE_SLOT`.
    """
    used = {place_of(vbd) for vbd in stay}
    alone = not any(vbd.kind == CD and VM_MARK not in vbd.other_config for vbd in stay)
    goals: list[Goal] = []
    if wanted is Presentation.CDROM or (wanted is Presentation.AUTO and (second_cd or alone)):
        goals += [Goal(CD, place) for place in CD_PLACES]
    if wanted is not Presentation.CDROM:
        goals += [Goal(DISK, place) for place in _DISK_PLACES]
    found = next((goal for goal in goals if goal.place not in used), None)
    if found is None:
        where = "as a CD: the places 2 and 1 are taken, and no guest sees one above 3" if len(goals) == 2 else "left"  # noqa: PLR2004
        detail = f"VM {vm} has no place for a config drive {where}"
        raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "remove a drive of it, or leave 'presentation' out")
    return found


def live_cd(live: Collection[Drive], vm: VmUuid, vdi: Ref | None, *, borrow: bool) -> Drive | None:
    """Return the CD of a running VM that takes the image now: the fleet's own, else one with its image in it.

    Args:
        live: the CDs that the guest sees.
        vm: its uuid.
        vdi: the image.
        borrow: whether a user's drive that is empty may be had while the VM runs.
    """
    own = [drive for drive in live if drive.is_added]
    own += [drive for drive in live if drive.image is not None and drive.image.name.vm_uuid == vm]
    if borrow:
        own += [drive for drive in live if drive.vbd.medium is None]
    return min(own, key=lambda drive: vdi is None or drive.vbd.medium != vdi, default=None)


def require_no_user_medium(drive: Drive, vm: VmUuid) -> None:
    """Refuse a drive of the fleet's with something else in it than an image of a fleet.

    Raises:
        PermanentError: `NO_FREE_SLOT`.
    """
    if drive.image is None and drive.vbd.medium is not None and not drive.dangling:
        detail = f"the config drive {device_name(drive.vbd.userdevice)} of VM {vm} holds a user's medium"
        raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "eject it: users' ISOs belong into slot 3")


def device_name(userdevice: str) -> str:
    """Return what a Linux guest with Xen drivers calls a VBD (XenAPI reference, VM.get_allowed_VBD_devices)."""
    number = int(userdevice) if userdevice.isdecimal() else -1
    return f"xvd{chr(ord('a') + number)}" if 0 <= number < 26 else userdevice  # noqa: PLR2004  # the letters


def place_of(vbd: VbdRecord) -> int:
    """Return a drive's place; XAPI takes letters for it as well, and keeps what it was given."""
    letter = _LETTER.fullmatch(vbd.userdevice)
    if letter is not None:
        return ord(letter[1]) - ord("a")
    return int(vbd.userdevice) if vbd.userdevice.isdecimal() else 1 << 16
