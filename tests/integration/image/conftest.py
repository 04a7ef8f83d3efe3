"""Images for readers that are not ours."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretBytes, SecretStr

from configdrive.contents.render import DIRECTORIES, render
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

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

VM = Vm(
    VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"),
    InstanceName("i-2-14-VM"),
    HypervisorName("kvm"),
    HostName("host-1"),
)
DATA = VmData(
    metadata=Metadata(
        availability_zone="zone1",
        cloud_identifier="CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}",
        instance_id="i-2-14-VM",
        local_hostname="i-2-14-VM",
        service_offering="Small Instance",
        vm_id="14",
        local_ipv4="10.1.1.14",
        cloud_name="Wölkchen",
        extra={"Role": "web", "x" * 60: "the longest name", "..": "dots"},
    ),
    user_data=SecretBytes(bytes(range(256)) * 40),
    ssh_keys=(SshKey("alice", "ssh-ed25519 AAAAC3Nz alice@example"), SshKey("bob", "ssh-rsa AAAAB3Nz")),
    nics=(
        Nic(
            "02:00:5e:10:00:01",
            default=True,
            dns=(ip_address("192.0.2.53"),),
            addresses=(
                Address(
                    ip_interface("10.1.1.14/24"),
                    gateway=ip_address("10.1.1.1"),
                    routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.9")),),
                ),
                Address(dhcp=6),
            ),
        ),
    ),
)
PASSWORD = SecretStr("pä$$ \"wörd\" 'with' \\everything\N{GRINNING FACE}")
# Sizes around a sector's end, directories of several sectors, deep paths: more than any drive has.
ODD = {
    **{f"sizes/{size}": bytes([size % 251]) * size for size in (0, 1, 2047, 2048, 2049, 4096, 70_000)},
    **{f"many/file-{number:04}-{'n' * 50}": str(number % 7).encode() for number in range(300)},
    "a/b/c/d/e/f/G.7": b"deep",
    "UPPER/lower.MiXed": b"case",
    f"{'l' * 64}/{'m' * 64}": b"long",
    "no-extension/..hidden": b"dots",
}


@dataclass(frozen=True)
class Drive:
    """An image file, and what readers must find in it. Times are 2017-03-10 10:23:00 UTC, as in the seed's listing."""

    path: Path
    label: str
    files: Mapping[str, bytes]
    directories: Collection[str]


def _drive(folder: Path, label: str, files: Mapping[str, bytes]) -> Drive:
    name = ImageName.of(VM.instance_name, VM.uuid, Generation(1))
    built = build(name, files, label=label, built_at=1_489_141_380.0)
    path = folder / str(name)
    path.write_bytes(built.content)
    parents = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    return Drive(path, label, files, {*parents, *DIRECTORIES, "cloudstack", "openstack", "ec2"})


@pytest.fixture
def full(tmp_path: Path) -> Drive:
    """The drive of a VM that is told everything."""
    return _drive(tmp_path, "config", render(VM, DATA, PASSWORD))


@pytest.fixture(params=["full", "bare", "odd"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Drive:
    """Each kind of image: a VM that is told everything, one that is told nothing, and an unusual tree."""
    if request.param == "odd":
        return _drive(tmp_path, "Config-2_x.label", ODD)
    if request.param == "bare":
        return _drive(tmp_path, "config-2", render(VM, VmData(), None))
    return _drive(tmp_path, "config", render(VM, DATA, PASSWORD))
