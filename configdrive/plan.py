"""From what is to what shall be: the steps that a hypervisor driver has to take. Pure, and a table to read.

In this order: make the image exist on the VM's primary storage (upload, or copy from where it lies), then bring it into
the drive (or empty the drive), then delete what is no longer wanted. So a VM that runs is never without its drive, and
an interrupted plan is finished by planning again from what is then observed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle import DriveGoal, Goal
from configdrive.model import Generation, Place, PowerState, StoredImage, Vm
from configdrive.ports import Inserted, Observation
from configdrive.state import ImageRecord


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
class Delete:
    """Delete one image file."""

    image: StoredImage


Step = Upload | Copy | Attach | Detach | Delete


def plan(vm: Vm, seen: Observation, goal: Goal) -> tuple[Step, ...]:
    """Return the steps from what is seen to the goal; none when it is reached.

    Raises:
        PermanentError: `NOT_ITS_DRIVE` when the drive holds another VM's image, `VM_NOT_FOUND` or
            `STORAGE_NOT_FOUND` when there is nowhere to put the image.
    """
    if goal.image is None:
        empty = (Detach(),) if goal.drive is DriveGoal.EMPTY and isinstance(seen.drive, Inserted) else ()
        return (*empty, *_deletions(seen, goal, keep=None))
    _refuse_foreign(vm, seen)
    place = _target(vm, seen)
    return (
        *_placement(seen, goal, goal.image, place),
        *_insertion(seen, goal, goal.image, place),
        *_deletions(seen, goal, keep=place),
    )


def distrust(seen: Observation, generation: Generation) -> Observation:
    """Forget an image that an interrupted attempt may have left half-written; one in the drive was verified before."""
    if isinstance(seen.drive, Inserted) and seen.drive.name.generation == generation:
        return seen
    images = tuple(stored for stored in seen.images if stored.name.generation != generation)
    return replace(seen, images=images)


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


def _placement(seen: Observation, goal: Goal, record: ImageRecord, place: Place) -> tuple[Step, ...]:
    holders = [stored.place for stored in seen.images if stored.name.generation == record.generation]
    if place in holders:
        return ()
    if holders and not goal.fresh:
        return (Copy(record, holders[0], place),)
    return (Upload(record, place),)


def _insertion(seen: Observation, goal: Goal, record: ImageRecord, place: Place) -> tuple[Step, ...]:
    if goal.drive is not DriveGoal.ATTACHED or _inserted(seen, record.generation, place):
        return ()
    return (Attach(record, place),)


def _inserted(seen: Observation, generation: Generation, place: Place) -> bool:
    drive = seen.drive
    return isinstance(drive, Inserted) and drive.name.generation == generation and drive.place in {None, place}


def _deletions(seen: Observation, goal: Goal, *, keep: Place | None) -> tuple[Step, ...]:
    if not goal.others_go:
        return ()
    return tuple(Delete(stored) for stored in seen.images if not _kept(stored, seen, goal, keep))


def _kept(stored: StoredImage, seen: Observation, goal: Goal, place: Place | None) -> bool:
    wanted = goal.image is not None and stored.name.generation == goal.image.generation and stored.place == place
    in_drive = (
        goal.drive is DriveGoal.AS_IT_IS and isinstance(seen.drive, Inserted) and seen.drive.name == stored.name
    )
    return wanted or in_drive
