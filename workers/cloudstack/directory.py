"""`VmDirectory` on CloudStack's API: its answers as plain records, whatever is missing in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr
from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import VmUuid
from workers.cloudstack import json_values
from workers.cloudstack.api import Api
from workers.cloudstack.json_values import Document, text
from workers.cloudstack.ports import NetworkRecord, NicRecord, VmContent, VmDirectory, VmRecord

_KEYS: Final = "SSH.PublicKey"
_EVERY_PROJECT: Final = {"projectid": "-1"}
_SUCCEEDED: Final = 1


class ApiDirectory(VmDirectory):
    """What CloudStack knows of its VMs, asked anew each time."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @override
    def find(self, vm: VmUuid) -> VmRecord | None:
        found = self._one("listVirtualMachines", "virtualmachine", id=vm)
        return None if found is None else record_of(vm, found)

    @override
    def content(self, vm: VmRecord) -> VmContent:
        names = dict.fromkeys(nic.network for nic in vm.nics)
        networks = {name: found for name in names if (found := self._one("listNetworks", "network", id=name))}
        without_dns = any(not _servers(found, "dns1", "dns2") for found in networks.values())
        zone = self._api.call("listZones", id=vm.zone_id) if without_dns and vm.zone_id else None
        zones = json_values.documents((zone or {}).get("zone"))
        return content_of(networks, zones[0] if zones else {}, self._user_data(vm.uuid))

    @override
    def storage_of(self, vm: VmUuid) -> str | None:
        """See the port: CloudStack's agent names a libvirt pool by the uuid of CloudStack's pool."""
        for scope in ({}, _EVERY_PROJECT):
            answer = self._api.call("listVolumes", virtualmachineid=vm, type="ROOT", listall="true", **scope)
            found = json_values.documents((answer or {}).get("volume"))
            if found:
                return text(found[0].get("storageid"))
        return None

    @override
    def password_of(self, job: str) -> SecretStr | None:
        found = self._api.call("queryAsyncJobResult", jobid=job)
        if found is None or found.get("jobstatus") != _SUCCEEDED:
            return None
        result = json_values.document(found.get("jobresult"))
        password = text(json_values.document(result.get("virtualmachine")).get("password"))
        return None if password is None else SecretStr(password)

    def _user_data(self, vm: VmUuid) -> str | None:
        found = self._api.call("getVirtualMachineUserData", virtualmachineid=vm)
        return text(json_values.document((found or {}).get("virtualmachineuserdata")).get("userdata"))

    def _one(self, command: str, name: str, *, id: str) -> Document | None:  # noqa: A002 - as the API calls it
        """Return what a list command says of one thing, also where it belongs to a project."""
        for scope in ({}, _EVERY_PROJECT):
            answer = self._api.call(command, id=id, listall="true", **scope)
            found = json_values.documents((answer or {}).get(name))
            if found:
                return found[0]
        return None


def content_of(networks: Mapping[str, Document], zone: Document, user_data: str | None) -> VmContent:
    """Read the networks of a VM by their ids, its zone, and its user data in base64."""
    return VmContent(
        {name: _network(found, zone) for name, found in networks.items()},
        None if user_data is None else SecretStr("".join(user_data.split())),
    )


def record_of(uuid: VmUuid, found: Document) -> VmRecord:
    """Read a VM.

    Raises:
        PermanentError: `ACCESS_DENIED`: the keys are not a root admin's.
    """
    instance_name = text(found.get("instancename"))
    if instance_name is None:
        detail = f"CloudStack does not show the instance name of VM {uuid}"
        raise PermanentError(PermanentCode.ACCESS_DENIED, detail, "give cloudstack.key_file the keys of a root admin")
    details = json_values.document(found.get("details"))
    nics = [_nic(nic) for nic in json_values.documents(found.get("nic"))]
    names = text(found.get("keypairs")) or text(found.get("keypair")) or ""
    return VmRecord(
        uuid=uuid,
        name=text(found.get("name")) or instance_name,
        instance_name=instance_name,
        hypervisor=_placed(text(found.get("hypervisor"))),
        state=text(found.get("state")) or "",
        host=text(found.get("hostname")),
        zone_id=text(found.get("zoneid")),
        zone=text(found.get("zonename")),
        service_offering=text(found.get("serviceofferingname")),
        password_enabled=found.get("passwordenabled") is True,
        nics=tuple(sorted(nics, key=lambda nic: not nic.default)),
        key_names=tuple(name.strip() for name in names.split(",") if name.strip()),
        key_lines=tuple(line.strip() for line in (text(details.get(_KEYS)) or "").splitlines() if line.strip()),
        public_ip=text(found.get("publicip")),
        os_name=text(found.get("osdisplayname")),
        parameters=_parameters(text(found.get("userdatadetails"))),
    )


def _parameters(written: str | None) -> tuple[tuple[str, str], ...]:
    """Read `{name=value, other=value}`, as CloudStack stores and splits it (`NetworkModelImpl.generateVmData`)."""
    pairs = (pair.partition("=") for pair in (written or "").strip().removeprefix("{").removesuffix("}").split(","))
    return tuple((name.strip(), value.strip()) for name, _, value in pairs if name.strip() and value.strip())


def _placed(hypervisor: str | None) -> str | None:
    return None if hypervisor in {"None", "Any"} else hypervisor


def _nic(found: Document) -> NicRecord:
    return NicRecord(
        network=text(found.get("networkid")) or "",
        mac=text(found.get("macaddress")),
        default=found.get("isdefault") is True,
        ip=text(found.get("ipaddress")),
        netmask=text(found.get("netmask")),
        gateway=text(found.get("gateway")),
        ip6=text(found.get("ip6address")),
        cidr6=text(found.get("ip6cidr")),
        gateway6=text(found.get("ip6gateway")),
    )


def _network(found: Document, zone: Document) -> NetworkRecord:
    services = {}
    for service in json_values.documents(found.get("service")):
        name = text(service.get("name"))
        providers = (text(provider.get("name")) for provider in json_values.documents(service.get("provider")))
        if name is not None:
            services[name] = tuple(provider for provider in providers if provider)
    four = _servers(found, "dns1", "dns2") or _servers(zone, "dns1", "dns2")
    six = _servers(found, "ip6dns1", "ip6dns2") or _servers(zone, "ip6dns1", "ip6dns2")
    mtu = found.get("privatemtu")
    return NetworkRecord(
        text(found.get("name")),
        tuple(services.items()),
        (*four, *six),
        kind=text(found.get("type")),
        mtu=mtu if isinstance(mtu, int) and mtu > 0 else None,
        domain=text(found.get("networkdomain")),
    )


def _servers(found: Document, *fields: str) -> tuple[str, ...]:
    return tuple(server for field in fields if (server := text(found.get(field))))
