"""The changes to a VM's drives. Their order follows from what XAPI does, as recorded from xapi 23.14.

* A CD drive of a running VM can be inserted into and ejected from; it can be neither plugged nor unplugged. So the
  drive is made while the VM is halted. One that is made while it runs comes with the next boot.
* An insert into a full drive, and an eject from an empty one, fail, also when somebody else was faster: what is there
  then is looked at, not guessed. Nothing is taken out that was not there when the verb began.
* XAPI lets one image be in two VMs' drives: a clone has its original's, and the marks. They go with its own start.
* The config drive is a VBD of its own with the VM's uuid in other_config, and goes with its image when the VM is off.
  A drive without a mark is the user's: an image in it is ejected, and the drive stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from XenAPI.XenAPI import Failure

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import AttachedHow
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK
from workers.hypervisors.xenserver.slots import CD, choose, free_slot, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from configdrive.model import ImageName, Presentation, Vm, VmUuid
    from configdrive.ports import Inserted
    from workers.hypervisors.xenserver.records import Ref, VbdRecord
    from workers.hypervisors.xenserver.slots import Drive
    from workers.hypervisors.xenserver.visit import Visit
    from workers.hypervisors.xenserver.vms import FoundVm

_NO_HOTPLUG: Final = frozenset(
    {
        "OPERATION_NOT_ALLOWED",
        "VM_MISSING_PV_DRIVERS",
        "DISK_VBD_MUST_BE_READWRITE_FOR_HVM",
        "DEVICE_ATTACH_TIMEOUT",
    }
)
"""How XAPI says that a running VM takes no new disk now."""


class Attached(NamedTuple):
    """How the image came to the guest, and in which slot."""

    how: AttachedHow
    userdevice: str


class Drives:
    """The drives of one VM, for whose host a medium is inserted."""

    def __init__(self, visit: Visit, vm: Vm, found: FoundVm) -> None:
        self._visit = visit
        self._xapi = visit.xapi
        self._vm = vm.uuid
        self._record = found.record
        self._vbds = found.vbds
        self._drives = found.drives
        self._marks = {VM_MARK: str(vm.uuid), HOST_MARK: visit.host.uuid}

    def insert(self, vdi: Ref, presentation: Presentation) -> Attached:
        """Make a VDI the medium of the config drive, and of no other drive; no other image of a fleet stays in any.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
            TransientError: `VM_BUSY` for a suspended VM.
        """
        kind = kind_of(presentation)
        slot = choose(self._drives, self._vm, kind, vdi)
        self._require_awake(slot is None or slot.vbd.medium != vdi)
        for drive in self._drives:
            if drive.image is not None and drive is not slot:
                self._take_out(drive)
        if slot is None:
            return self._make(vdi, kind)
        if slot.vbd.medium == vdi:
            self._mark(slot)
            how = AttachedHow.ALREADY if self._reaches(slot.vbd) else AttachedHow.NEXT_BOOT
            return Attached(how, slot.vbd.userdevice)
        if slot.dangling and self._record.is_live:
            raise _dangling(self._vm)
        if slot.dangling or not self._reaches(slot.vbd):
            self._xapi.destroy_vbd(slot.vbd.ref)
            return self._make(vdi, kind, slot.vbd.userdevice)
        if slot.vbd.medium is not None:
            self._eject(slot.vbd)
        self._mark(slot)
        self._insert(slot.vbd, vdi)
        return Attached(AttachedHow.INSERTED, slot.vbd.userdevice)

    def remove(self, media: Collection[ImageName] | None) -> None:
        """Leave none of these images in any drive, and none at all with `None`; what the fleet added goes when it can.

        One whose image was deleted past XAPI goes, once the VM is off: XAPI can do nothing else with it.

        Raises:
            TransientError: `VM_BUSY` for a suspended VM, `DRIVE_LOCKED`.
        """
        full = [drive for drive in self._drives if drive.image and (media is None or drive.image.name in media)]
        self._require_awake(bool(full))
        for drive in full:
            self._take_out(drive)
        for drive in self._drives:
            if self._is_off and drive.is_added and (drive.vbd.medium is None or drive.dangling):
                self._xapi.destroy_vbd(drive.vbd.ref)

    def eject(self, image: Inserted) -> None:
        """Take one image, of one place, out of whatever drive it is in; the drive stays."""
        for drive in self._drives:
            if drive.image == image:
                self._take_out(drive)

    def device(self, presentation: Presentation) -> str:
        """Return the slot that an image would come into.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
        """
        slot = choose(self._drives, self._vm, kind_of(presentation), None)
        return free_slot(self._vbds, self._vm) if slot is None else slot.vbd.userdevice

    # --- the VM ----------------------------------------------------------------------------------------------------

    @property
    def _is_off(self) -> bool:
        return self._record.power_state == "Halted"

    def _require_awake(self, changes: bool) -> None:  # noqa: FBT001 - one word of the condition
        if changes and self._record.power_state == "Suspended":
            detail = f"VM {self._vm} is suspended: XAPI changes none of its drives"
            raise TransientError(TransientCode.VM_BUSY, detail, "resume it, or shut it down")

    def _reaches(self, vbd: VbdRecord) -> bool:
        """Say whether the guest has this drive, or will have it when it boots."""
        return vbd.currently_attached or not self._record.is_live

    # --- single changes --------------------------------------------------------------------------------------------

    def _make(self, vdi: Ref, kind: str, userdevice: str | None = None) -> Attached:
        """Make a drive with the image in it."""
        device = userdevice or free_slot(self._vbds, self._vm)
        vbd = self._xapi.create_vbd(self._record.ref, vdi, kind, device, self._marks)
        if not self._record.is_live:
            return Attached(AttachedHow.INSERTED, device)
        if kind == CD:
            return Attached(AttachedHow.NEXT_BOOT, device)
        try:
            self._xapi.plug(vbd)
        except Failure as failure:
            if code_of(failure) not in _NO_HOTPLUG:
                raise
            return Attached(AttachedHow.NEXT_BOOT, device)
        return Attached(AttachedHow.HOT_ADDED, device)

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
                self._visit.forget_medium(vbd.vdi)
                raise _dangling(self._vm) from None
            now = self._xapi.vbd(vbd.ref)
            if code_of(failure) != "VBD_IS_EMPTY" or (now is not None and now.medium is not None):
                raise

    def _take_out(self, drive: Drive) -> None:
        """Empty a drive; one that the fleet has added goes when XAPI lets it, and so does a disk, which is its medium.

        Looks once more right before: what came since the verb began is the next event's.
        """
        vbd = self._xapi.vbd(drive.vbd.ref)
        if vbd is None or vbd.medium != drive.vbd.medium:
            return
        if vbd.kind == CD and (vbd.currently_attached or not drive.is_added):
            self._eject(vbd)
            return
        if vbd.currently_attached:
            self._xapi.unplug(vbd.ref)
        self._xapi.destroy_vbd(vbd.ref)

    def _mark(self, drive: Drive) -> None:
        """Say of a drive that the fleet has added whose it is, and for which host; of a user's, nothing."""
        now = drive.vbd.other_config
        if drive.is_added and {key: now.get(key) for key in self._marks} != self._marks:
            self._xapi.mark_vbd(drive.vbd.ref, {**now, **self._marks})


def _dangling(vm: VmUuid) -> TransientError:
    detail = f"the image in a drive of VM {vm} was deleted past the fleet: XAPI can neither eject nor migrate"
    remedy = "wait: XAPI empties the drive by itself within half a minute"
    return TransientError(TransientCode.VM_BUSY, detail, remedy)
