"""The ports of the adapter: what it asks CloudStack, what it remembers, and their plain records. No API, no network."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from pydantic import SecretStr

from configdrive.model import VmUuid
from workers.cloudstack.notices import Notice

RUNNING, STARTING, MIGRATING, STOPPED, EXPUNGING = "Running", "Starting", "Migrating", "Stopped", "Expunging"
OFF: Final = frozenset({STOPPED, "Destroyed", "Error", "Shutdown"})
UNKNOWN: Final = ""
"""States as CloudStack writes them."""


@dataclass(frozen=True, slots=True)
class NicRecord:
    """One NIC. Addresses as CloudStack writes them; `netmask` of IPv4, `cidr6` the network of IPv6."""

    network: str
    mac: str | None
    default: bool
    ip: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    ip6: str | None = None
    cidr6: str | None = None
    gateway6: str | None = None


@dataclass(frozen=True, slots=True)
class VmRecord:
    """A VM as CloudStack sees it now.

    Args:
        uuid: its uuid.
        name: its host name in the guest.
        instance_name: its name on the hypervisor, `i-2-14-VM`.
        hypervisor: `KVM`, `XenServer`, `VMware`, ...; `None` before it was ever placed.
        state: `Running`, `Stopped`, ...
        host: the name of the host that it is on, or is about to be on; `None` while it is on none.
        zone_id: of its zone.
        zone: the zone's name.
        service_offering: its name.
        password_enabled: whether its template takes passwords.
        nics: default NIC first.
        key_names: of its ssh key pairs.
        key_lines: their public keys, as `authorized_keys` has them.
        public_ip: of a static NAT.
        os_name: what its guest runs, as people call it.
        parameters: the values that its tenant gave for the variables of its user data.
    """

    uuid: VmUuid
    name: str
    instance_name: str
    hypervisor: str | None
    state: str
    host: str | None
    zone_id: str | None = None
    zone: str | None = None
    service_offering: str | None = None
    password_enabled: bool = False
    nics: tuple[NicRecord, ...] = ()
    key_names: tuple[str, ...] = ()
    key_lines: tuple[str, ...] = ()
    public_ip: str | None = None
    os_name: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network.

    Args:
        name: for people.
        services: which provider each of its services has.
        dns: its name servers, or else the zone's.
        kind: `Isolated`, `Shared` or `L2`.
        mtu: of its guests' NICs.
        domain: in which its guests are.
    """

    name: str | None
    services: tuple[tuple[str, tuple[str, ...]], ...] = ()
    dns: tuple[str, ...] = ()
    kind: str | None = None
    mtu: int | None = None
    domain: str | None = None

    @property
    def has_dhcp(self) -> bool:
        """Whether somebody in the network gives its guests their addresses; ConfigDrive, as a provider, does not."""
        providers = dict(self.services).get("Dhcp", ())
        return any(provider != "ConfigDrive" for provider in providers)


@dataclass(frozen=True, slots=True)
class VmContent:
    """What else belongs on the drive: the networks of its NICs by their ids, and its user data in base64."""

    networks: dict[str, NetworkRecord] = field(default_factory=dict)
    user_data: SecretStr | None = None


class VmDirectory(Protocol):
    """What CloudStack knows of its VMs.

    Raises:
        TransientError: it cannot be asked now.
        PermanentError: `ACCESS_DENIED` or `MISCONFIGURED`: it will not answer before a person has done something.
    """

    def find(self, vm: VmUuid) -> VmRecord | None:
        """Return the user's VM of this uuid; `None` when there is none (any more), or it is a system VM."""

    def content(self, vm: VmRecord) -> VmContent:
        """Return what else belongs on its drive."""

    def storage_of(self, vm: VmUuid) -> str | None:
        """Return the name that libvirt has for the storage of its root disk; `None` when CloudStack does not say it."""

    def password_of(self, job: str) -> SecretStr | None:
        """Return the password in a job's result; `None` when there is none, or the job is forgotten."""


class Power(StrEnum):
    """What was published of a VM's power."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published of a VM, and by which notice.

    Args:
        power: on from `start` to `stop`.
        host: where it is or was, by the name that CloudStack has for it.
        moving_to: the destination of a migration that was prepared.
        gone: it was destroyed: nothing more is published.
        at: the time of the newest notice that led to a look, in ms since 1970 UTC; 0 when none had one.
        state: the state at the end of the chain of state events so far; empty when that is not known.
        sequence: the last event's.
        instance_name: for events about a VM that CloudStack no longer shows.
        hypervisor: the same.
        gate: the sequence of the `start` that the gate has published, and after which nobody has seen the VM run yet;
            0 when there is none.
        foreign: whether CloudStack's own provider had put a drive into the VM when it was last started.
        imported: whether it runs since before CloudStack took it over: its host may know it by another uuid until its
            next start, so nothing is published of it before.
    """

    power: Power = Power.UNKNOWN
    host: str | None = None
    moving_to: str | None = None
    gone: bool = False
    at: int = 0
    state: str = UNKNOWN
    sequence: int = 0
    instance_name: str | None = None
    hypervisor: str | None = None
    gate: int = 0
    foreign: bool = False
    imported: bool = False


class VmLock(Protocol):
    """The right to publish events of one VM; one adapter at a time has it."""

    published: Published
    """What was published so far."""

    def next_sequence(self, published: Published) -> int:
        """Return the sequence for the VM's next event: larger than that of `published`, also after a loss of memory."""

    def check(self) -> None:
        """Return when the right still holds, and keep it for a while from now.

        Raises:
            TransientError: `VM_BUSY`: it took too long, and another adapter may have it by now.
        """

    def keep(self, published: Published) -> None:
        """Remember what was published, and that this notice, if it was one, has come."""


class Memory(Protocol):
    """The memory of all adapters of a fleet."""

    def seen(self, notice: Notice) -> bool:
        """Whether this notice has come before."""

    def lock(self, vm: VmUuid, notice: Notice | None) -> AbstractContextManager[VmLock]:
        """Take the right to a VM, for a notice or, at the gate, without one.

        Raises:
            TransientError: `VM_BUSY`: another adapter is at it.
        """
