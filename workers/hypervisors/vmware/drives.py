"""Changing what is in a VM's drives, in one reconfiguration each.

* A medium is exchanged while the VM runs, on IDE as well as on SATA. A drive is added to a running VM on SATA only.
* What is changed stays for the next power-on: vSphere has one definition of a VM, not two.
* A guest that has mounted the medium holds the tray: vSphere then asks whether to override it, and the task waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import AttachedHow, Attachment
from workers.hypervisors.vmware.paths import same
from workers.hypervisors.vmware.slots import find_slot, own_drives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.hypervisors.vmware.session import Found, Session
    from workers.hypervisors.vmware.slots import Slot
    from workers.hypervisors.vmware.vms import Drive, VmRecord

_device: Final = vim.vm.device
_LOCKED: Final = "cdromdisconnect"
"""What the question's message is called when the guest holds the tray of a CD drive."""

_NEW_CONTROLLER, _NEW_DRIVE = -101, -102
"""Keys of devices that are only being added; vSphere gives them others."""


class Drives:
    """The drives of one VM.

    Args:
        session: with its server.
        record: as it was read just now.
        force: whether a medium is exchanged although the guest holds the tray.
    """

    def __init__(self, session: Session, record: VmRecord, *, force: bool) -> None:
        self._session = session
        self._record = record
        self._force = force
        self._refused = False

    def insert(self, path: str, store: Any, wanted: Sequence[str]) -> Attachment:  # noqa: ANN401
        """Make the file the medium of the config drive, and of no other drive.

        Args:
            path: of the image, as a datastore path.
            store: the datastore's object.
            wanted: the inventory's `cd_slots`.

        Raises:
            PermanentError: `NOT_ITS_DRIVE`, `NO_FREE_SLOT`.
            TransientError: `DRIVE_LOCKED`, `TASK_TIMEOUT`.
            vmodl.MethodFault: why vSphere refused it.
        """
        record = self._record
        slot = find_slot(record, record.uuid, wanted)
        others = [drive for drive in own_drives(record, record.uuid) if drive != slot.drive]
        right = slot.drive is not None and _holds(slot.drive, path, record)
        if right and not others:
            return Attachment(AttachedHow.ALREADY, slot.device, path)
        changes = [_emptied(drive) for drive in others]
        if not right:
            changes += _filled(record, slot, path, store)
        self._change(changes)
        added = slot.drive is None and record.running
        return Attachment(AttachedHow.HOT_ADDED if added else AttachedHow.INSERTED, slot.device, path)

    def remove_all(self) -> None:
        """Leave no image of the fleet in any drive, whosever it is; a halted VM loses the drive as well.

        Raises:
            TransientError: `DRIVE_LOCKED`, `TASK_TIMEOUT`.
            vmodl.MethodFault: why vSphere refused it.
        """
        drives = [drive for _, drive in self._record.fleet_drives]
        if drives:
            self._change([_emptied(one) if self._record.running else _removed(one) for one in drives])

    def _change(self, changes: list[Any]) -> None:
        reference = self._record.ref
        self._answer(self._record.question)  # left by somebody who died while he waited
        task = reference.ReconfigVM_Task(spec=vim.vm.ConfigSpec(deviceChange=changes))
        try:
            self._session.wait(task, reference, self._notice)
        except vim.fault.VimFault as fault:
            if not self._refused:
                raise
            detail = f"the guest of VM {self._record.uuid} holds the tray of its config drive"
            remedy = "unmount it in the guest, or turn the setting force_eject on"
            raise TransientError(TransientCode.DRIVE_LOCKED, detail, remedy) from fault

    def _notice(self, found: Found) -> None:
        self._answer(found.get("runtime.question"))

    def _answer(self, question: Any) -> None:  # noqa: ANN401
        """Say yes or no to the override of a tray that the guest holds; other questions are for a person."""
        if question is None or not _is_about_a_tray(question):
            return
        choices = {_word(choice): str(choice.key) for choice in question.choice.choiceInfo}
        word, usual = ("yes", "0") if self._force else ("no", "1")
        self._refused = not self._force
        self._record.ref.AnswerVM(questionId=question.id, answerChoice=choices.get(word, usual))


def _is_about_a_tray(question: Any) -> bool:  # noqa: ANN401
    names = [str(question.text or ""), *(str(one.id) for one in question.message or ())]
    return any(_LOCKED in name for name in names)


def _word(choice: Any) -> str:  # noqa: ANN401
    """Reduce `button.yes` and `Yes` to the same."""
    return str(choice.label or choice.summary or "").rpartition(".")[2].lower()


def _holds(drive: Drive, path: str, record: VmRecord) -> bool:
    return same(drive.path, path) and drive.starts and (drive.connected or not record.running)


def _filled(record: VmRecord, slot: Slot, path: str, store: Any) -> list[Any]:  # noqa: ANN401
    """Write the changes that put the file into the slot, on a new controller when there is none."""
    backing = _device.VirtualCdrom.IsoBackingInfo(fileName=path, datastore=store)
    state = _device.VirtualDevice.ConnectInfo(startConnected=True, allowGuestControl=True, connected=True)
    if slot.drive is not None:
        device = slot.drive.device
        device.backing, device.connectable = backing, state
        return [_device.VirtualDeviceSpec(operation="edit", device=device)]
    changes, controller = [], slot.controller
    if controller is None:
        controller = _NEW_CONTROLLER
        ahci = _device.VirtualAHCIController(key=controller, busNumber=slot.bus, controllerKey=record.pci)
        changes.append(_device.VirtualDeviceSpec(operation="add", device=ahci))
    device = _device.VirtualCdrom(
        key=_NEW_DRIVE, controllerKey=controller, unitNumber=slot.unit, backing=backing, connectable=state
    )
    return [*changes, _device.VirtualDeviceSpec(operation="add", device=device)]


def _emptied(drive: Drive) -> Any:  # noqa: ANN401
    """Write the change that takes the medium out: a client's drive that is not connected is vSphere's empty one."""
    device = drive.device
    device.backing = _device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
    device.connectable = _device.VirtualDevice.ConnectInfo(
        startConnected=False, allowGuestControl=True, connected=False
    )
    return _device.VirtualDeviceSpec(operation="edit", device=device)


def _removed(drive: Drive) -> Any:  # noqa: ANN401
    return _device.VirtualDeviceSpec(operation="remove", device=drive.device)
