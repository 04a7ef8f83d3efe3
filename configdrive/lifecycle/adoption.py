"""The adoption of drives that are there although nothing is remembered of them: Redis was lost.

What lies on a found image is not known, so it can be moved and taken away but not rebuilt (`VmRecord.adopted`). The
next start with the VM's data makes a new one. Its generation is the least that the next event's sequence must exceed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from configdrive.contract.events import LifecycleEvent
from configdrive.lifecycle.leftovers import in_order
from configdrive.lifecycle.orphans import Scene, of_vm
from configdrive.lifecycle.plan import media_of
from configdrive.lifecycle.state import ImageRecord, Phase, VmRecord, VmState
from configdrive.model import HostName, HypervisorName, ImageName, InstanceName, StoredImage, Vm, VmUuid
from configdrive.ports import Inserted, Observation


def adopted(known: VmState, event: LifecycleEvent, seen: Observation) -> VmState:
    """Take over what an event finds of a VM of which nothing is remembered: what is in its drive, else the newest.

    But not the work of this very event, in an attempt that was cut off.
    """
    uuid, own = event.data.vm.uuid, event.data.sequence
    media = [name for name in media_of(seen) if name.vm_uuid == uuid]
    names = [name for name in media or (one.name for one in seen.images) if name.generation != own]
    if not names:
        return known
    newest = max(names, key=lambda name: name.generation)
    return replace(
        known,
        image=ImageRecord(newest.file, newest.generation, event.time.timestamp()),
        phase=Phase.ATTACHED if media else Phase.STAGED,
        places=in_order(stored.place for stored in seen.images),
        others=tuple(sorted({stored.name.file for stored in seen.images} - {newest.file})),
        adopted=True,
    )


def adoptable(seen: Scene, fleet: str | None = None) -> list[VmUuid]:
    """Return the VMs that have a drive, or an image on a storage, in a steady order.

    With `fleet`, only those with one that this fleet has made, or one of the first form, which names none.
    """
    wanted = None if fleet is None else {fleet, None}
    return sorted({name.vm_uuid for name in _names(seen) if wanted is None or name.fleet in wanted})


def other_fleets(seen: Scene, fleet: str | None) -> frozenset[str]:
    """Return the other fleets that have made an image of a VM, on a storage or in its drive."""
    return frozenset(name.fleet for name in _names(seen) if name.fleet not in {None, fleet})


def _names(seen: Scene) -> Iterator[ImageName]:
    """Yield the images on all storages, and those that VMs have in their own drives."""
    yield from (image.name for image in seen.images)
    for uuid, (_, one) in seen.vms.items():
        yield from (medium.name for medium in _own_media(uuid, one.media))


def record_of(uuid: VmUuid, hypervisor: HypervisorName, seen: Scene, at: float) -> VmRecord:
    """Return what is to be remembered of a VM that was found.

    Args:
        uuid: one of `adoptable`.
        hypervisor: of the hosts that were looked at.
        seen: what they show.
        at: the time now, in seconds since 1970 UTC.
    """
    stored = of_vm(uuid, seen.images)
    one = seen.vms.get(uuid)
    media = () if one is None else _own_media(uuid, one[1].media)
    names = {medium.name for medium in media} or {image.name for image in stored}
    newest = max(names, key=lambda name: name.generation)
    return VmRecord(
        vm=Vm(
            uuid=uuid,
            instance_name=InstanceName((one[1].name if one else "") or newest.instance_name),
            hypervisor=hypervisor,
            host=_host_of(newest.vm_uuid, seen, stored),
        ),
        sequence=newest.generation,  # an image beyond the one in the drive is of an event that was not finished
        phase=Phase.ATTACHED if media else Phase.STAGED,
        image=ImageRecord(newest.file, newest.generation, at),
        others=tuple(sorted({image.name.file for image in stored} - {newest.file})),
        places=in_order(image.place for image in stored),
        adopted=True,
    )


def _host_of(uuid: VmUuid, seen: Scene, stored: list[StoredImage]) -> HostName:
    """Where the VM is; of one that no host knows, a host from which its newest image can be read."""
    if uuid in seen.vms:
        return seen.vms[uuid][0]
    newest = max(stored, key=lambda image: image.name.generation)
    return seen.images[newest]


def _own_media(uuid: VmUuid, media: tuple[Inserted, ...]) -> tuple[Inserted, ...]:
    return tuple(medium for medium in media if medium.name.vm_uuid == uuid)
