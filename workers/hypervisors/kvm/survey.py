"""The survey of a host: every image on its storages, and every VM with what is in its drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.ports import Survey, SurveyedVm
from workers.driverkit.storage_routes import list_images
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.slots import media_of
from workers.hypervisors.kvm.vms import read_domains

if TYPE_CHECKING:
    from configdrive.model import ImageName, Place
    from workers.hypervisors.kvm.visit import Visit


def survey(visit: Visit) -> Survey:
    """Look at all that one host has of the fleet."""

    def names(place: Place) -> tuple[ImageName, ...]:
        with translated(f"storage {place.storage} of host {visit.host}"):
            return visit.storages.folder(place).names()

    images, unreachable = list_images(visit.storages.of_files, names)
    place_of = visit.storages.place_of
    vms = tuple(
        SurveyedVm(uuid, domain.name, domain.power, tuple(dict.fromkeys(media_of(domain.layers, place_of))))
        for uuid, domain in read_domains(visit.link)
    )
    return Survey(images, vms, unreachable)
