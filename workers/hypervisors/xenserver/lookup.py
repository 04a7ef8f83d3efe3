"""Looking for what a verb is about: the VM with its drives and its root disk's storage, a place, its images."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from configdrive.errors import FleetError, TransientError
from configdrive.model import HostName, StoredImage
from workers.hypervisors.xenserver.drives import inserted_for, read_drives, root_of
from workers.hypervisors.xenserver.images import Images
from workers.hypervisors.xenserver.inventory import StorageRoute
from workers.hypervisors.xenserver.names import description_of, image_at

if TYPE_CHECKING:
    from configdrive.model import Place, Vm
    from workers.hypervisors.xenserver.drives import Drive
    from workers.hypervisors.xenserver.records import HostRecord, SrRecord, VmRecord
    from workers.hypervisors.xenserver.visit import Visit


def look(visit: Visit, vm: Vm, host: HostRecord) -> tuple[VmRecord | None, tuple[Drive, ...], SrRecord | None]:
    """Read a VM, its drives and the storage of its root disk; nothing when it is not on this host."""
    record = visit.find_vm(vm)
    if record is None or (record.is_live and record.resident_on != host.ref):
        return None, (), None
    vbds = visit.xapi.vbds(record.ref)
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    storage = None if sr is None else visit.topology.storages.get(sr) or visit.refreshed().storages.get(sr)
    if not record.is_live and storage is not None and visit.topology.pbd(storage.ref, host.ref) is None:
        return None, (), None
    return record, read_drives(visit, vbds), storage


def is_another_s(visit: Visit, record: VmRecord, drives: tuple[Drive, ...]) -> bool:
    """Say whether a halted VM's medium was inserted for another host of this pool."""
    marked = None if record.is_live else inserted_for(drives)
    return marked is not None and marked != visit.name and HostName(marked) in visit.pool.hosts


def locate(visit: Visit, place: Place) -> tuple[SrRecord, HostRecord]:
    """Find a place's storage in a pool, with a host that has it attached.

    Raises:
        FleetError: `STORAGE_NOT_FOUND`, `STORAGE_UNAVAILABLE`, `UNKNOWN_HOST`.
    """
    if place.host is not None:
        host = visit.host_called(place.host)
        storage = visit.storage(place.storage, host)
        visit.require_attached(storage, host)
        return storage, host
    first: FleetError | None = None
    for name in dict.fromkeys((visit.name, *visit.pool.hosts)):
        try:
            host = visit.host_called(name)
            storage = visit.storage(place.storage, host)
            visit.require_attached(storage, host)
        except FleetError as error:
            first = first if isinstance(first, TransientError) else error
        else:
            return storage, host
    assert first is not None  # noqa: S101  # there is a host
    raise first


def images_in(visit: Visit, storage: SrRecord, host: HostRecord, repository: SrRecord) -> Images:
    """Return the images in a storage's ISO SR, which the host has attached."""
    site = visit.topology.site(storage, host.ref, visit.pool.table)
    return Images(visit, repository, site.directory, visit.pool.dom0(visit.name_of_host(host) or visit.name))


def images_of(visit: Visit, vm: Vm, places: list[Place]) -> list[StoredImage]:
    """List a VM's images on these places, with one call; what its killed SFTP uploads have left there goes."""
    if not places:
        return []
    if visit.pool.table.storage_route is StorageRoute.SFTP:
        _clear(visit, vm, places)
    found = []
    for vdi in visit.xapi.vdis_described(description_of(vm.uuid)):
        name, place = image_at(vdi.location), visit.place_of_repository(vdi.sr)
        if name is not None and name.vm_uuid == vm.uuid and place in places:
            found.append(StoredImage(name, place))
    return list(dict.fromkeys(found))


def _clear(visit: Visit, vm: Vm, places: list[Place]) -> None:
    """Another time when it fails: what is half-written is no image."""
    for place in places:
        with suppress(FleetError):
            storage, host = locate(visit, place)
            dom0 = visit.pool.dom0(visit.name_of_host(host) or visit.name)
            if dom0 is not None and visit.topology.repository(storage, host) is not None:
                dom0.clear(visit.topology.site(storage, host.ref, visit.pool.table).directory, vm.uuid)
