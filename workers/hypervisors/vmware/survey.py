"""Every VM that some hosts know, for a survey: nothing may be taken for nobody's because its VM was overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyVmomi import vim

from configdrive.model import ImageName, VmUuid
from configdrive.ports import SurveyedVm
from workers.hypervisors.vmware.inventory import Identity
from workers.hypervisors.vmware.slots import media_of
from workers.hypervisors.vmware.vms import PROPERTIES, vm_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from configdrive.model import Place
    from workers.hypervisors.vmware.records import Drive
    from workers.hypervisors.vmware.session import Found, Session

_UUIDS: Final = {
    Identity.BIOS_UUID: ("config.uuid", "summary.config.uuid"),
    Identity.INSTANCE_UUID: ("config.instanceUuid", "summary.config.instanceUuid"),
}
"""Where they stand; the summary stays when the configuration cannot be read, as of a VM whose host is away."""


def survey_vms(
    session: Session,
    hosts: Iterable[str],
    by: Sequence[Identity],
    images: Collection[ImageName],
    place_of: Callable[[Drive], Place | None],
) -> Iterator[SurveyedVm]:
    """Give every VM on these hosts, under each uuid that may be the orchestrator's: vSphere's VMs have two.

    Args:
        session: with their server.
        hosts: their managed object ids.
        by: by what VMs are known.
        images: that were found; where VMs are known by their names, these say the uuid.
        place_of: a drive -> the storage of the file in it.
    """
    roots = [session.reference(vim.HostSystem, host) for host in hosts]
    summary = [path for paths in _UUIDS.values() for path in paths[1:]]
    wanted = {vim.VirtualMachine: (*PROPERTIES, *summary)}
    for found in session.retrieve(wanted, roots, [(vim.HostSystem, "vm")]):
        if found.get("config.template"):
            continue
        for uuid in dict.fromkeys(_uuids(found, by, images)):
            one = vm_of(found, uuid)
            yield SurveyedVm(uuid, one.name, one.power, tuple(dict.fromkeys(media_of(one, place_of))))


def _uuids(found: Found, by: Sequence[Identity], images: Collection[ImageName]) -> Iterator[VmUuid]:
    for way in by:
        if way is Identity.NAME:
            yield from (image.vm_uuid for image in images if _may_be_of(image, str(found.get("name"))))
        else:
            known = [found.get(path) for path in _UUIDS[way] if found.get(path)]
            yield from (VmUuid(str(uuid).lower()) for uuid in known[:1])


def _may_be_of(image: ImageName, name: str) -> bool:
    """Whether an image may be that of the VM of this name: its file name begins with what people shall read."""
    shown = ImageName.of(name, image.vm_uuid, image.generation, image.fingerprint, image.fleet)
    return image.instance_name == shown.instance_name
