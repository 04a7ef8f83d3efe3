"""Changing what is in a VM's drives. The order follows from what XAPI does, as recorded from xapi 23.14.

* A CD drive of a running VM can be inserted into and ejected from; it can be neither plugged nor unplugged. So the
  drive is made while the VM is halted, and stays. One that is made while it runs comes with the next boot.
* Of a halted VM an image takes its drive along when it is destroyed. So it is ejected first, always.
* An insert into a full drive, and an eject from an empty one, fail, also when somebody else was faster: what is there
  then is looked at, not guessed.
* XAPI lets one image be in two VMs' drives. So the driver looks whose it is.
* The config drive is a VBD of its own with the VM's uuid in other_config; slot 3 is the user's, as CloudStack has it,
  and slot 0 is the root disk's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from XenAPI.XenAPI import Failure

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import Presentation
from configdrive.ports import AttachedHow, EmptyDrive, Inserted, NoDrive
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK, device_name, image_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.model import HostName, ImageName, Place, VmUuid
    from configdrive.ports import DriveContent
    from workers.hypervisors.xenserver.api import Xapi
    from workers.hypervisors.xenserver.records import Ref, VbdRecord, VmRecord
    from workers.hypervisors.xenserver.visit import Visit

RESERVED: Final = frozenset({"0", "3"})
"""Slots that are never the config drive's: the root disk's, and that of the user's ISO."""

_CD, _DISK = "CD", "Disk"
_NO_HOTPLUG: Final = frozenset({"OPERATION_NOT_ALLOWED", "VM_MISSING_PV_DRIVERS", "DEVICE_ATTACH_TIMEOUT"})
"""How XAPI says that a running VM takes no new disk now."""


@dataclass(frozen=True, slots=True)
class Drive:
    """One drive of a VM that is, or may become, the config drive.

    Args:
        vbd: as read just now.
        image: the fleet's image in it, whosever; `None` when there is none.
        place: where that image lies; `None` when that cannot be told.
        dangling: what is in it was deleted past XAPI.
    """

    vbd: VbdRecord
    image: ImageName | None
    place: Place | None = None
    dangling: bool = False

    @property
    def owner(self) -> str | None:
        """The VM whose config drive this is by its mark."""
        return self.vbd.other_config.get(VM_MARK)


@dataclass(frozen=True, slots=True)
class Done:
    """How the image came to the guest, and in which slot."""

    how: AttachedHow
    userdevice: str


def root_of(vbds: Mapping[Ref, VbdRecord]) -> Ref | None:
    """Return the VDI of the root disk: the bootable disk, else the one in the lowest slot; never a config drive."""
    disks = [vbd for vbd in vbds.values() if vbd.kind == _DISK and vbd.medium and VM_MARK not in vbd.other_config]
    disks.sort(key=lambda vbd: (not vbd.bootable, vbd.mode != "RW", _number(vbd.userdevice)))
    return disks[0].medium if disks else None


def read_drives(visit: Visit, vbds: Mapping[Ref, VbdRecord]) -> tuple[Drive, ...]:
    """Say of every drive with a medium or a mark what the fleet has in it."""
    drives = []
    for vbd in sorted(vbds.values(), key=lambda vbd: _number(vbd.userdevice)):
        if vbd.kind != _CD and (vbd.kind, vbd.mode) != (_DISK, "RO"):
            continue
        vdi = None if vbd.medium is None else visit.xapi.vdi(vbd.medium)
        image = None if vdi is None else image_at(vdi.location)
        place = None if vdi is None or image is None else visit.place_of_repository(vdi.sr)
        drives.append(Drive(vbd, image, place, dangling=vbd.medium is not None and vdi is None))
    return tuple(drives)


def media_of(drives: tuple[Drive, ...]) -> tuple[Inserted, ...]:
    """Return every image of the fleet in a drive."""
    return tuple(Inserted(drive.image, drive.place) for drive in drives if drive.image is not None)


def content(drives: tuple[Drive, ...], vm: VmUuid) -> DriveContent:
    """Say what is in the config drive: what has to go first, then the oldest of the VM's own."""
    media = media_of(drives)
    if media:
        return min(media, key=lambda medium: (medium.name.vm_uuid == vm, medium.name.generation))
    ours = any(drive.owner is not None and drive.vbd.kind == _CD and drive.vbd.medium is None for drive in drives)
    return EmptyDrive() if ours else NoDrive()


def inserted_for(drives: tuple[Drive, ...]) -> str | None:
    """Return the host for which the medium of the config drive was inserted, if one is in it."""
    marks = (drive.vbd.other_config.get(HOST_MARK) for drive in drives if drive.image is not None)
    return next((mark for mark in marks if mark), None)


class Drives:
    """The drives of one VM.

    Args:
        xapi: the calls.
        vm: the orchestrator's uuid.
        record: the VM.
        drives: as `read_drives` has read them just now.
        host: for which a medium is inserted.
    """

    def __init__(self, xapi: Xapi, vm: VmUuid, record: VmRecord, drives: tuple[Drive, ...], host: HostName) -> None:
        self._xapi = xapi
        self._vm = vm
        self._record = record
        self._drives = drives
        self._marks = {VM_MARK: str(vm), HOST_MARK: str(host)}

    def insert(self, vdi: Ref, presentation: Presentation) -> Done:
        """Make a VDI the medium of the config drive, and of no other drive.

        Raises:
            PermanentError: `NOT_ITS_DRIVE`, `NO_FREE_SLOT`.
            TransientError: `VM_BUSY` for a suspended VM.
        """
        self._require_own()
        kind = _DISK if presentation is Presentation.DISK else _CD
        slot = self._slot(kind, vdi)
        self._require_awake(slot is None or slot.vbd.medium != vdi)
        for drive in self._drives:
            if drive.image is not None and drive is not slot:
                self._take_out(drive)
        if slot is None:
            return self._make(vdi, kind)
        if slot.vbd.medium == vdi:
            self._mark(slot.vbd)
            return Done(AttachedHow.ALREADY if self._reaches(slot.vbd) else AttachedHow.NEXT_BOOT, slot.vbd.userdevice)
        if slot.dangling and self._record.is_live:
            raise _dangling(self._vm)
        if slot.dangling or not self._reaches(slot.vbd):
            self._xapi.destroy_vbd(slot.vbd.ref)
            return self._make(vdi, kind, slot.vbd.userdevice)
        if slot.vbd.medium is not None:
            self._eject(slot.vbd)
        self._mark(slot.vbd)
        self._insert(slot.vbd, vdi)
        return Done(AttachedHow.INSERTED, slot.vbd.userdevice)

    def remove_all(self) -> None:
        """Leave no image of the fleet in any drive, whosever it is. An own CD drive stays, empty, for the next start.

        One whose image was deleted past XAPI goes, once the VM is off: XAPI can do nothing else with it.

        Raises:
            TransientError: `VM_BUSY` for a suspended VM, `DRIVE_LOCKED`.
        """
        found = [drive for drive in self._drives if drive.image is not None]
        self._require_awake(bool(found))
        for drive in found:
            self._take_out(drive)
        for drive in self._drives:
            if drive.dangling and drive.owner is not None and self._record.power_state == "Halted":
                self._xapi.destroy_vbd(drive.vbd.ref)

    def remove(self, name: ImageName) -> None:
        """Take one image out of whatever drive it is in."""
        for drive in self._drives:
            if drive.image == name:
                self._take_out(drive)

    def device(self, presentation: Presentation) -> str:
        """Return the slot that an image would come into.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
        """
        slot = self._slot(_DISK if presentation is Presentation.DISK else _CD, None)
        return self._free() if slot is None else slot.vbd.userdevice

    # --- which drive -----------------------------------------------------------------------------------------------

    def _require_own(self) -> None:
        """Refuse a VM with another's image in a drive. A mark alone says nothing: a clone has those of its original."""
        for drive in self._drives:
            if drive.image is not None and drive.image.vm_uuid != self._vm:
                device, whose = device_name(drive.vbd.userdevice), drive.image.vm_uuid
                detail = f"drive {device} of VM {self._vm} holds the image of VM {whose}"
                remedy = "eject it on the hypervisor after finding out who inserted it"
                raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, remedy)

    def _require_awake(self, changes: bool) -> None:  # noqa: FBT001 - one word of the condition
        if changes and self._record.power_state == "Suspended":
            detail = f"VM {self._vm} is suspended: XAPI changes none of its drives"
            raise TransientError(TransientCode.VM_BUSY, detail, "resume it, or shut it down")

    def _slot(self, kind: str, vdi: Ref | None) -> Drive | None:
        """Return the drive to use: one that has the image, else the marked one, else one with an older image.

        Raises:
            PermanentError: `NO_FREE_SLOT` when a user's medium is in the marked one.
        """
        fit = [drive for drive in self._drives if drive.vbd.kind == kind and drive.vbd.userdevice not in RESERVED]
        if kind == _DISK:  # a disk's medium cannot be exchanged
            return next((drive for drive in fit if drive.vbd.medium == vdi and vdi is not None), None)
        ours = [drive for drive in fit if drive.owner is not None or drive.image is not None]
        ours.sort(key=lambda drive: (drive.vbd.medium != vdi or vdi is None, drive.owner is None))
        for drive in ours:
            if drive.image is None and drive.vbd.medium is not None and not drive.dangling:
                detail = f"the config drive {device_name(drive.vbd.userdevice)} of VM {self._vm} holds a user's medium"
                raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "eject it: users' ISOs belong into slot 3")
            return drive
        return None

    def _free(self) -> str:
        for device in self._xapi.free_devices(self._record.ref):
            if device not in RESERVED:
                return device
        detail = f"VM {self._vm} has no free slot for a config drive"
        raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, "remove a drive of it")

    def _reaches(self, vbd: VbdRecord) -> bool:
        """Say whether the guest has this drive, or will have it when it boots."""
        return vbd.currently_attached or not self._record.is_live

    # --- single changes --------------------------------------------------------------------------------------------

    def _make(self, vdi: Ref, kind: str, userdevice: str | None = None) -> Done:
        """Make a drive with the image in it."""
        device = userdevice or self._free()
        vbd = self._xapi.create_vbd(self._record.ref, vdi, kind, device, self._marks)
        if not self._record.is_live:
            return Done(AttachedHow.INSERTED, device)
        if kind == _CD:
            return Done(AttachedHow.NEXT_BOOT, device)
        try:
            self._xapi.plug(vbd)
        except Failure as failure:
            if code_of(failure) not in _NO_HOTPLUG:
                raise
            return Done(AttachedHow.NEXT_BOOT, device)
        return Done(AttachedHow.HOT_ADDED, device)

    def _insert(self, vbd: VbdRecord, vdi: Ref) -> None:
        try:
            self._xapi.insert(vbd.ref, vdi)
        except Failure as failure:
            if code_of(failure) != "VBD_NOT_EMPTY":
                raise
            now = self._xapi.vbd(vbd.ref)
            if now is None or now.medium != vdi:
                raise

    def _eject(self, vbd: VbdRecord) -> None:
        try:
            self._xapi.eject(vbd.ref)
        except Failure as failure:
            if (code_of(failure), param_of(failure, 1)) == ("HANDLE_INVALID", "VDI"):  # it was deleted just now
                raise _dangling(self._vm) from None
            now = self._xapi.vbd(vbd.ref)
            if code_of(failure) != "VBD_IS_EMPTY" or (now is not None and now.medium is not None):
                raise

    def _take_out(self, drive: Drive) -> None:
        """Empty a drive, or take it away when it cannot be without a medium."""
        vbd = drive.vbd
        if vbd.kind == _CD and self._reaches(vbd):
            self._eject(vbd)
            return
        if vbd.currently_attached:
            self._xapi.unplug(vbd.ref)
        self._xapi.destroy_vbd(vbd.ref)

    def _mark(self, vbd: VbdRecord) -> None:
        if {key: vbd.other_config.get(key) for key in self._marks} != self._marks:
            self._xapi.mark_vbd(vbd.ref, {**vbd.other_config, **self._marks})


def _number(userdevice: str) -> int:
    return int(userdevice) if userdevice.isdecimal() else 1 << 16


def _dangling(vm: VmUuid) -> TransientError:
    detail = f"the image in a drive of VM {vm} was deleted past the fleet: XAPI can neither eject nor migrate"
    remedy = "shut the VM down from inside and start it again"
    return TransientError(TransientCode.VM_BUSY, detail, remedy)
