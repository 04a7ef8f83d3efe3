"""The drive that every reader here is given, and its tree as Linux or Windows shows it."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Final

from pydantic import SecretBytes, SecretStr

from configdrive.contents.render import render
from configdrive.iso.build import build
from configdrive.model import (
    Address,
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Metadata,
    Nic,
    Route,
    SshKey,
    Vm,
    VmData,
    VmUuid,
)
from rigs.process import find_program

if TYPE_CHECKING:
    from pathlib import Path

LABELS: Final = ("config", "config-2", "CONFIG-2")

VM: Final = Vm(
    VmUuid("0d4f7b0e-3a5c-4a0e-8a4f-9d2f6f1f7c55"),
    InstanceName("i-2-21-VM"),
    HypervisorName("kvm"),
    HostName("host-1"),
)
METADATA: Final = Metadata(
    availability_zone="zone1",
    cloud_identifier="CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}",
    instance_id="i-2-21-VM",
    local_hostname="web-21",
    service_offering="Small Instance",
    vm_id="21",
    local_ipv4="10.1.1.21",
    public_ipv4="192.0.2.21",
)
KEYS: Final = (SshKey("alice", "ssh-ed25519 AAAAC3Nz alice@example"), SshKey("bob", "ssh-rsa AAAAB3Nz"))
MAC: Final = "02:00:5e:10:00:21"
NIC: Final = Nic(
    MAC,
    default=True,
    dns=(ip_address("192.0.2.53"),),
    addresses=(
        Address(
            ip_interface("10.1.1.21/24"),
            gateway=ip_address("10.1.1.1"),
            routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.9")),),
        ),
    ),
)

# No reader may trip over quotes, backslashes and what is not ASCII.
PASSWORD: Final = "pä$$ \"wörd\" 'with' \\everything\N{GRINNING FACE}"

# Not UTF-8, and a NUL in it: a reader that takes text for granted shows it here.
USER_DATA: Final = b"#!/bin/sh\r\necho \xff\0\n"


def write_drive(
    path: Path, label: str, *, user_data: bytes = USER_DATA, password: str | None = PASSWORD, nic: Nic | None = NIC
) -> Path:
    """Write the image of a VM that is told everything, and return its path."""
    data = VmData(
        metadata=METADATA,
        user_data=SecretBytes(user_data),
        ssh_keys=KEYS,
        nics=() if nic is None else (nic,),
    )
    files = render(VM, data, None if password is None else SecretStr(password))
    name = ImageName.of(VM.instance_name, VM.uuid, Generation(1))
    path.write_bytes(build(name, files, label=label, built_at=1_489_141_380.0).content)
    return path


def as_linux_shows(drive: Path, target: Path) -> Path:
    """Unpack the drive by its Rock Ridge names, as Linux mounts it.

    Raises:
        RigUnavailable: bsdtar is not installed.
    """
    target.mkdir()
    _run(find_program("bsdtar", "libarchive-tools"), "-xf", str(drive), "-C", str(target))
    return _writable(target)


def as_windows_shows(drive: Path, target: Path) -> Path:
    """Unpack the drive by its Joliet names, as Windows mounts it.

    Raises:
        RigUnavailable: 7-Zip is not installed.
    """
    _run(find_program("7zz", "7zip"), "x", f"-o{target}", str(drive))
    return _writable(target)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _writable(tree: Path) -> Path:
    """Let an ordinary user remove what was unpacked with the drive's own modes."""
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    return tree
