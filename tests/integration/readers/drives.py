"""The drive that every reader here is given, and its tree as Linux or Windows shows it."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from configdrive.drive_data import Nic, VmData
from configdrive.model import Vm
from rigs.process import find_program
from tests.drives import KEYS, NIC, PASSWORD, SEED, VM, files_of, secret, write_image

LABELS: Final = ("config", "config-2", "CONFIG-2")
METADATA: Final = replace(SEED, local_hostname="web-14", local_ipv4="10.1.1.14", public_ipv4="192.0.2.14")

# Not UTF-8, and a NUL in it: a reader that takes text for granted shows it here.
USER_DATA: Final = b"#!/bin/sh\r\necho \xff\0\n"


def write_drive(  # noqa: PLR0913 - all by name but the first two
    path: Path,
    label: str,
    *,
    user_data: bytes = USER_DATA,
    password: str | None = PASSWORD,
    nic: Nic | None = NIC,
    vm: Vm = VM,
) -> Path:
    """Write the image of a VM that has everything, and return its path."""
    nics = () if nic is None else (nic,)
    data = VmData(metadata=METADATA, user_data=secret(user_data), ssh_keys=KEYS, nics=nics, label=label)
    return write_image(path, files_of(data, password, vm), label)


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
    subprocess.run(command, check=True, capture_output=True, timeout=600)


def _writable(tree: Path) -> Path:
    """Let an ordinary user remove what was unpacked with the drive's own modes."""
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    return tree
