"""What the adapter asks CloudStack: the port, and the plain records that answer. No API, no network here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from configdrive.model import VmUuid


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


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network: which provider each of its services has, and its name servers."""

    name: str | None
    services: tuple[tuple[str, tuple[str, ...]], ...] = ()
    dns: tuple[str, ...] = ()


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

    def password_of(self, job: str) -> SecretStr | None:
        """Return the password in a job's result; `None` when there is none, or the job is forgotten."""
