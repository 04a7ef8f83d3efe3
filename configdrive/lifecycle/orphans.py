"""Orphans, the image files that no VM needs any more: pure decisions on what hosts show and what is remembered.

An image is deleted only when it is known to be of no use. What is in any VM's drive stays, whosever drive it is, and so
does whatever cannot be judged: while a host does not answer, it may have a VM that needs the image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from configdrive.lifecycle.state import Phase, VmRecord
from configdrive.model import HostName, ImageName, StoredImage, VmUuid
from configdrive.ports import Survey, SurveyedVm


class Why(StrEnum):
    """What is to be said of an image; the first group stays, the second goes."""

    CURRENT = "the VM's present image"
    IN_DRIVE = "in a VM's drive"
    IN_WORK = "an event of its VM waits or is in work"
    UNREADABLE = "what is remembered of its VM was written by another version"
    NOT_REMEMBERED = "its VM is there, but nothing is remembered of it: see `configdrive adopt`"
    HOST_AWAY = "a host does not answer that may need it"
    NEW = "nothing is known of its VM; it goes when that is still so after the grace period"
    OTHER_FLEET = "another fleet has made it"

    VM_GONE = "its VM was destroyed"
    VM_UNKNOWN = "neither the fleet nor any host knows its VM"
    STOPPED = "its VM is stopped"
    OLD = "an older image of its VM"
    ELSEWHERE = "a copy that its VM does not need"

    @property
    def goes(self) -> bool:
        """Whether the image is deleted."""
        return self in _GOES


_GOES = frozenset({Why.VM_GONE, Why.VM_UNKNOWN, Why.STOPPED, Why.OLD, Why.ELSEWHERE})


@dataclass(frozen=True, slots=True)
class Scene:
    """What the hosts of one hypervisor show at a moment.

    Args:
        images: every image, with a host on which it was found.
        users: image name -> (VM's name, host) of a VM that has it in a drive.
        vms: every VM that a host knows, with that host.
        away: hosts that did not answer.
    """

    images: Mapping[StoredImage, HostName] = field(default_factory=dict)
    users: Mapping[ImageName, tuple[str, HostName]] = field(default_factory=dict)
    vms: Mapping[VmUuid, tuple[HostName, SurveyedVm]] = field(default_factory=dict)
    away: frozenset[HostName] = frozenset()


def scene(surveys: Mapping[HostName, Survey], away: Iterable[HostName]) -> Scene:
    """Put the surveys of all hosts together. A VM that two hosts know is taken where it is not halted."""
    images: dict[StoredImage, HostName] = {}
    users: dict[ImageName, tuple[str, HostName]] = {}
    vms: dict[VmUuid, tuple[HostName, SurveyedVm]] = {}
    for host, survey in surveys.items():
        for image in survey.images:
            images.setdefault(image, host)
        for one in survey.vms:
            for medium in one.media:
                users.setdefault(medium.name, (one.name, host))
            if one.uuid not in vms or not one.power.is_off:
                vms[one.uuid] = (host, one)
    return Scene(images, users, vms, frozenset(away))


def judge(image: StoredImage, seen: Scene, known: VmRecord | None, fleet: str | None = None) -> Why:
    """Say whether an image is needed.

    Args:
        image: the image.
        seen: what the hosts show.
        known: what is remembered of its VM, for which no event waits; `None` when nothing is.
        fleet: whose images may be deleted; `None`: any.
    """
    if image.name in seen.users:
        return Why.IN_DRIVE
    if _is_another_fleets(image, known, fleet):
        return Why.OTHER_FLEET
    if image.place.host is None and seen.away:
        return Why.HOST_AWAY
    return _judge_unknown(image, seen) if known is None else _judge_known(image, known)


def _is_another_fleets(image: StoredImage, known: VmRecord | None, fleet: str | None) -> bool:
    """Whether an image has another fleet's tag, or none, as in names of the first form, and its VM is not known."""
    if fleet is None or image.name.fleet == fleet:
        return False
    return image.name.fleet is not None or known is None


def _judge_known(image: StoredImage, known: VmRecord) -> Why:
    if known.phase is Phase.GONE:
        return Why.VM_GONE
    if known.image is not None and image.name.file == known.image.file:
        return Why.ELSEWHERE if _is_elsewhere(image, known) else Why.CURRENT
    return Why.STOPPED if known.image is None else Why.OLD


def _is_elsewhere(image: StoredImage, known: VmRecord) -> bool:
    """Whether a storage is none of the VM's, for sure: without identities two names may be those of one folder."""
    places = (image.place, *known.places)
    return image.place not in known.places and all(place.identity is not None for place in places)


def _judge_unknown(image: StoredImage, seen: Scene) -> Why:
    if image.name.vm_uuid in seen.vms:
        return Why.NOT_REMEMBERED
    return Why.HOST_AWAY if seen.away else Why.VM_UNKNOWN


def of_vm(uuid: VmUuid, images: Collection[StoredImage]) -> list[StoredImage]:
    """Return the images of one VM."""
    return [image for image in images if image.name.vm_uuid == uuid]
