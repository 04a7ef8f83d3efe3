"""The changes to a VM's drives. Their order follows from what XAPI does, as recorded from xapi 23.14.

* A CD drive of a running VM can be inserted into and ejected from; it can be neither plugged nor unplugged. A read-only
  disk can be unplugged from a running HVM guest, with PV drivers, and never plugged. So the drive is made while the VM
  is halted; one that is made while it runs comes with the next boot; and what a running guest has as a disk is left.
* An insert into a full drive, and an eject from an empty one, fail, also when somebody else was faster: what is there
  then is looked at, not guessed. Nothing is taken out that was not there when the verb began.
* XAPI lets one image be in two VMs' drives: a clone has its original's, and the marks. They go with its own start.
* The config drive is a VBD of its own with the VM's uuid in other_config, and goes with its image when the VM is off.
  A drive without a mark is the user's: an image in it is ejected, and the drive stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from XenAPI.XenAPI import Failure

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.ports import AttachedHow
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK
from workers.hypervisors.xenserver.slots import (
    CD,
    DISK,
    EMULATED,
    Goal,
    device_name,
    goal_of,
    live_cd,
    place_of,
    require_no_user_medium,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from configdrive.model import ImageName, Presentation, Vm, VmUuid
    from configdrive.ports import Inserted
    from workers.hypervisors.xenserver.records import Ref, VbdRecord
    from workers.hypervisors.xenserver.slots import Drive
    from workers.hypervisors.xenserver.visit import Visit
    from workers.hypervisors.xenserver.vms import FoundVm

_NO_HOTPLUG: Final = frozenset({"OPERATION_NOT_ALLOWED", "VM_MISSING_PV_DRIVERS", "DEVICE_ATTACH_TIMEOUT"})
"""How XAPI says that a running VM takes no new disk now, or gives none up."""


class Attached(NamedTuple):
    """How the image came to the guest, in which slot, and what the guest has to know."""

    how: AttachedHow
    userdevice: str
    facts: Mapping[str, str]


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

        What a running guest has and XAPI cannot exchange stays until the next start.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
            TransientError: `VM_BUSY` for a suspended VM.
        """
        for drive in self._drives:
            if drive.is_added:
                require_no_user_medium(drive, self._vm)
        if self._record.is_live:
            return self._insert_live(vdi, presentation)
        goal = self._goal(presentation, [vbd for vbd in self._vbds if VM_MARK not in vbd.other_config])
        slot = self._halted(vdi, goal)
        self._require_awake(slot is None or slot.vbd.medium != vdi)
        for drive in self._drives:
            if drive is not slot and (drive.image is not None or drive.is_added):
                self._take_out(drive)
        if slot is None:
            return self._make(vdi, goal)
        if slot.vbd.medium == vdi:
            self._mark(slot)
            return self._done(AttachedHow.ALREADY, slot.vbd)
        return self._exchange(slot, vdi)

    def remove(self, media: Collection[ImageName] | None) -> None:
        """Leave none of these images in any drive, and none at all with `None`; what the fleet added goes when it can.

        One whose image was deleted past XAPI goes, once the VM is off: XAPI can do nothing else with it.

        Raises:
            TransientError: `VM_BUSY` for a suspended VM, and for what XAPI takes from no running guest; `DRIVE_LOCKED`.
        """
        full = [drive for drive in self._drives if drive.image and (media is None or drive.image.name in media)]
        self._require_awake(bool(full))
        for drive in full:
            self._take_out(drive)
        for drive in self._drives:
            if self._is_off and drive.is_added and (drive.vbd.medium is None or drive.dangling):
                self._xapi.destroy_vbd(drive.vbd.ref)

    def give_up(self, image: Inserted) -> None:
        """Take one image, of one place, out of whatever drive it is in, so that XAPI lets the VM migrate.

        Raises:
            PermanentError: `NOT_SUPPORTED`: the running guest cannot give a disk up, so it cannot migrate.
        """
        for drive in self._drives:
            if drive.image == image:
                try:
                    self._take_out(drive)
                except _FixedError as error:
                    detail = f"{error.detail}; so XAPI migrates it not while it runs"
                    remedy = "install Xen's drivers in the guest, or shut the VM down and start it there"
                    raise PermanentError(PermanentCode.NOT_SUPPORTED, detail, remedy) from None

    def device(self, presentation: Presentation) -> str:
        """Return the slot that an image would come into.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
        """
        live = live_cd(self._live, self._vm, None, borrow=False) if self._record.is_live else None
        if live is not None:
            return live.vbd.userdevice
        return str(self._goal(presentation, [vbd for vbd in self._vbds if VM_MARK not in vbd.other_config]).place)

    # --- the VM ----------------------------------------------------------------------------------------------------

    @property
    def _is_off(self) -> bool:
        return self._record.power_state == "Halted"

    @property
    def _live(self) -> list[Drive]:
        """The CDs that the running guest sees, so that their medium can be exchanged now."""
        return [drive for drive in self._drives if drive.vbd.kind == CD and self._can_be_changed(drive.vbd)]

    def _can_be_changed(self, vbd: VbdRecord) -> bool:
        return vbd.currently_attached and (not self._record.is_hvm or place_of(vbd) in EMULATED)

    def _require_awake(self, changes: bool) -> None:  # noqa: FBT001 - one word of the condition
        if changes and self._record.power_state == "Suspended":
            detail = f"VM {self._vm} is suspended: XAPI changes none of its drives"
            raise TransientError(TransientCode.VM_BUSY, detail, "resume it, or shut it down")

    def _goal(self, presentation: Presentation, stay: Collection[VbdRecord]) -> Goal:
        return goal_of(stay, self._vm, presentation, second_cd=self._visit.pool.table.second_cd)

    def _halted(self, vdi: Ref, goal: Goal) -> Drive | None:
        """Return the drive to use of a VM that is off: the one at its goal, or one that has the image already."""
        for drive in self._drives:
            here = drive.goal == goal and drive.is_added
            found = not drive.is_added and drive.vbd.kind == CD and place_of(drive.vbd) in EMULATED - {3}
            if drive.vbd.medium == vdi and (here or found):
                return drive
            if here and goal.kind == CD and not drive.dangling:
                return drive
        return None

    # --- while it runs ---------------------------------------------------------------------------------------------

    def _insert_live(self, vdi: Ref, presentation: Presentation) -> Attached:
        borrow = self._visit.pool.table.borrow_empty_cd
        cd = live_cd(self._live, self._vm, vdi, borrow=borrow)
        if cd is not None:
            if cd.dangling:
                raise _dangling(self._vm)
            self._clear(except_for=cd)
            if cd.vbd.medium != vdi:
                return self._exchange(cd, vdi)
            self._mark(cd)
            return self._done(AttachedHow.ALREADY, cd.vbd)
        for drive in self._drives:
            if drive.image is None or drive.image.name.vm_uuid != self._vm:
                continue
            if drive.vbd.currently_attached and (self._record.is_hvm or drive.vbd.medium == vdi):
                how = AttachedHow.ALREADY if drive.vbd.medium == vdi else AttachedHow.NEXT_BOOT
                return self._done(how, drive.vbd, needs="stop_and_start")
            if drive.vbd.medium == vdi and drive.is_added:  # made while it runs, for its next boot
                self._mark(drive)
                return self._done(AttachedHow.NEXT_BOOT, drive.vbd)
        gone = self._clear(except_for=None)
        return self._make(vdi, self._goal(presentation, [vbd for vbd in self._vbds if vbd.ref not in gone]))

    def _clear(self, except_for: Drive | None) -> set[Ref]:
        """Take every other image out as far as XAPI does it now; answers which drives are gone."""
        gone = set()
        for drive in self._drives:
            unused = drive.is_added and not drive.vbd.currently_attached
            if drive is except_for or (drive.image is None and not unused):
                continue
            try:
                self._take_out(drive)
            except _FixedError:
                continue
            if unused or drive.vbd.kind == DISK:
                gone.add(drive.vbd.ref)
        return gone

    # --- single changes --------------------------------------------------------------------------------------------

    def _make(self, vdi: Ref, goal: Goal) -> Attached:
        """Make a drive with the image in it."""
        vbd = self._xapi.create_vbd(self._record.ref, vdi, goal.kind, str(goal.place), self._marks)
        how = AttachedHow.INSERTED
        if self._record.is_live:
            how = AttachedHow.NEXT_BOOT
            if goal.kind == DISK and not self._record.is_hvm:
                how = self._plugged(vbd)
        return Attached(how, str(goal.place), _facts(goal.kind))

    def _plugged(self, vbd: Ref) -> AttachedHow:
        try:
            self._xapi.plug(vbd)
        except Failure as failure:
            if code_of(failure) not in _NO_HOTPLUG:
                raise
            return AttachedHow.NEXT_BOOT
        return AttachedHow.HOT_ADDED

    def _exchange(self, slot: Drive, vdi: Ref) -> Attached:
        """Put the image into a CD drive, in the place of what is in it."""
        if slot.vbd.medium is not None:
            self._eject(slot.vbd)
        self._mark(slot)
        self._insert(slot.vbd, vdi)
        return self._done(AttachedHow.INSERTED, slot.vbd, borrowed=not slot.is_added)

    def _done(self, how: AttachedHow, vbd: VbdRecord, needs: str = "", *, borrowed: bool = False) -> Attached:
        facts = _facts(vbd.kind)
        if needs and how is AttachedHow.NEXT_BOOT:
            facts["needs"] = needs
        if borrowed:
            facts["borrowed"] = device_name(vbd.userdevice)
        return Attached(how, vbd.userdevice, facts)

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

        Raises:
            TransientError: `VM_BUSY`: XAPI takes it from no running guest.
        """
        vbd = self._xapi.vbd(drive.vbd.ref)
        if vbd is None or vbd.medium != drive.vbd.medium:
            return
        if vbd.kind == CD and vbd.currently_attached and not self._can_be_changed(vbd):
            raise _FixedError(self._vm, vbd)
        if vbd.kind == CD and (vbd.currently_attached or not drive.is_added):
            self._eject(vbd)
            return
        if vbd.currently_attached:
            self._unplug(vbd)
        self._xapi.destroy_vbd(vbd.ref)

    def _unplug(self, vbd: VbdRecord) -> None:
        try:
            self._xapi.unplug(vbd.ref)
        except Failure as failure:
            if code_of(failure) not in _NO_HOTPLUG:
                raise
            raise _FixedError(self._vm, vbd) from None

    def _mark(self, drive: Drive) -> None:
        """Say of a drive that the fleet has added whose it is, and for which host; of a user's, nothing."""
        now = drive.vbd.other_config
        if drive.is_added and {key: now.get(key) for key in self._marks} != self._marks:
            self._xapi.mark_vbd(drive.vbd.ref, {**now, **self._marks})


class _FixedError(TransientError):
    """XAPI takes this drive from no running guest."""

    def __init__(self, vm: VmUuid, vbd: VbdRecord) -> None:
        what = f"{vbd.kind} {device_name(vbd.userdevice)}"
        detail = f"XAPI takes {what} from VM {vm} only when it is off, or has Xen's drivers"
        super().__init__(TransientCode.VM_BUSY, detail, "shut the VM down")


def _facts(kind: str) -> dict[str, str]:
    """Say how the guest sees it; XenServer emulates no disk that is read-only."""
    return {"seen_as": "disk", "needs": "xen_drivers"} if kind == DISK else {"seen_as": "cdrom"}


def _dangling(vm: VmUuid) -> TransientError:
    detail = f"the image in a drive of VM {vm} was deleted past the fleet: XAPI can neither eject nor migrate"
    remedy = "wait: XAPI empties the drive by itself within half a minute"
    return TransientError(TransientCode.VM_BUSY, detail, remedy)
