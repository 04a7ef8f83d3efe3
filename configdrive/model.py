"""The things the fleet talks about, under the field's own names: plain frozen data that touches nothing.

What an orchestrator says of a VM that it is about to define carries its rules in its types: who reads it from outside
has pydantic check them. What stands on a drive: `configdrive.drive_data`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar, Final, NewType, Self

from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import override

UUID_PATTERN: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""A uuid as the fleet keeps it: lower case, with hyphens."""

VmUuid = NewType("VmUuid", str)
"""The VM's uuid in the orchestrator and on the hypervisor: lower case, with hyphens."""

InstanceName = NewType("InstanceName", str)
"""The VM's name on the hypervisor (CloudStack: `i-2-14-VM`)."""

HypervisorName = NewType("HypervisorName", str)
"""The name of a driver: `kvm`, `xenserver`, `vmware`, `simulated`, or a plug-in's."""

HostName = NewType("HostName", str)
"""A host's (or pool's, or vCenter's) name in the inventory."""

StorageName = NewType("StorageName", str)
"""A primary storage's name on its hypervisor: storage pool, SR or datastore."""

EventId = NewType("EventId", str)
"""The CloudEvents `id` of a lifecycle event: unique among those of its `source`, and of no other."""

EventKey = NewType("EventKey", str)
"""The one word for an event's source and id (`contract.event_key`); also the Celery task's id."""

Generation = NewType("Generation", int)
"""Which of a VM's images: the sequence number of the event that it was built for."""

IMAGE_FOLDER = "configdrive"
"""The folder on a primary storage in which all images of the fleet lie."""

DEFAULT_LABEL = "config"
"""The specification's default of `vm.configdrive.label`."""

MAX_LABEL = 16
"""Characters of a volume label. ISO 9660 has room for 32, Joliet (UCS-2) for 16: both carry the same label."""

LABEL_PATTERN = rf"[A-Za-z0-9._-]{{1,{MAX_LABEL}}}"

_OLD_NAME = re.compile(
    r"(?P<slug>[A-Za-z0-9][A-Za-z0-9._-]{0,63})"
    rf"\.(?P<uuid>{UUID_PATTERN})"
    r"\.(?P<generation>0|[1-9][0-9]{0,15})\.iso",
)
_NAME = re.compile(
    r"(?P<slug>[a-z0-9-]{1,32})"
    rf"\.(?P<uuid>{UUID_PATTERN})"
    r"\.(?P<generation>0|[1-9][0-9]{0,15})"
    r"\.(?P<fingerprint>[a-z2-7]{16})-(?P<fleet>[a-z2-7]{8})\.iso",
)
_SLUG = 32


@dataclass(frozen=True, slots=True)
class ImageName:
    """The name of an image file. It says whose it is, so that a listing alone tells the owner.

    Two names are equal when the files are called the same: the same name means the same bytes.

    Args:
        file: the file's name, without any folder.
        vm_uuid: the VM that it is made for.
        generation: the sequence number of the event that it was built for; nothing is ordered by it.
        fingerprint: keyed digest of the image's bytes; `None` in names of the first form.
        fleet: the fleet that made it; `None` in names of the first form.
    """

    file: str
    vm_uuid: VmUuid = field(compare=False)
    generation: Generation = field(compare=False)
    fingerprint: str | None = field(default=None, compare=False)
    fleet: str | None = field(default=None, compare=False)

    @override
    def __str__(self) -> str:
        """Return the file name, without any folder."""
        return self.file

    @classmethod
    def of(
        cls,
        instance_name: str,
        vm_uuid: VmUuid,
        generation: Generation,
        fingerprint: str | None = None,
        fleet: str | None = None,
    ) -> Self:
        """Make the name of an image; without a fingerprint and a fleet, one of the first form."""
        if fingerprint is None or fleet is None:
            return cls(f"{instance_name}.{vm_uuid}.{generation}.iso", vm_uuid, generation)
        slug = re.sub(r"[^a-z0-9]+", "-", instance_name.lower())[:_SLUG].strip("-") or "vm"
        file = f"{slug}.{vm_uuid}.{generation}.{fingerprint}-{fleet}.iso"
        return cls(file, vm_uuid, generation, fingerprint, fleet)

    @classmethod
    def parse(cls, file_name: str) -> Self | None:
        """Read a file name (no folder); `None` when the file is not one of a fleet's."""
        match = _NAME.fullmatch(file_name) or _OLD_NAME.fullmatch(file_name)
        if match is None:
            return None
        parts = match.groupdict()
        return cls(
            file_name,
            VmUuid(match["uuid"]),
            Generation(int(match["generation"])),
            parts.get("fingerprint"),
            parts.get("fleet"),
        )

    @property
    def instance_name(self) -> InstanceName:
        """The part that is for people: the VM's name when the image was made, as far as it fits into a file name."""
        return InstanceName(self.file.partition(f".{self.vm_uuid}.")[0])


class PowerState(StrEnum):
    """A VM's power state as its hypervisor reports it; `UNDEFINED` when the host knows no such VM."""

    UNDEFINED = "undefined"
    HALTED = "halted"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"

    @property
    def is_off(self) -> bool:
        """Whether no guest is there that could notice anything."""
        return self in {PowerState.UNDEFINED, PowerState.HALTED}


class AttachBy(StrEnum):
    """Who puts the drive into the VM's definition."""

    FLEET = "fleet"
    ORCHESTRATOR = "orchestrator"


class Presentation(StrEnum):
    """How the guest sees the image.

    `auto` is what its hypervisor's guests see best, which may depend on the VM's other drives. `disk`, read-only, is
    for guests that never see a second CD.
    """

    AUTO = "auto"
    CDROM = "cdrom"
    DISK = "disk"


class GuestOs(StrEnum):
    """The family of a guest's operating system: some readers are on one of them only."""

    WINDOWS = "windows"
    LINUX = "linux"
    OTHER = "other"


class AdminPass(StrEnum):
    """Which guests get their password in `admin_pass` too.

    cloudbase-init reads no other field; cloud-init does not need it, and shows it to every user of the guest.
    """

    WINDOWS = "windows"
    """Those of which an event says that they run Windows."""

    ALWAYS = "always"
    """Also those of which no event says what they run."""

    NEVER = "never"


Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A word of a hypervisor's own: a machine type, a bus, a model."""


@dataclass(frozen=True, slots=True)
class DefinedDisk:
    """A disk of a VM that is about to be defined: where it is plugged in, and whether the VM boots from it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    target: Word
    bus: Word
    device: Word = "disk"
    boot: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None


@dataclass(frozen=True, slots=True)
class DefinedController:
    """A controller of a VM that is about to be defined."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Word
    model: Word | None = None
    index: Annotated[int, Field(ge=0, le=255, strict=True)] | None = None


@dataclass(frozen=True, slots=True)
class VmDefinition:
    """What an orchestrator is about to define, as far as the place of a drive depends on it; no paths.

    Args:
        machine, arch: as libvirt has them, such as `q35` and `x86_64`.
        disks: in the order in which they are defined.
        controllers: of which kinds.
        boot: the boot elements, such as `cdrom` and `hd`; empty when devices have a boot order of their own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    machine: Word
    arch: Word = "x86_64"
    disks: Annotated[tuple[DefinedDisk, ...], Field(max_length=64)] = ()
    controllers: Annotated[tuple[DefinedController, ...], Field(max_length=64)] = ()
    boot: Annotated[tuple[Word, ...], Field(max_length=8)] = ()


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM and where it is meant to be.

    `primary_storage` is `None` when the driver shall find it from the root disk; `zone` only selects the queue.
    `guest_os` is `None` when no event has said it. `definition` is what an orchestrator is about to define.
    """

    uuid: VmUuid
    instance_name: InstanceName
    hypervisor: HypervisorName
    host: HostName
    primary_storage: StorageName | None = None
    zone: str | None = None
    attach_by: AttachBy = AttachBy.FLEET
    presentation: Presentation = Presentation.AUTO
    guest_os: GuestOs | None = None
    definition: VmDefinition | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A storage that can hold images.

    Args:
        storage: its name on its host.
        host: `None` when every host that has this storage sees the same files.
        identity: what its owner knows it by, whatever it is called where; places of the same identity are the same.
    """

    storage: StorageName
    host: HostName | None = None
    identity: str | None = None

    @override
    def __eq__(self, other: object) -> bool:
        """Compare identities, and names only where no identity is known."""
        return self._key == other._key if isinstance(other, Place) else NotImplemented

    @override
    def __hash__(self) -> int:
        """Agree with `==`."""
        return hash(self._key)

    @property
    def _key(self) -> str | tuple[StorageName, HostName | None]:
        return self.identity or (self.storage, self.host)


@dataclass(frozen=True, slots=True)
class Intent:
    """An effect that is about to be tried: where an image may lie from now on, whatever becomes of the attempt.

    Args:
        host: the inventory's name of the host on which the VM is, or whose storage it is.
        host_id: what the host says of itself (`ports.Observation.host_id`).
        place: the storage.
        file: the image file's exact name.
        hypervisor: of the host; a VM may change it.
    """

    host: HostName
    host_id: str
    place: Place
    file: str
    hypervisor: HypervisorName = HypervisorName("")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image file found on a storage."""

    name: ImageName
    place: Place


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """What the fleet's settings say of all its drives.

    Args:
        label: of drives whose VM names none.
        admin_pass: which guests find their password in `admin_pass` too.
        vendor_data: the operator's own for cloud-init, beside the fleet's.
    """

    label: str = DEFAULT_LABEL
    admin_pass: AdminPass = AdminPass.WINDOWS
    vendor_data: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Image:
    """A finished, verified ISO image. Its bytes may hold a password: they never show in a repr."""

    name: ImageName
    label: str
    content: bytes = field(repr=False)
    sha256: str


def label_problem(label: str) -> str | None:
    """Say what is wrong with a label, with the remedy, or `None` when readers on Linux and Windows all find it."""
    if len(label) > MAX_LABEL:
        return f"has {len(label)} characters; a volume label has at most {MAX_LABEL}"
    if not re.fullmatch(LABEL_PATTERN, label):
        return "may have letters, digits, '.', '_' and '-' only, and at least one of them"
    return None
