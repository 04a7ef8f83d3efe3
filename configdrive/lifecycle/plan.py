"""The plan from what is to what shall be: the steps that a hypervisor driver has to take. Pure, and a table to read.

In this order: make the image exist on the VM's primary storage (upload, or copy from where it lies), then bring it into
the drive (or empty the drive) and out of what other hosts keep of the VM, then delete what is no longer wanted. So a
VM that runs is never without its drive, but for one that came with a migration before its image was whole. An
interrupted plan is finished by planning again from what is then observed. Images are known by their exact names: the
same name means the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.contract.events import LifecycleEvent, MigrateEvent, MigratePhase
from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.lifecycle.state import VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal
from configdrive.model import AttachBy, HostName, ImageName, Place, PowerState, StoredImage, Vm
from configdrive.ports import Inserted, Observation


@dataclass(frozen=True, slots=True)
class Upload:
    """Put the image, which was built, on the storage."""

    name: ImageName
    place: Place


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy the image, which lies on `source` already, to `target`."""

    name: ImageName
    source: Place
    target: Place


@dataclass(frozen=True, slots=True)
class Attach:
    """Make the image the medium of the drive."""

    name: ImageName
    place: Place


@dataclass(frozen=True, slots=True)
class Detach:
    """Take these images out of the VM's drives."""

    media: tuple[ImageName, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Take the drive out of what another host still has of the VM: a migration may keep a definition."""

    host: HostName


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one image file."""

    image: StoredImage


Step = Upload | Copy | Attach | Detach | Leave | Delete


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What state, intents and leftovers say of where something of a VM may be (`configdrive.lifecycle.whereabouts`).

    Args:
        places: storages to which the fleet has brought images, or was about to.
        names: the exact names of the images to look for; `None`: list the folders.
        unseen: images that were about to be brought, and may be there in a form that no look shows.
        hosts: other hosts that may have a drive of the VM.
        stale: images that an event before has left in the VM's drive here.
    """

    places: tuple[Place, ...] = ()
    names: tuple[ImageName, ...] | None = None
    unseen: tuple[StoredImage, ...] = ()
    hosts: tuple[HostName, ...] = ()
    stale: tuple[ImageName, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """A VM as its hypervisor shows it.

    Args:
        known: what is remembered, with what was found of a VM of which nothing was.
        vm: as it was looked at.
        seen: what was seen.
        where: where else something of the VM may be.
        suspect: whether what is in the drive came there before it was whole: the guest may have read anything of it.
    """

    known: VmState
    vm: Vm
    seen: Observation
    where: Whereabouts = Whereabouts()
    suspect: bool = False


def plan(observed: Observed, goal: Goal) -> tuple[Step, ...]:
    """Return the steps from what is seen to the goal; none when it is reached (what is on another host is not seen).

    Raises:
        PermanentError: `VM_NOT_FOUND` or `STORAGE_NOT_FOUND` when there is nowhere to put the image.
        TransientError: `STORAGE_UNAVAILABLE` when its storage is away.
    """
    seen = observed.seen
    left = tuple(Leave(host) for host in observed.where.hosts) if goal.others_go else ()
    if goal.image is None:
        media = media_of(seen) if goal.drive is DriveGoal.EMPTY else ()
        empty = (Detach(media),) if media else ()
        return (*empty, *left, *_deletions(observed, goal, keep=None))
    wanted = StoredImage(goal.image.name, _target(observed.vm, seen))
    brought = _placement(seen, goal, wanted)
    insert = goal.drive is DriveGoal.ATTACHED and (brought or not _in_drive(seen, wanted))
    attached = (Attach(wanted.name, wanted.place),) if insert else ()
    if observed.suspect:
        brought = (Detach((wanted.name,)), *brought)
    stale = _stale(observed) if goal.drive is DriveGoal.AS_IT_IS and goal.others_go else ()
    emptied = (Detach(stale),) if stale else ()
    return (*brought, *attached, *emptied, *left, *_deletions(observed, goal, keep=wanted))


def media_of(seen: Observation) -> tuple[ImageName, ...]:
    """Return every image of a fleet in the VM's drives, whosever it is."""
    drive = (seen.drive.name,) if isinstance(seen.drive, Inserted) else ()
    return tuple(dict.fromkeys((*seen.media, *drive)))


def is_lost(seen: Observation, goal: Goal) -> bool:
    """Whether the goal's image, which is not built anew, is nowhere to be found."""
    return goal.image is not None and not goal.fresh and all(one.name != goal.image.name for one in seen.images)


def may_be_one_folder(observed: Observed, goal: Goal) -> bool:
    """Whether the goal's image is where nobody has brought it, on a storage without identity.

    Then it may lie in the folder of another place, by another name: what is deleted there would be gone here.
    """
    here, places = observed.seen.storage, observed.where.places
    if goal.image is None or goal.fresh or here is None or here.identity is not None:
        return False
    return StoredImage(goal.image.name, here) in observed.seen.images and bool(places) and here not in places


def may_be_half_done(known: VmState, event: LifecycleEvent, goal: Goal, *, again: bool) -> bool:
    """Whether the goal's image, where it is found in its place, may be what an interrupted attempt has left.

    An image that only this event can have made is never trusted: an operator's retry sets the attempts back to one. The
    copy for a migration was verified when `prepare` was applied; what the guest has read of it is right only if it was
    whole before the VM came. What a rollback goes back to is the original.
    """
    if not isinstance(event, MigrateEvent):
        return goal.fresh
    prepared = known.destination == event.data.destination and known.copied and not again
    return event.data.phase is MigratePhase.PREPARE or (event.data.phase is MigratePhase.COMPLETE and not prepared)


def distrust(observed: Observed, goal: Goal) -> Observed:
    """Forget the goal's image on its storage, so that it is brought there again: it may be half-written.

    Not one in the drive, which was verified before it came there, unless the drive came there with the VM; not the last
    of an image that is not built anew, and not one whose other copies may be the very same file.
    """
    seen = observed.seen
    if goal.image is None or seen.storage is None or may_be_one_folder(observed, goal):
        return observed
    suspect = StoredImage(goal.image.name, seen.storage)
    others = tuple(stored for stored in seen.images if stored != suspect)
    last = not goal.fresh and not any(stored.name == suspect.name for stored in others)
    with_the_vm = not goal.fresh and suspect.place.host is not None and observed.vm.attach_by is AttachBy.FLEET
    in_drive = _in_drive(seen, suspect)
    if last or (in_drive and not with_the_vm):
        return observed
    return replace(observed, seen=replace(seen, images=others), suspect=in_drive)


def _target(vm: Vm, seen: Observation) -> Place:
    if seen.storage is not None and seen.storage in seen.unreachable:
        detail = f"storage {seen.storage.storage!r} of VM {vm.instance_name} on host {vm.host} cannot be reached"
        raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "bring it back, or wait until it is")
    if seen.storage is not None:
        return seen.storage
    if seen.power is PowerState.UNDEFINED:
        detail = f"host {vm.host} does not know VM {vm.instance_name} ({vm.uuid})"
        remedy = "define the VM first, or name 'primary_storage' and give attach: orchestrator"
        if seen.elsewhere is not None:
            detail, remedy = f"{detail}: {seen.elsewhere[0]}", seen.elsewhere[1]
        raise PermanentError(PermanentCode.VM_NOT_FOUND, detail, remedy)
    detail = f"no primary storage was found for VM {vm.instance_name} on host {vm.host}"
    raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "name it in the event: 'primary_storage'")


def _placement(seen: Observation, goal: Goal, wanted: StoredImage) -> tuple[Step, ...]:
    if wanted in seen.images:
        return ()
    holders = [stored.place for stored in seen.images if stored.name == wanted.name]
    if holders and not goal.fresh:
        return (Copy(wanted.name, holders[0], wanted.place),)
    return (Upload(wanted.name, wanted.place),)


def _deletions(observed: Observed, goal: Goal, *, keep: StoredImage | None) -> tuple[Step, ...]:
    """Delete all others. What stays in the drive stays on its storage too, until an orchestrator has exchanged it."""
    if not goal.others_go:
        return ()
    seen = observed.seen
    stays = goal.drive is DriveGoal.AS_IT_IS or (keep is not None and observed.vm.attach_by is AttachBy.ORCHESTRATOR)
    same = may_be_one_folder(observed, goal)
    unseen = (stored for stored in observed.where.unseen if stored.place not in seen.unreachable)
    return tuple(
        Delete(stored)
        for stored in dict.fromkeys((*seen.images, *unseen))
        if stored != keep
        and not (stays and _in_drive(seen, stored) and stored.name not in observed.where.stale)
        and not (same and keep is not None and stored.name == keep.name)
    )


def _stale(observed: Observed) -> tuple[ImageName, ...]:
    """Return what should not be in the drive any more, though the event leaves the drive as it is."""
    return tuple(name for name in media_of(observed.seen) if name in observed.where.stale)


def _in_drive(seen: Observation, image: StoredImage) -> bool:
    """Whether this image is the medium; one whose place is not known may be any of that name."""
    if isinstance(seen.drive, Inserted) and seen.drive.name == image.name:
        return seen.drive.place is None or seen.drive.place == image.place
    return False
