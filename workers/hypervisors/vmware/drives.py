"""Changing what is in a VM's drives, in one reconfiguration each.

* A medium is exchanged while the VM runs, on IDE as well as on SATA. A drive is added to a running VM on SATA only.
* What is changed stays for the next power-on: vSphere has one definition of a VM, not two.
* A guest that has mounted the medium holds the tray: vSphere then asks whether to override it, and the task waits.
* A change is refused when the configuration is not the one any more that it was decided on: it goes with its version.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim

from configdrive.errors import TransientCode, TransientError
from configdrive.model import PowerState
from configdrive.ports import AttachedHow, Attachment
from workers.hypervisors.vmware.paths import is_in
from workers.hypervisors.vmware.records import Drive
from workers.hypervisors.vmware.session import key_of
from workers.hypervisors.vmware.slots import find_slot, slot_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from configdrive.model import ImageName
    from workers.hypervisors.vmware.records import SeenVm
    from workers.hypervisors.vmware.session import Found
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.slots import Slot

_device: Final = vim.vm.device
_LOCKED: Final = "cdromdisconnect"
"""What the question's message is called when the guest holds the tray of a CD drive."""

HOT_ADD: Final = "ahci_hot_add"
"""What a running VM's new drive needs: AHCI in its guest, and a vSphere that adds such a drive while it runs."""

_NEW_CONTROLLER, _NEW_DRIVE = -101, -102
"""Keys of devices that are only being added; vSphere gives them others."""

_WITH_CONTROLLER: Final = "+controller"


class Drives:
    """The drives of one VM.

    Args:
        server: on which it is.
        seen: as it was read; what is left by a change is noted on the server.
        force: whether a medium is exchanged although the guest holds the tray.
    """

    def __init__(self, server: Server, seen: SeenVm, *, force: bool) -> None:
        self._server = server
        self._vm = seen
        self._force = force
        self._refused = False

    def insert(self, path: str, store: Any, wanted: Sequence[str]) -> Attachment:  # noqa: ANN401
        """Make the file the medium of the config drive, and take images of a fleet out of any other drive.

        Args:
            path: of the image, as a datastore path.
            store: the datastore's object.
            wanted: the inventory's `cd_slots`.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
            TransientError: `DRIVE_LOCKED`, `TASK_TIMEOUT`, `VM_BUSY`.
            vmodl.MethodFault: why vSphere refused it.
        """
        seen = self._vm
        slot = find_slot(seen, wanted)
        others = [drive for _, drive in seen.fleet_drives if drive != slot.drive]
        right = slot.drive is not None and _holds(slot.drive, path, key_of(store), seen)
        if right and not others:
            return Attachment(AttachedHow.ALREADY, slot.device, path, facts={"bus": slot.kind})
        changes = [_emptied(drive) for drive in others]
        if not right:
            changes += _filled(seen, slot, path, store)
        self._change(changes, [*_without(seen, [*others, slot.drive]), _filled_drive(slot, path, key_of(store))])
        if slot.drive is not None:
            return Attachment(AttachedHow.INSERTED, slot.device, path, facts={"bus": slot.kind})
        how = AttachedHow.HOT_ADDED if seen.running else AttachedHow.INSERTED
        facts = {"bus": slot.kind, "needs": HOT_ADD} if seen.running else {"bus": slot.kind}
        return Attachment(how, slot.device, path, added=_mark(seen, slot), facts=facts)

    def take_out(self, media: Collection[ImageName] | None, added: str | None = None) -> None:
        """Leave none of these images in any drive; `None`: none of any fleet.

        A drive that was there before is emptied and stays. One that was added for an image goes with it, and so does
        its controller when it is the last on it; while the VM runs it stays, empty.

        Args:
            media: the images.
            added: the mark that `insert` answered when it added the drive.

        Raises:
            TransientError: `DRIVE_LOCKED`, `TASK_TIMEOUT`, `VM_BUSY`.
            vmodl.MethodFault: why vSphere refused it.
        """
        seen = self._vm
        files = None if media is None else {str(name).lower() for name in media}
        drives = [drive for name, drive in seen.fleet_drives if files is None or str(name).lower() in files]
        ours = [] if seen.running else [one for one in seen.drives if added in _marks(seen, one)]
        removed = [drive for drive in ours if drive in drives or drive.empty]
        emptied = [drive for drive in drives if drive not in removed]
        changes = [_emptied(drive) for drive in emptied] + [_removed(drive.device) for drive in removed]
        if added is not None and added.endswith(_WITH_CONTROLLER):
            changes += [_removed(_controller(seen, drive)) for drive in removed if _is_alone(drive, seen)]
        if changes:
            self._change(changes, _without(seen, [*emptied, *removed]))

    def _change(self, changes: list[Any], left: list[Drive]) -> None:
        """Make the changes, and note which drives with media there are then."""
        seen = self._vm
        if seen.power is PowerState.SUSPENDED:
            detail = f"VM {seen.name} is suspended: vSphere changes no drive of it"
            raise TransientError(TransientCode.VM_BUSY, detail, "resume it, or power it off")
        self._answer(seen.question)  # left by somebody who died while he waited
        self._server.lately.forget(seen.uuid)
        spec = vim.vm.ConfigSpec(changeVersion=seen.version, deviceChange=changes)
        task = seen.ref.ReconfigVM_Task(spec=spec)
        try:
            self._server.session.wait(task, seen.ref, self._notice)
        except vim.fault.VimFault as fault:
            if not self._refused:
                raise
            detail = f"the guest of VM {seen.uuid} holds the tray of its config drive"
            remedy = "unmount it in the guest, or turn the setting force_eject on"
            raise TransientError(TransientCode.DRIVE_LOCKED, detail, remedy) from fault
        self._server.lately.keep(seen.uuid, replace(seen, version=None, drives=tuple(left)))

    def _notice(self, found: Found) -> None:
        self._answer(found.get("runtime.question"))

    def _answer(self, question: Any) -> None:  # noqa: ANN401
        """Say yes or no to the override of a tray that the guest holds; other questions are for a person."""
        if question is None or not _is_about_a_tray(question):
            return
        choices = {_word(choice): str(choice.key) for choice in question.choice.choiceInfo}
        word, usual = ("yes", "0") if self._force else ("no", "1")
        self._refused = not self._force
        self._vm.ref.AnswerVM(questionId=question.id, answerChoice=choices.get(word, usual))


def _is_about_a_tray(question: Any) -> bool:  # noqa: ANN401
    names = [str(question.text or ""), *(str(one.id) for one in question.message or ())]
    return any(_LOCKED in name for name in names)


def _word(choice: Any) -> str:  # noqa: ANN401
    """Reduce `button.yes` and `Yes` to the same."""
    return str(choice.label or choice.summary or "").rpartition(".")[2].lower()


def _mark(seen: SeenVm, slot: Slot) -> str:
    """Name a drive that is added to a VM: nobody's else is there, as long as that VM object has it in that place."""
    return f"{key_of(seen.ref)}/{slot.device}{_WITH_CONTROLLER if slot.controller is None else ''}"


def _marks(seen: SeenVm, drive: Drive) -> set[str]:
    slot = slot_of(seen, drive)
    return {_mark(seen, slot), _mark(seen, replace(slot, controller=None))}


def _holds(drive: Drive, path: str, store: str, seen: SeenVm) -> bool:
    there = is_in(drive.path, drive.store, path, store)
    return there and drive.starts and (drive.connected or not seen.running)


def _without(seen: SeenVm, drives: Collection[Drive | None]) -> list[Drive]:
    return [drive for drive in seen.drives if drive not in drives]


def _filled_drive(slot: Slot, path: str, store: str) -> Drive:
    controller = _NEW_CONTROLLER if slot.controller is None else slot.controller
    return Drive(None, controller, slot.unit, path, store, empty=False, connected=True, starts=True)


def _controller(seen: SeenVm, drive: Drive) -> Any:  # noqa: ANN401
    return _device.VirtualAHCIController(key=drive.controller, busNumber=seen.controllers[drive.controller][1])


def _is_alone(drive: Drive, seen: SeenVm) -> bool:
    return [unit for controller, unit in seen.taken if controller == drive.controller] == [drive.unit]


def _filled(seen: SeenVm, slot: Slot, path: str, store: Any) -> list[Any]:  # noqa: ANN401
    """Write the changes that put the file into the slot, on a new controller when there is none."""
    backing = _device.VirtualCdrom.IsoBackingInfo(fileName=path, datastore=store)
    if slot.drive is not None:
        device = slot.drive.device
        device.backing = backing
        return [_device.VirtualDeviceSpec(operation="edit", device=_switched(device, on=True))]
    changes, controller = [], slot.controller
    if controller is None:
        controller = _NEW_CONTROLLER
        ahci = _device.VirtualAHCIController(key=controller, busNumber=slot.bus, controllerKey=seen.pci)
        changes.append(_device.VirtualDeviceSpec(operation="add", device=ahci))
    device = _device.VirtualCdrom(key=_NEW_DRIVE, controllerKey=controller, unitNumber=slot.unit, backing=backing)
    return [*changes, _device.VirtualDeviceSpec(operation="add", device=_switched(device, on=True))]


def _emptied(drive: Drive) -> Any:  # noqa: ANN401
    """Write the change that takes the medium out: a client's drive that is not connected is vSphere's empty one."""
    device = drive.device
    device.backing = _device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
    return _device.VirtualDeviceSpec(operation="edit", device=_switched(device, on=False))


def _switched(device: Any, *, on: bool) -> Any:  # noqa: ANN401
    """Connect the medium now and at each power-on, or not; whatever else its owner has set stays."""
    if device.connectable is None:
        device.connectable = _device.VirtualDevice.ConnectInfo(allowGuestControl=True)
    device.connectable.startConnected = device.connectable.connected = on
    return device


def _removed(device: Any) -> Any:  # noqa: ANN401
    return _device.VirtualDeviceSpec(operation="remove", device=device)
