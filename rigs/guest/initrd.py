"""Puts the guest's initial RAM disk together: busybox, three of Debian's own programs, the kernel's modules, `init`."""

from __future__ import annotations

import lzma
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rigs.guest.cpio import Archive
from rigs.process import RigUnavailable, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each is loaded after those it depends on; what a kernel has built in or lacks is left out.
_MODULES: Final = (
    *("virtio_pci", "virtio_blk", "virtio_scsi", "ata_piix", "ahci", "uhci_hcd", "ehci_pci", "xhci_pci", "usb_storage"),
    *("sd_mod", "sr_mod", "isofs", "nls_utf8", "button", "evdev"),
)

# What a person would type to look at the drive, as Debian has it: this machine's own, since every Debian has them.
_PROGRAMS: Final = {"blkid": "util-linux", "mount": "mount", "ls": "coreutils"}

# What busybox's acpid runs when the power button is pressed.
_POWER_BUTTON: Final = "etc/acpi/PWRF/00000080"

# So that `ls` prints "root" as in any other guest.
_NAMES: Final = {"etc/passwd": b"root:x:0:0:root:/:/bin/busybox\n", "etc/group": b"root:x:0:\n"}

_DIRECTORIES: Final = ("proc", "sys", "dev", "mnt", "run", "tmp", "etc", "busybox")


def build(root: Path, release: str, init: Path) -> Archive:
    """Return the archive that the kernel unpacks and whose `/init` it runs.

    Args:
        root: where the kernel's and busybox' packages were unpacked.
        release: the kernel's, as in `lib/modules`.
        init: the script.

    Raises:
        RigUnavailable: one of Debian's programs or its libraries is missing on this machine.
    """
    archive = Archive()
    for directory in _DIRECTORIES:
        archive.directory(directory)
    archive.device("dev/console", 5, 1)
    archive.file("init", init.read_bytes(), executable=True)
    archive.file(_POWER_BUTTON, b"#!/bin/busybox sh\n/bin/busybox poweroff -f\n", executable=True)
    for path, content in _NAMES.items():
        archive.file(path, content)
    [busybox] = [path for path in (root / "bin" / "busybox", root / "usr/bin/busybox") if path.exists()]
    files = {"bin/busybox": busybox}
    for name, package in _PROGRAMS.items():
        program = Path(find_program(name, package))
        files |= {f"bin/{name}": program, **{str(path).lstrip("/"): path for path in _libraries(program)}}
    for name, source in files.items():
        archive.file(name, source.read_bytes(), executable=True)
    add_modules(archive, root / "lib" / "modules" / release, _MODULES)
    return archive


def add_modules(archive: Archive, directory: Path, names: Sequence[str]) -> None:
    """Add those of the kernel's modules that there are, those that they need, and `lib/modules/order`.

    Args:
        archive: gets them as `lib/modules/NAME.ko`.
        directory: the kernel's, such as `lib/modules/6.1.0-1-amd64`.
        names: with underscores.
    """
    modules = _modules(directory, names)
    for name, content in modules.items():
        archive.file(f"lib/modules/{name}.ko", content)
    archive.file("lib/modules/order", "".join(f"{name}.ko\n" for name in modules).encode())


def _libraries(program: Path) -> list[Path]:
    """Return the shared libraries that a program is linked with, its loader among them."""
    ldd = subprocess.run(
        [find_program("ldd", "libc-bin"), str(program)], check=False, capture_output=True, text=True, timeout=300
    )
    if ldd.returncode != 0 or "not found" in ldd.stdout:
        raise RigUnavailable(f"the libraries of {program} cannot be found")
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", ldd.stdout)]


def _modules(directory: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the modules by name, in an order in which they can be loaded."""
    found = {path.name.split(".ko")[0].replace("-", "_"): path for path in directory.rglob("*.ko*")}
    modules: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in modules or name not in found:
            return
        content = found[name].read_bytes()
        if found[name].suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends else ():
            add(needed.replace("-", "_"))
        modules[name] = content

    for name in names:
        add(name)
    return modules
