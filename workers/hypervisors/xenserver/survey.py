"""All that one host has of the fleet, whosever it is, in a few calls for the whole pool."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from configdrive.errors import FleetError
from configdrive.model import HostName, PowerState, StoredImage, VmUuid
from configdrive.ports import Inserted, Resident, Survey
from workers.hypervisors.xenserver.drives import root_of
from workers.hypervisors.xenserver.inventory import StorageRoute
from workers.hypervisors.xenserver.names import HOST_MARK, VM_MARK, image_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.model import Place
    from workers.hypervisors.xenserver.records import HostRecord, Ref, SrRecord, VbdRecord, VmRecord
    from workers.hypervisors.xenserver.visit import Visit


def survey(visit: Visit, power: Mapping[str, PowerState]) -> Survey:
    """Look at the ISO SRs that the host of this visit has attached, and at the VMs that are on it.

    A VM bears the uuid by which the orchestrator knows it, when the fleet has marked its drive with one.
    """
    topology, host = visit.refreshed(), visit.host
    images: list[StoredImage] = []
    unreachable: list[Place] = []
    media: dict[Ref, Inserted] = {}
    for repository, storage in topology.repositories(host.ref):
        place = visit.place_of(storage, topology.host_of(repository) or host)
        try:
            with visit.told(f"SR {repository.name_label}"):
                visit.require_attached(repository, host)
                for vdi in visit.xapi.vdis_in(repository.ref):
                    name = image_at(vdi.location)
                    if name is not None:
                        images.append(StoredImage(name, place))
                        media[vdi.ref] = Inserted(name, place)
                _clear(visit, storage, host)
        except FleetError:
            unreachable.append(place)
    residents = tuple(_residents(visit, host, media, power))
    return Survey(tuple(dict.fromkeys(images)), residents, tuple(unreachable))


def _clear(visit: Visit, storage: SrRecord, host: HostRecord) -> None:
    """Take away what killed SFTP uploads have left; another time when that fails."""
    dom0 = visit.pool.dom0(visit.name)
    if visit.pool.table.storage_route is StorageRoute.SFTP and dom0 is not None:
        with suppress(FleetError):
            dom0.clear(visit.topology.site(storage, host.ref, visit.pool.table).directory)


def _residents(
    visit: Visit, host: HostRecord, media: Mapping[Ref, Inserted], power: Mapping[str, PowerState]
) -> Iterator[Resident]:
    vms = visit.xapi.vms()
    uuids = {vm.uuid for vm in vms.values()}
    drives: dict[Ref, dict[Ref, VbdRecord]] = {}
    for vbd in visit.xapi.vbds().values():
        drives.setdefault(vbd.vm, {})[vbd.ref] = vbd
    for vm in vms.values():
        its = drives.get(vm.ref, {})
        if not _is_here(visit, host, vm, its):
            continue
        inside = [_medium(visit, vbd, media) for vbd in its.values()]
        marks = (vbd.other_config.get(VM_MARK) for vbd in its.values())
        marked = next((mark for mark in marks if mark and mark not in uuids), vm.uuid)  # a clone has its original's
        found = tuple(dict.fromkeys(medium for medium in inside if medium is not None))
        yield Resident(VmUuid(marked), vm.name_label, power.get(vm.power_state, PowerState.HALTED), found)


def _medium(visit: Visit, vbd: VbdRecord, media: Mapping[Ref, Inserted]) -> Inserted | None:
    """Say which image of the fleet is in a drive; one from another host's SR is asked for."""
    if vbd.medium is None or (vbd.kind, vbd.mode) == ("Disk", "RW"):
        return None
    known = media.get(vbd.medium)
    if known is not None:
        return known
    vdi = visit.xapi.vdi(vbd.medium)
    name = None if vdi is None else image_at(vdi.location)
    return None if vdi is None or name is None else Inserted(name, visit.place_of_repository(vdi.sr))


def _is_here(visit: Visit, host: HostRecord, vm: VmRecord, vbds: Mapping[Ref, VbdRecord]) -> bool:
    """Say whether a VM is on the host: running there, or halted with its root disk on a storage of the host."""
    if vm.is_live:
        return vm.resident_on == host.ref
    marks = (vbd.other_config.get(HOST_MARK) for vbd in vbds.values() if vbd.medium is not None)
    marked = next((mark for mark in marks if mark), None)
    if marked is not None and marked != visit.name and HostName(marked) in visit.pool.hosts:
        return False
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    if sr is None:
        return vm.affinity == host.ref
    return visit.topology.pbd(sr, host.ref) is not None
