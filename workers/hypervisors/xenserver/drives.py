"""The changes to a VM's drives. Their order follows from what XAPI does, as recorded from xapi 23.14.

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

from typing import TYPE_CHECKING, Final, NamedTuple

from XenAPI.XenAPI import Failure

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.ports import AttachedHow
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK
from workers.hypervisors.xenserver.slots import CD, RESERVED, choose, device_name, kind_of

if TYPE_CHECKING:
    from configdrive.model import Presentation, Vm, VmUuid
    from configdrive.ports import Inserted
    from workers.hypervisors.xenserver.records import Ref, VbdRecord
    from workers.hypervisors.xenserver.slots import Drive
    from workers.hypervisors.xenserver.visit import Visit
    from workers.hypervisors.xenserver.vms import FoundVm

_NO_HOTPLUG: Final = frozenset({"OPERATION_NOT_ALLOWED", "VM_MISSING_PV_DRIVERS", "DEVICE_ATTACH_TIMEOUT"})
"""How XAPI says that a running VM takes no new disk now."""


class Attached(NamedTuple):
    """How the image came to the guest, and in which slot."""

    how: AttachedHow
    userdevice: str


class Drives:
    """The drives of one VM, for whose host a medium is inserted."""

    def __init__(self, visit: Visit, vm: Vm, found: FoundVm) -> None:
        self._xapi = visit.xapi
        self._vm = vm.uuid
        self._record = found.record
        self._drives = found.drives
        self._marks = {VM_MARK: str(vm.uuid), HOST_MARK: str(vm.host)}

    def insert(self, vdi: Ref, presentation: Presentation) -> Attached:
        """Make a VDI the medium of the config drive, and of no other drive.

        Raises:
            PermanentError: `NOT_ITS_DRIVE`, `NO_FREE_SLOT`.
            TransientError: `VM_BUSY` for a suspended VM.
        """
        self._require_own()
        kind = kind_of(presentation)
        slot = choose(self._drives, self._vm, kind, vdi)
        self._require_awake(slot is None or slot.vbd.medium != vdi)
        for drive in self._drives:
            if drive.image is not None and drive is not slot:
                self._take_out(drive)
        if slot is None:
            return self._make(vdi, kind)
        if slot.vbd.medium == vdi:
            self._mark(slot.vbd)
            return Attached(
                AttachedHow.ALREADY if self._reaches(slot.vbd) else AttachedHow.NEXT_BOOT, slot.vbd.userdevice
            )
        if slot.dangling and self._record.is_live:
            raise _dangling(self._vm)
        if slot.dangling or not self._reaches(slot.vbd):
            self._xapi.destroy_vbd(slot.vbd.ref)
            return self._make(vdi, kind, slot.vbd.userdevice)
        if slot.vbd.medium is not None:
            self._eject(slot.vbd)
        self._mark(slot.vbd)
        self._insert(slot.vbd, vdi)
        return Attached(AttachedHow.INSERTED, slot.vbd.userdevice)

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

    def remove(self, image: Inserted) -> None:
        """Take one image, of one place, out of whatever drive it is in."""
        for drive in self._drives:
            if drive.image == image:
                self._take_out(drive)

    def device(self, presentation: Presentation) -> str:
        """Return the slot that an image would come into.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
        """
        slot = choose(self._drives, self._vm, kind_of(presentation), None)
        return self._free() if slot is None else slot.vbd.userdevice

    # --- which drive -----------------------------------------------------------------------------------------------

    def _require_own(self) -> None:
        """Refuse a VM with another's image in a drive. A mark alone says nothing: a clone has those of its original."""
        for drive in self._drives:
            if drive.image is not None and drive.image.name.vm_uuid != self._vm:
                device, whose = device_name(drive.vbd.userdevice), drive.image.name.vm_uuid
                detail = f"drive {device} of VM {self._vm} holds the image of VM {whose}"
                remedy = "eject it on the hypervisor after finding out who inserted it"
                raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, remedy)

    def _require_awake(self, changes: bool) -> None:  # noqa: FBT001 - one word of the condition
        if changes and self._record.power_state == "Suspended":
            detail = f"VM {self._vm} is suspended: XAPI changes none of its drives"
            raise TransientError(TransientCode.VM_BUSY, detail, "resume it, or shut it down")

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

    def _make(self, vdi: Ref, kind: str, userdevice: str | None = None) -> Attached:
        """Make a drive with the image in it."""
        device = userdevice or self._free()
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
                raise _dangling(self._vm) from None
            now = self._xapi.vbd(vbd.ref)
            if code_of(failure) != "VBD_IS_EMPTY" or (now is not None and now.medium is not None):
                raise

    def _take_out(self, drive: Drive) -> None:
        """Empty a drive, or take it away when it cannot be without a medium."""
        vbd = drive.vbd
        if vbd.kind == CD and self._reaches(vbd):
            self._eject(vbd)
            return
        if vbd.currently_attached:
            self._xapi.unplug(vbd.ref)
        self._xapi.destroy_vbd(vbd.ref)

    def _mark(self, vbd: VbdRecord) -> None:
        if {key: vbd.other_config.get(key) for key in self._marks} != self._marks:
            self._xapi.mark_vbd(vbd.ref, {**vbd.other_config, **self._marks})


def _dangling(vm: VmUuid) -> TransientError:
    detail = f"the image in a drive of VM {vm} was deleted past the fleet: XAPI can neither eject nor migrate"
    remedy = "shut the VM down from inside and start it again"
    return TransientError(TransientCode.VM_BUSY, detail, remedy)
