"""The survey of a host: every image on its storages, and every VM with what is in its drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import FleetError
from configdrive.model import StoredImage
from configdrive.ports import Survey, SurveyedVm
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.slots import dropped_drives, media_of
from workers.hypervisors.kvm.vms import read_domains

if TYPE_CHECKING:
    from configdrive.model import ImageName, Place, VmUuid
    from workers.hypervisors.kvm.visit import Visit


def dropped(visit: Visit) -> dict[VmUuid, ImageName]:
    """Name the running VMs whose drive libvirt has left empty, as their persistent definitions say."""
    found: dict[VmUuid, ImageName] = {}
    for uuid, domain in read_domains(visit.link):
        if domain.live is not None and domain.config is not None:
            for _, image in dropped_drives(domain.live, domain.config):
                if image.vm_uuid == uuid:
                    found[uuid] = image
    return found


def survey(visit: Visit) -> Survey:
    """Look at all that one host has of the fleet. A storage that has images but no identity yet gets one."""
    images: list[StoredImage] = []
    unreachable: list[Place] = []
    storages = visit.storages
    for place in dict.fromkeys(storages.of_files):
        try:
            with translated(f"storage {place.storage} of host {visit.host}"):
                names = tuple(storages.images(place))
                here = storages.identified(place, make=bool(names))
                images += (StoredImage(name, here) for name in names)
        except FleetError as error:
            visit.link.require_alive(error)
            unreachable.append(place)
    vms = tuple(
        SurveyedVm(uuid, domain.name, domain.power, tuple(dict.fromkeys(media_of(domain.layers, storages.place_of))))
        for uuid, domain in read_domains(visit.link)
    )
    return Survey(tuple(dict.fromkeys(images)), vms, tuple(unreachable), visit.host_id)
