"""The plan from what is to what shall be: the steps that a hypervisor driver has to take. Pure, and a table to read.

In this order: make the image exist on the VM's primary storage (upload, or copy from where it lies), then bring it into
the drive (or empty the drive) and out of what another host keeps of the VM, then delete what is no longer wanted. So a
VM that runs is never without its drive, and an interrupted plan is finished by planning again from what is then
observed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.contract.events import LifecycleEvent, MigrateEvent, MigratePhase
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle.state import ImageRecord, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal
from configdrive.model import AttachBy, HostName, ImageName, Place, PowerState, StoredImage, Vm
from configdrive.ports import Inserted, Observation


@dataclass(frozen=True, slots=True)
class Upload:
    """Build the image and put it on the storage."""

    record: ImageRecord
    place: Place


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy the image, which lies on `source` already, to `target`."""

    record: ImageRecord
    source: Place
    target: Place


@dataclass(frozen=True, slots=True)
class Attach:
    """Make the image the medium of the drive."""

    record: ImageRecord
    place: Place


@dataclass(frozen=True, slots=True)
class Detach:
    """Empty the drive."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Take the drive out of what the host that the VM has left still has of it: a migration may keep a definition."""

    host: HostName


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one image file."""

    image: StoredImage


Step = Upload | Copy | Attach | Detach | Leave | Delete


def plan(vm: Vm, seen: Observation, goal: Goal) -> tuple[Step, ...]:
    """Return the steps from what is seen to the goal; none when it is reached (what is on another host is not seen).

    Raises:
        PermanentError: `NOT_ITS_DRIVE` when the drive holds another VM's image, `VM_NOT_FOUND` or
            `STORAGE_NOT_FOUND` when there is nowhere to put the image.
    """
    if goal.image is None:
        empty = (Detach(),) if goal.drive is DriveGoal.EMPTY and isinstance(seen.drive, Inserted) else ()
        return (*empty, *_deletions(vm, seen, goal, keep=None))
    _refuse_foreign(vm, seen)
    wanted = StoredImage(image_name(vm, goal.image), _target(vm, seen))
    brought = _placement(seen, goal, goal.image, wanted)
    insert = goal.drive is DriveGoal.ATTACHED and (brought or not _in_drive(seen, wanted))
    attached = (Attach(goal.image, wanted.place),) if insert else ()
    left = () if goal.left is None else (Leave(goal.left),)
    return (*brought, *attached, *left, *_deletions(vm, seen, goal, keep=wanted))


def steps_for(vm: Vm, seen: Observation, goal: Goal, *, half_done: bool, adopted: bool) -> tuple[Step, ...]:
    """Plan for an event, whose image may be half done, or adopted (of a content that is not known).

    Raises:
        PermanentError: as `plan`, and `IMAGE_LOST` when an image would have to be built whose content is not known.
    """
    steps = plan(vm, distrust(vm, seen, goal) if half_done else seen, goal)
    if adopted and any(isinstance(step, Upload) for step in steps):
        detail = f"the drive of VM {vm.instance_name} is not the fleet's own work: its content is not known"
        raise PermanentError(PermanentCode.IMAGE_LOST, detail, "send a start event that carries the VM's data")
    return steps


def may_be_half_done(known: VmState, event: LifecycleEvent, goal: Goal, *, again: bool) -> bool:
    """Whether the goal's image, where it is found in its place, may be what an interrupted attempt has left.

    An image that only this event can have made is never trusted: an operator's retry sets the attempts back to one. The
    copy for a migration was verified when `prepare` was applied, and what a rollback goes back to is the original.
    """
    if not isinstance(event, MigrateEvent):
        return goal.fresh
    prepared = known.destination == event.data.destination and not again
    return event.data.phase is MigratePhase.PREPARE or (event.data.phase is MigratePhase.COMPLETE and not prepared)


def image_name(vm: Vm, record: ImageRecord) -> ImageName:
    """Return the file name of a VM's image."""
    return ImageName.of(vm.instance_name, vm.uuid, record.generation)


def distrust(vm: Vm, seen: Observation, goal: Goal) -> Observation:
    """Forget the goal's image on its storage, so that it is brought there again: it may be half-written.

    Not one in the drive, which was verified before it came there, and not the last of an image that is not built anew.
    """
    if goal.image is None or seen.storage is None:
        return seen
    suspect = StoredImage(image_name(vm, goal.image), seen.storage)
    others = tuple(stored for stored in seen.images if stored != suspect)
    last = not goal.fresh and not any(stored.name == suspect.name for stored in others)
    return seen if last or _in_drive(seen, suspect) else replace(seen, images=others)


def _refuse_foreign(vm: Vm, seen: Observation) -> None:
    if isinstance(seen.drive, Inserted) and seen.drive.name.vm_uuid != vm.uuid:
        detail = f"the config drive of VM {vm.uuid} holds the image of VM {seen.drive.name.vm_uuid}"
        remedy = "eject it on the hypervisor after finding out who inserted it, then `configdrive retry`"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, remedy)


def _target(vm: Vm, seen: Observation) -> Place:
    if seen.storage is not None:
        return seen.storage
    if seen.power is PowerState.UNDEFINED:
        detail = f"host {vm.host} does not know VM {vm.instance_name} ({vm.uuid})"
        remedy = "define the VM first, or name 'primary_storage' and give attach: orchestrator"
        raise PermanentError(PermanentCode.VM_NOT_FOUND, detail, remedy)
    detail = f"no primary storage was found for VM {vm.instance_name} on host {vm.host}"
    raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "name it in the event: 'primary_storage'")


def _placement(seen: Observation, goal: Goal, record: ImageRecord, wanted: StoredImage) -> tuple[Step, ...]:
    if wanted in seen.images:
        return ()
    holders = [stored.place for stored in seen.images if stored.name == wanted.name]
    if holders and not goal.fresh:
        return (Copy(record, holders[0], wanted.place),)
    return (Upload(record, wanted.place),)


def _deletions(vm: Vm, seen: Observation, goal: Goal, *, keep: StoredImage | None) -> tuple[Step, ...]:
    """Delete all others. What stays in the drive stays on its storage too, until an orchestrator has exchanged it."""
    if not goal.others_go:
        return ()
    stays = goal.drive is DriveGoal.AS_IT_IS or (keep is not None and vm.attach_by is AttachBy.ORCHESTRATOR)
    return tuple(Delete(stored) for stored in seen.images if stored != keep and not (stays and _in_drive(seen, stored)))


def _in_drive(seen: Observation, image: StoredImage) -> bool:
    """Whether this image is the medium; one whose place is not known may be any of that name."""
    return (
        isinstance(seen.drive, Inserted)
        and seen.drive.name == image.name
        and (seen.drive.place is None or seen.drive.place == image.place)
    )
