"""A survey of one host: all that it has of the fleet, whosever it is, in a few calls for the whole pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import FleetError, TransientCode, TransientError
from configdrive.model import ImageName, StoredImage, VmUuid
from configdrive.ports import Inserted, Survey, SurveyedVm
from workers.hypervisors.xenserver.faults import translated
from workers.hypervisors.xenserver.image_folder import ImageFolder
from workers.hypervisors.xenserver.inventory import IdentifyBy
from workers.hypervisors.xenserver.names import VM_MARK
from workers.hypervisors.xenserver.slots import may_be_ours
from workers.hypervisors.xenserver.vms import POWER, is_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.model import Place
    from workers.hypervisors.xenserver.records import HostRecord, Ref, VbdRecord
    from workers.hypervisors.xenserver.visit import Visit


def survey(visit: Visit) -> Survey:
    """Look at the ISO SRs that the host of this visit has attached, and at the VMs that are on it.

    Where VMs are found by their labels, one bears the uuid by which the orchestrator knows it, from its drive's mark.
    """
    topology, host = visit.refreshed(), visit.host
    images: list[StoredImage] = []
    unreachable: list[Place] = []
    media: dict[Ref, Inserted] = {}
    for iso_sr, storage in topology.iso_srs(host.ref):
        place = visit.place_of(storage, topology.host_of(iso_sr) or host)
        try:
            with translated(f"SR {iso_sr.name_label}"):
                visit.require_attached(iso_sr, host)
                _scan(visit, ImageFolder(visit, storage, host), iso_sr.ref)
                for vdi in visit.xapi.vdis_in(iso_sr.ref):
                    name = ImageName.parse(vdi.location)
                    if name is not None:
                        images.append(StoredImage(name, place))
                        media[vdi.ref] = Inserted(name, place)
                ImageFolder(visit, storage, host).clear()
        except FleetError:
            unreachable.append(place)
    found = tuple(_vms(visit, host, media))
    return Survey(tuple(dict.fromkeys(images)), found, tuple(unreachable), host.uuid)


def _scan(visit: Visit, folder: ImageFolder, iso_sr: Ref) -> None:
    """Have XAPI look for files that it has lost with its last writes, unless it did lately.

    Starts that are before it for too long are not held up, nor is the survey: the next one scans.
    """
    if not visit.scan_due(iso_sr):
        return
    try:
        folder.scan()
    except TransientError as error:
        visit.scan_missed(iso_sr)
        if error.code is not TransientCode.DEFERRED:
            raise


def _vms(visit: Visit, host: HostRecord, media: Mapping[Ref, Inserted]) -> Iterator[SurveyedVm]:
    vbds: dict[Ref, list[VbdRecord]] = {}
    for vbd in visit.xapi.vbds().values():
        vbds.setdefault(vbd.vm, []).append(vbd)
    by_label = visit.pool.table.identify_by is IdentifyBy.UUID_OR_LABEL
    for vm in visit.xapi.vms().values():
        its = vbds.get(vm.ref, [])
        if not is_here(visit, host, vm, its):
            continue
        marks = (vbd.other_config.get(VM_MARK) for vbd in its if by_label)
        full = [vbd.medium for vbd in its if vbd.medium is not None and may_be_ours(vbd)]
        # One from another host's SR is asked for.
        inside = (media.get(medium) or visit.medium(medium)[0] for medium in full)
        found = tuple(dict.fromkeys(medium for medium in inside if medium is not None))
        uuid = next((mark for mark in marks if mark), vm.uuid)
        yield SurveyedVm(VmUuid(uuid), vm.name_label, POWER[vm.power_state], found)
