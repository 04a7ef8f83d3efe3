"""Images for readers that are not ours."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from configdrive.contents.render import DIRECTORIES
from configdrive.drive_data import Address, VmData
from tests.drives import ADDRESS, KEYS, NIC, PASSWORD, SEED, files_of, secret, write_image

DATA = VmData(
    metadata=replace(
        SEED,
        local_ipv4="10.1.1.14",
        cloud_name="Wölkchen",
        extra={"Role": "web", "x" * 60: "the longest name", "..": "dots"},
    ),
    user_data=secret(bytes(range(256)) * 40),
    ssh_keys=KEYS,
    nics=(replace(NIC, addresses=(ADDRESS, Address(dhcp=6))),),
)
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
    """An image file, and what readers must find in it."""

    path: Path
    label: str
    files: Mapping[str, bytes]
    directories: Collection[str]


def _drive(folder: Path, label: str, files: Mapping[str, bytes]) -> Drive:
    path = write_image(folder / "drive.iso", files, label)
    parents = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    return Drive(path, label, files, {*parents, *DIRECTORIES, "cloudstack", "openstack", "ec2"})


@pytest.fixture(scope="package")
def drives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drive]:
    """Each kind of image: a VM that has everything, one that has nothing, and an unusual tree."""
    kinds = {
        "full": ("config", files_of(DATA, PASSWORD)),
        "bare": ("config-2", files_of(VmData(), None)),
        "odd": ("Config-2_x.label", ODD),
    }
    return {name: _drive(tmp_path_factory.mktemp(name), *kind) for name, kind in kinds.items()}


@pytest.fixture(scope="package")
def full(drives: dict[str, Drive]) -> Drive:
    """The drive of a VM that has everything."""
    return drives["full"]


@pytest.fixture(scope="package", params=["full", "bare", "odd"])
def drive(request: pytest.FixtureRequest, drives: dict[str, Drive]) -> Drive:
    return drives[request.param]
