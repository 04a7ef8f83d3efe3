"""A VM that has all that a drive can carry, and its image as a file: for readers, ours and others'."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Final

from pydantic import SecretBytes, SecretStr

from configdrive.contents.render import render
from configdrive.drive_data import Address, Metadata, Nic, Route, SshKey, VmData
from configdrive.iso.build import build
from configdrive.model import Generation, GuestOs, HostName, HypervisorName, ImageName, InstanceName, Vm, VmUuid

VM: Final = Vm(
    VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"),
    InstanceName("i-2-14-VM"),
    HypervisorName("kvm"),
    HostName("host-1"),
)
WINDOWS_VM: Final = replace(VM, guest_os=GuestOs.WINDOWS)
SEED: Final = Metadata(
    availability_zone="zone1",
    cloud_identifier="CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}",
    instance_id="i-2-14-VM",
    local_hostname="i-2-14-VM",
    service_offering="Small Instance",
    vm_id="14",
)
"""The seed's six values."""

KEYS: Final = (SshKey("alice", "ssh-ed25519 AAAAC3Nz alice@example"), SshKey("bob", "ssh-rsa AAAAB3Nz"))
MAC: Final = "02:00:5e:10:00:14"
ADDRESS: Final = Address(
    ip_interface("10.1.1.14/24"),
    gateway=ip_address("10.1.1.1"),
    routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.9")),),
)
NIC: Final = Nic(MAC, default=True, dns=(ip_address("192.0.2.53"),), addresses=(ADDRESS,))

PASSWORD: Final = "pä$$ \"wörd\" 'with' \\everything\N{GRINNING FACE}"
"""No reader may trip over quotes, backslashes and what is not ASCII."""

BUILT_AT: Final = 1_489_141_380.0
"""2017-03-10 10:23:00 UTC, as in the seed's listing."""


def write_image(path: Path, files: Mapping[str, bytes], label: str = "config") -> Path:
    """Write an image of such files, and return its path."""
    name = ImageName.of(VM.instance_name, VM.uuid, Generation(1))
    path.write_bytes(build(name, files, label=label, built_at=BUILT_AT).content)
    return path


def files_of(data: VmData, password: str | None, vm: Vm = VM) -> Mapping[str, bytes]:
    """Return what stands on the VM's drive."""
    return render(vm, data, None if password is None else SecretStr(password))


def secret(user_data: bytes | None) -> SecretBytes | None:
    """Return user data as `VmData` has it."""
    return None if user_data is None else SecretBytes(user_data)
