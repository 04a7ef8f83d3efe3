"""A decision about a VM, as an event of our contract. Pure: CloudStack's records in, an event's fields out.

What stands on the drive is what CloudStack itself writes there: the VM's uuid as `vm_id` and `instance_id`, its host
name, zone, service offering and addresses. Whether there is a drive at all is the default NIC's network's word, as it
is in CloudStack, unless every VM has one. Name servers are those of each NIC's network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from configdrive.contents.render import extra_key_problem
from configdrive.contract.events import Apply
from configdrive.drive_data import line_problem
from configdrive.model import AttachBy, GuestOs, VmDefinition, VmUuid
from workers.cloudstack.decide import Act, Kind
from workers.cloudstack.ports import NetworkRecord, NicRecord, Published, VmContent, VmRecord
from workers.config.cloudstack import DrivesFor

SOURCE: Final = "cloudstack"

Fields = dict[str, Any]

_HYPERVISORS: Final = {"simulator": "simulated", "xcp-ng": "xenserver"}
_WANTED: Final = {"services": {"UserData": ["ConfigDrive"]}}
_TAKEN: Final[Fields] = {"services": {}}
"""CloudStack's own provider has put a drive into the VM: a second one would be one too many."""
_WINDOWS: Final = "windows"
_LINUX: Final = (
    *("linux", "ubuntu", "debian", "centos", "fedora", "red hat", "rocky", "suse", "coreos", "flatcar", "photon"),
    *("alpine", "gentoo", "turbolinux", "asianux", "neokylin", "openeuler"),
)
"""What CloudStack's names of OS types have in them. Of `Other (64-bit)` and the like nobody knows what runs there."""
_LONGEST_NAME: Final = 255
_SHARED: Final = "Shared"
_NOT_IN_A_QUEUE_NAME: Final = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class AtStart:
    """A VM that is about to be defined, as its host's agent sees it, and the storage of its root disk."""

    definition: VmDefinition
    storage: str | None


def wants_content(act: Act) -> bool:
    """Whether its event carries the whole content of the drive."""
    return act.kind in {Kind.START, Kind.UPDATE}


def hypervisor_of(published: Published) -> str | None:
    """Return our name of a VM's hypervisor."""
    name = (published.hypervisor or "").lower()
    return _HYPERVISORS.get(name, name) or None


def guest_os_of(os_name: str | None) -> GuestOs | None:
    """Return the family of what CloudStack calls, for example, `Windows Server 2019 (64-bit)`; `None`: unknown."""
    name = (os_name or "").lower()
    if _WINDOWS in name:
        return GuestOs.WINDOWS
    return GuestOs.LINUX if any(word in name for word in _LINUX) else None


def event_of(  # noqa: PLR0913 - all that an event is made of
    act: Act,
    *,
    vm: VmUuid,
    identity: str,
    at: datetime,
    published: Published,
    sequence: int,
    hosts: Mapping[str, str],
    record: VmRecord | None,
    content: VmContent | None = None,
    password: SecretStr | None = None,
    drives_for: DrivesFor = DrivesFor.OFFERING,
    at_start: AtStart | None = None,
) -> Fields:
    """Return an event as the contract has it, secrets in the clear: for the publisher, which checks and seals it.

    Args:
        act: what to publish.
        vm: of which VM.
        identity: the event's id.
        at: its time.
        published: what is known of the VM's names.
        sequence: the event's.
        hosts: CloudStack's name of a host -> its name in the inventory, where they differ.
        record: the VM as CloudStack sees it.
        content: the rest, for `start` and `update`.
        password: for `password_reset`.
        drives_for: which VMs have a drive.
        at_start: what is known of a VM that is about to be defined.
    """
    data: Fields = {
        "sequence": sequence,
        "vm": {"uuid": vm, "instance_name": published.instance_name},
        "hypervisor": hypervisor_of(published),
    }
    if act.host is not None:
        data["host"] = hosts.get(act.host, act.host)
    if record is not None and (zone := _queue_name(record.zone)):
        data["zone"] = zone
    if record is not None and (guest_os := guest_os_of(record.os_name)) is not None:
        data["guest_os"] = guest_os.value
    data |= _of_act(act, hosts, at_start)
    if act.kind is Kind.PASSWORD_RESET and password is not None and record is not None:
        data |= {"apply": Apply.NOW.value, "guest": {"password": password.get_secret_value()}}
        data["password_enabled"] = record.password_enabled
    if record is not None and content is not None and wants_content(act):
        data |= _content(record, content) | {"lenient": True}
        if published.foreign:
            data["network_offering"] = _TAKEN
        elif drives_for is DrivesFor.ALL:
            data["network_offering"] = _WANTED
    return {
        "specversion": "1.0",
        "id": identity,
        "source": SOURCE,
        "type": f"configdrive.vm.{act.kind}.v1",
        "subject": vm,
        "time": at.isoformat(),
        "data": data,
    }


def _of_act(act: Act, hosts: Mapping[str, str], at_start: AtStart | None) -> Fields:
    """Return what an act says beside the VM and its content."""
    data: Fields = {}
    if act.kind in {Kind.START, Kind.MIGRATE}:
        data["attach"] = (AttachBy.ORCHESTRATOR if act.by_gate else AttachBy.FLEET).value
    if act.ensure:
        data["ensure"] = act.ensure
    if at_start is not None and act.by_gate:
        data["definition"] = to_jsonable_python(at_start.definition)
        data |= {} if at_start.storage is None else {"primary_storage": at_start.storage}
    if act.kind is Kind.STOP:
        data["booted"] = act.booted
    if act.destination is not None and act.phase is not None:
        data |= {"phase": act.phase.value, "destination": hosts.get(act.destination, act.destination)}
    return data


def _content(record: VmRecord, content: VmContent) -> Fields:
    default = next((nic for nic in record.nics if nic.default), None)
    network = None if default is None else content.networks.get(default.network)
    return {
        "network_offering": {"services": dict(network.services if network else ())},
        "password_enabled": record.password_enabled,
        "guest": {
            "metadata": _metadata(record, default),
            "user_data": None if content.user_data is None else {"base64": content.user_data.get_secret_value()},
            "ssh_keys": _keys(record),
            "nics": [_nic(nic, content.networks.get(nic.network)) for nic in record.nics if nic.mac],
        },
    }


def _metadata(record: VmRecord, default: NicRecord | None) -> Fields:
    fields: Fields = {
        "availability_zone": record.zone,
        "instance_id": record.uuid,
        "vm_id": record.uuid,
        "local_hostname": record.name,
        "service_offering": record.service_offering,
        "local_ipv4": None if default is None else default.ip,
        "public_ipv4": record.public_ip,
    }
    # A parameter is at the top of CloudStack's own meta_data.json too (`buildCustomUserdataParamsMetaData`).
    extra = {name: value for name, value in record.parameters if extra_key_problem(name) is None}
    return {name: value for name, value in fields.items() if value} | ({"extra": extra} if extra else {})


def _keys(record: VmRecord) -> list[Fields | str]:
    """Name the keys, where there are as many names as keys: CloudStack keeps the two in lists of their own.

    A name that no reader could show costs its key nothing.
    """
    lines = record.key_lines
    if len(record.key_names) != len(lines):
        return list(lines)
    named = zip(record.key_names, lines, strict=True)
    return [{"name": name, "key": line} if _fits(name) else line for name, line in named]


def _fits(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and line_problem(name) is None


def _nic(nic: NicRecord, network: NetworkRecord | None) -> Fields:
    """Say of a NIC what CloudStack means; docs/how-to/cloudstack.md has the table, with the sources."""
    said: Fields = {"mac": nic.mac, "default": nic.default, "dns": list(network.dns) if network else []}
    if network is not None and network.has_dhcp:
        return said | {"addresses": _served(nic, network)}
    addresses: list[Fields] = []
    if nic.ip and nic.netmask:
        addresses.append(_address(f"{nic.ip}/{nic.netmask}", nic.gateway))
    if nic.ip6 and nic.cidr6:
        addresses.append(_address(f"{nic.ip6}/{nic.cidr6.rpartition('/')[2]}", nic.gateway6))
    if not addresses:
        return said  # it may have one from elsewhere (L2): then nothing is said of them
    if network is not None and network.mtu is not None:
        said["mtu"] = network.mtu
    if network is not None and network.domain is not None:
        said["search"] = [network.domain]
    return said | {"addresses": addresses}


def _served(nic: NicRecord, network: NetworkRecord) -> list[Fields]:
    """Return how a NIC gets its addresses from the network; MTU and domain come the same way."""
    addresses: list[Fields] = [{"dhcp": 4}] if nic.ip or not nic.ip6 else []
    if nic.ip6:
        addresses.append({"dhcp": 6} if network.kind == _SHARED else {"auto": "slaac"})
    return addresses


def _address(cidr: str, gateway: str | None) -> Fields:
    return {"cidr": cidr, "gateway": gateway} if gateway else {"cidr": cidr}


def _queue_name(zone: str | None) -> str:
    """Return a zone's name as it may stand in a queue's name; it only selects the queue."""
    return _NOT_IN_A_QUEUE_NAME.sub("-", (zone or "").lower()).strip("-")[:32]
