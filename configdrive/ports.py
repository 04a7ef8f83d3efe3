"""The ports of the domain: what it needs from the world, as protocols that adapters fulfil."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    Image,
    ImageName,
    Intent,
    Place,
    PowerState,
    StoredImage,
    Vm,
    VmUuid,
)


@dataclass(frozen=True, slots=True)
class NoDrive:
    """The VM has no drive slot for us yet."""


@dataclass(frozen=True, slots=True)
class EmptyDrive:
    """The VM has our slot, with nothing in it."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """An image of the fleet is in the slot. `name.vm_uuid` may be another VM's: then it must not stay."""

    name: ImageName
    place: Place | None = None


DriveContent = NoDrive | EmptyDrive | Inserted


@dataclass(frozen=True, slots=True)
class Observation:
    """What a hypervisor says of one VM right now.

    Args:
        power: the VM's power state; `UNDEFINED` when the host does not know the VM.
        storage: the primary storage on which the VM's root disk lies, or the event's choice, or the host's
            cache when that storage holds no files; `None` when it is not known (VM undefined, none named).
        drive: what is in the VM's config drive slot. A user's own ISO in another slot is not reported, an image of the
            fleet in any drive is. Where the running VM and its persistent definition differ, whatever still has to go
            is reported first: another VM's image, then the oldest of its own.
        images: every image of this VM found on `storage` and on the places asked for.
        unreachable: places asked for that could not be listed now: down, or no longer in the inventory.
        media: every image of the fleet in any drive of the VM, in any layer of its definition.
        host_id: what the host says of itself, whatever it is called in the inventory; empty when it does not say.
        vm_ref: the identity of the VM's object; the same by whatever inventory name it was found.
        elsewhere: on which other host of its hypervisor an undefined VM was seen, in words, with what to do about it.
    """

    power: PowerState
    storage: Place | None
    drive: DriveContent
    images: tuple[StoredImage, ...] = ()
    unreachable: tuple[Place, ...] = ()
    media: tuple[ImageName, ...] = ()
    host_id: str = ""
    vm_ref: str | None = None
    elsewhere: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SurveyedVm:
    """A VM that a host knows, running or only defined.

    Args:
        uuid: the VM's.
        name: on this host.
        power: its power state here.
        media: every image of the fleet in any of its drives, now and in its persistent and saved definitions; whosever
            image it is.
    """

    uuid: VmUuid
    name: str
    power: PowerState
    media: tuple[Inserted, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """All that one host has of the fleet.

    Args:
        images: every image on every storage of the host that could be listed.
        vms: every VM that the host knows.
        unreachable: the host's storages that could not be listed now.
        host_id: as in `Observation`.
    """

    images: tuple[StoredImage, ...]
    vms: tuple[SurveyedVm, ...]
    unreachable: tuple[Place, ...] = ()
    host_id: str = ""


class AttachedHow(StrEnum):
    """How an image came to the guest."""

    INSERTED = "inserted"
    HOT_ADDED = "hot_added"
    ALREADY = "already"
    NEXT_BOOT = "next_boot"
    ORCHESTRATOR = "orchestrator"


@dataclass(frozen=True, slots=True)
class Attachment:
    """The result of an attach.

    Args:
        how: how the image came to the guest.
        device: the target device in the VM.
        path: the image's.
        xml: on KVM the disk element.
        added: how the drive is known again that was added for the image; `None` when a drive was found and used.
        facts: what else the outcome says of it, such as what the guest needs to see it.
    """

    how: AttachedHow
    device: str
    path: str
    xml: str | None = None
    added: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `configdrive doctor`: what was tried, whether it is well, and the remedy when it is not.

    What is well and has a remedy works, but should be mended.
    """

    subject: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Connections:
    """A driver's connections of one kind to one endpoint, in this process.

    Args:
        endpoint: its name in the inventory: a host, a pool, a vCenter.
        kind: what is spoken: `libvirt`, `ssh`, `xapi`, `vsphere`.
        open: those that are open now, in use or kept.
        reopened: how many had to be opened in the place of one that broke, was forgotten or given up.
    """

    endpoint: str
    kind: str
    open: int
    reopened: int


Genuine = Callable[[str], bool]
"""Says whether bytes of this SHA-256 (hexadecimal digits) are those that an image's name promises."""


def trusted(_sha256: str) -> bool:
    """Take any bytes."""
    return True


class HypervisorDriver(Protocol):
    """One hypervisor type: every host of it in the inventory.

    Every verb may be called again at any time with the same effect as once (a worker may die between any two
    instructions), has a time limit of its own, and raises only `FleetError`.
    """

    name: HypervisorName

    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        """Look at the VM on `vm.host`, and at its images on its storage and on the places in `also`.

        `names` are the images to look for; without it, the folders are listed.

        Raises:
            TransientError: the host or the VM's own storage cannot be reached now.
            PermanentError: the host is not in the inventory, or the named storage does not exist.
        """

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name.

        Never visible under its name half-written where the storage can rename; verified by length and checksum.
        An image that is there with the same content is left alone; one with other content is replaced unless in use.
        What a killed upload has left under another name is no image in any listing; the next `observe` or `upload` of
        this VM that meets it takes it away, and so does `survey` once nobody writes to it.

        Raises:
            PermanentError: `NOT_ITS_DRIVE` when the image is named for another VM, `STORAGE_NOT_FOUND`.
            TransientError: `STORAGE_FULL`, `IMAGE_IN_USE`, `UPLOAD_CORRUPT` when it reads back otherwise than written.
        """

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        """Make `target` hold the same bytes as `source` under the same name (a migration between unshared storages).

        `genuine` is asked whether the bytes that were read are that image's.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND` when the source does not hold the image; otherwise as `upload`.
        """

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on.

        Replaces an older image of the same VM. With `vm.attach_by` the orchestrator, touches nothing and answers
        what to attach. Touches no other drive of the VM.

        Raises:
            PermanentError: `NOT_ITS_DRIVE` when the image or the medium in the slot belongs to another VM,
                `VM_NOT_FOUND` when the host does not know the VM, `STORAGE_NOT_FOUND` when it cannot read `place`,
                `NO_FREE_SLOT` when the slot holds a user's medium or there is none and none can be had.
            TransientError: `UPLOAD_CORRUPT` when `place` does not hold the image (look and upload again),
                `DRIVE_LOCKED` when the guest holds the tray and force is turned off.
        """

    def detach(self, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None) -> None:
        """Leave no image of the fleet in any drive of the VM, now and in its persistent definition.

        With `media`, only these: what came since is the next event's. `added` is what `attach` answered.

        Whosever image it is. A VM that the host does not know has none: that is success.

        Raises:
            TransientError: `DRIVE_LOCKED` when the guest holds the tray and force is turned off.
        """

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        """Delete one image file; gone already is success. With `anyones` every VM of the host may hold it up.

        Raises:
            TransientError: `IMAGE_IN_USE` when any VM still has it in a drive.
        """

    def host_of(self, host_id: str) -> HostName | None:
        """Return the inventory's name of the host that says this of itself; `None` when it is not to be found now."""

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet, whosever it is.

        Raises:
            TransientError: the host cannot be reached.
            PermanentError: the host is not in the inventory.
        """

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of this hypervisor in the inventory."""

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage, and say what is wrong with the remedy. Raises nothing."""

    def connections(self) -> Collection[Connections]:
        """Count the connections that are kept between verbs, of every endpoint in the inventory, without any call."""

    def close(self) -> None:
        """Close all connections."""


@runtime_checkable
class DropsMedia(Protocol):
    """A driver of a hypervisor that starts a VM without its medium when it cannot look at that."""

    def dropped(self, host: HostName) -> Mapping[VmUuid, ImageName]:
        """Return the running VMs whose drive is empty that should hold an image of theirs, with that image.

        Raises:
            TransientError: the host cannot be reached.
            PermanentError: the host is not in the inventory.
        """


@runtime_checkable
class SurveysDeep(Protocol):
    """A driver of a hypervisor on which images may lie where no survey looks."""

    def survey_deep(self, host: HostName) -> Survey:
        """Look everywhere; it may take minutes. Otherwise as `HypervisorDriver.survey`."""


@runtime_checkable
class Fixer(Protocol):
    """What a driver may have besides: it makes what is missing on a host, when somebody asks for it."""

    def fix(self, host: HostName) -> Iterator[Check]:
        """Make what images need on a host, such as their folders; say what was made, or why not. Raises nothing."""


class Sealer(Protocol):
    """Sealed boxes, by public key, for what must not be read on the way or at rest.

    A sealed box is bound to a context (which begins with the VM's uuid): opened under another context it is refused.
    """

    def seal(self, plaintext: bytes, context: str) -> str:
        """Put `plaintext` into a sealed box; the result is printable ASCII."""

    def open(self, sealed: str, context: str) -> bytes:
        """Take it out.

        Raises:
            PermanentError: `UNSEALABLE`, when the key is not known, it is damaged or was made for another context.
        """


class ImageNamer(Protocol):
    """Names images by what is in them: the same name means the same bytes, and tells nothing of them."""

    def name(self, vm: Vm, generation: Generation, sha256: str) -> ImageName:
        """Return the name of the image with these bytes (SHA-256 in hexadecimal digits)."""

    def is_genuine(self, name: ImageName, sha256: str) -> bool:
        """Say whether the image of this name has these bytes; never of a name without a fingerprint."""


class Lease(Protocol):
    """The right to work on one VM, with a fencing token."""

    def check(self) -> None:
        """Return when the right still holds; called before each step that changes the world.

        Raises:
            StaleError: `LEASE_LOST`, when another worker holds a newer token.
        """

    def intend(self, intents: Collection[Intent]) -> None:
        """Write down what is about to be tried, before the first effect of an attempt; checks the right as well.

        Raises:
            StaleError: as `check`.
        """


class Clock(Protocol):
    """Time for records and durations."""

    def now(self) -> float:
        """Return the time in seconds since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One finished step of one event. `error` is the code when it failed; `seconds` its duration."""

    step: str
    event_id: str
    event_type: str
    vm_uuid: VmUuid
    hypervisor: HypervisorName
    seconds: float
    error: str | None = None


class Observer(Protocol):
    """Takes note of each step; must not raise."""

    def step(self, record: StepRecord) -> None:
        """Take note of one finished step."""


Drivers = Mapping[HypervisorName, HypervisorDriver]
