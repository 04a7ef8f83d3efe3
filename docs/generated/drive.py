"""The files on a drive: a sample's, as the very code renders them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Final

from pydantic import SecretBytes, SecretStr

from configdrive.contents.render import DIRECTORIES, render
from configdrive.drive_data import Address, Metadata, Nic, SshKey, VmData
from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from docs.generated.source import table

_SHOWN: Final = 90
_VM: Final = Vm(
    VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"), InstanceName("i-2-14-VM"), HypervisorName("kvm"), HostName("kvm-01")
)
_METADATA: Final = Metadata(
    availability_zone="zone1",
    cloud_identifier="CloudStack-{5d53a4d3}",
    instance_id="i-2-14-VM",
    local_hostname="web-1",
    service_offering="Small Instance",
    vm_id="14",
    local_ipv4="10.1.1.14",
    public_ipv4="203.0.113.14",
    public_hostname="203-0-113-14.example",
    hypervisor_host_name="kvm-01",
    cloud_domain="ROOT",
    cloud_domain_id="8d7c6b5a",
    cloud_name="example cloud",
    extra={"role": "frontend"},
)
_ADDRESS: Final = Address(ip_interface("10.1.1.14/24"), gateway=ip_address("10.1.1.1"))
_DATA: Final = VmData(
    metadata=_METADATA,
    user_data=SecretBytes(b"#!/bin/sh\necho hello"),
    ssh_keys=(SshKey("alice", "ssh-ed25519 AAAAC3Nz alice@example"),),
    nics=(Nic("02:00:4c:11:00:0e", default=True, addresses=(_ADDRESS,)),),
)


def markdown() -> str:
    """Return the files of a VM that has all that a VM can have, with how each begins."""
    files = render(_VM, _DATA, SecretStr("correct horse"))
    nocloud = render(_VM, replace(_DATA, label="cidata"), SecretStr("correct horse"))
    groups = [(f"`{folder}/`", [path for path in files if path.startswith(f"{folder}/")]) for folder in DIRECTORIES]
    groups.append(("The root, with the label `cidata` only", [path for path in nocloud if "/" not in path]))
    parts = [
        f"## {title}\n\n"
        + table(("file", "begins with"), ([f"`{path}`", _beginning(nocloud[path])] for path in sorted(paths)))
        for title, paths in groups
    ]
    return "\n\n".join(parts)


def _beginning(content: bytes) -> str:
    text = content.decode()
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return "`` " + shown.replace("\n", "\\n").replace("|", r"\|") + " ``"
