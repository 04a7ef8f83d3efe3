"""The things the fleet talks about, under the field's own names: plain frozen data that touches nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, Self

from pydantic import SecretBytes, SecretStr
from typing_extensions import override

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
"""The CloudEvents `id` of a lifecycle event; also the Celery task's id."""

Generation = NewType("Generation", int)
"""Which of a VM's images: the sequence number of the event that it was built for."""

IMAGE_FOLDER = "configdrive"
"""The folder on a primary storage in which all images of the fleet lie."""

DEFAULT_LABEL = "config"
"""The seed's default of `vm.configdrive.label`."""

MAX_LABEL = 16
"""Characters of a volume label. ISO 9660 has room for 32, Joliet (UCS-2) for 16: both carry the same label."""

LABEL_PATTERN = rf"[A-Za-z0-9._-]{{1,{MAX_LABEL}}}"

_OLD_NAME = re.compile(
    r"(?P<slug>[A-Za-z0-9][A-Za-z0-9._-]{0,63})"
    r"\.(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"\.(?P<generation>0|[1-9][0-9]{0,15})\.iso",
)
_NAME = re.compile(
    r"(?P<slug>[a-z0-9-]{1,32})"
    r"\.(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
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
    """A VM's power state as its hypervisor tells it; `UNDEFINED` when the host knows no such VM."""

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
    """How the guest sees the image. `disk` is for guests that never see a second CD (CloudStack issue 10318)."""

    CDROM = "cdrom"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM and where it is meant to be.

    `primary_storage` is `None` when the driver shall find it from the root disk; `zone` only selects the queue.
    """

    uuid: VmUuid
    instance_name: InstanceName
    hypervisor: HypervisorName
    host: HostName
    primary_storage: StorageName | None = None
    zone: str | None = None
    attach_by: AttachBy = AttachBy.FLEET
    presentation: Presentation = Presentation.CDROM


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
    """

    host: HostName
    host_id: str
    place: Place
    file: str


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image file found on a storage."""

    name: ImageName
    place: Place


@dataclass(frozen=True, slots=True)
class Route:
    """A static route: the destination network, its prefix length in bits, and the next hop."""

    network: str
    prefix: int
    gateway: str


@dataclass(frozen=True, slots=True)
class Address:
    """One IP network of a NIC: `family` 4 or 6, `address` with its `prefix` length in bits, or DHCP when it is `None`.

    `gateway` becomes the default route, and only on the default NIC.
    """

    family: int
    address: str | None = None
    prefix: int | None = None
    gateway: str | None = None
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface as the guest shall configure it. `mtu` is in bytes."""

    mac: str
    addresses: tuple[Address, ...] = ()
    mtu: int = 1500
    default: bool = False
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SshKey:
    """An ssh public key: its name in the metadata, and the line that goes into `authorized_keys`."""

    name: str
    line: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the seed's metadata folder holds, and what later readers look for. Absent values give no file.

    `extra` are the orchestrator's own (name, value) pairs.
    """

    availability_zone: str | None = None
    cloud_identifier: str | None = None
    instance_id: str | None = None
    local_hostname: str | None = None
    service_offering: str | None = None
    vm_id: str | None = None
    local_ipv4: str | None = None
    public_ipv4: str | None = None
    public_hostname: str | None = None
    hypervisor_host_name: str | None = None
    cloud_domain: str | None = None
    cloud_domain_id: str | None = None
    cloud_name: str | None = None
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VmData:
    """All that a drive tells its VM, except the password (which has a life of its own).

    `nics` is `None` when no event named any: then no network file is written at all.
    `label` is the VM's own volume label; `None` takes the fleet's setting.
    """

    metadata: Metadata = field(default_factory=Metadata)
    user_data: SecretBytes | None = None
    ssh_keys: tuple[SshKey, ...] = ()
    nics: tuple[Nic, ...] | None = None
    label: str | None = None


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


__all__ = [
    "DEFAULT_LABEL",
    "IMAGE_FOLDER",
    "LABEL_PATTERN",
    "MAX_LABEL",
    "Address",
    "AttachBy",
    "EventId",
    "Generation",
    "HostName",
    "HypervisorName",
    "Image",
    "ImageName",
    "InstanceName",
    "Intent",
    "Metadata",
    "Nic",
    "Place",
    "PowerState",
    "Presentation",
    "Route",
    "SecretBytes",
    "SecretStr",
    "SshKey",
    "StorageName",
    "StoredImage",
    "Vm",
    "VmData",
    "VmUuid",
    "label_problem",
]
