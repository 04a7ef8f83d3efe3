"""Puts initial RAM disks together; the guest's has busybox, three of Debian's own programs, modules, `init`."""

import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rigs.guest.packages import put_in_place, unpack
from rigs.process import RigUnavailable, find_program

INIT: Final = Path(__file__).parent / "init"

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


def make(packages: Path, cache: Path, name: str, fill: Callable[[Path, Path, Path], None]) -> Path:
    """Make what QEMU boots, a `vmlinuz` and its `initrd`, and return their directory.

    Args:
        packages: a directory with the packages of a kernel and of a static busybox.
        cache: where the directory is made.
        name: its name; `{release}` in it is the kernel's.
        fill: fills the initial RAM disk's tree; is given that, where the packages are unpacked, and the modules there.

    Raises:
        RigUnavailable: a program is missing on this machine.
    """
    with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
        root, tree, made = (Path(scratch) / part for part in ("root", "tree", "made"))
        unpack(packages, root)
        [kernel] = root.glob("boot/vmlinuz-*")
        release = kernel.name.removeprefix("vmlinuz-")
        made.mkdir()
        shutil.copyfile(kernel, made / "vmlinuz")
        fill(tree, root, root / "lib/modules" / release)
        pack(tree, made / "initrd")
        put_in_place(made, cache / name.format(release=release))
    return cache / name.format(release=release)


def pack(tree: Path, target: Path) -> None:
    """Write a tree as the archive that a kernel unpacks, all of it root's; the kernel's own one has `/dev/console`.

    Raises:
        RigUnavailable: bsdtar is missing on this machine.
    """
    bsdtar = find_program("bsdtar", "libarchive-tools")
    argv = [bsdtar, "--format=newc", "--uid=0", "--gid=0", "-cf", str(target), "-C", str(tree), "."]
    subprocess.run(argv, check=True, capture_output=True, timeout=600)


def put(tree: Path, path: str, content: bytes, *, executable: bool = False) -> None:
    """Write a file of the tree, and the directories above it."""
    file = tree / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o755 if executable else 0o644)


def put_busybox(tree: Path, root: Path) -> None:
    """Take busybox from where its package is unpacked."""
    [busybox] = [path for path in (root / "bin" / "busybox", root / "usr/bin/busybox") if path.exists()]
    put(tree, "bin/busybox", busybox.read_bytes(), executable=True)


def fill_with_probes(tree: Path, root: Path, modules: Path) -> None:
    """Fill the tree of the guest that prints what is on its drive.

    Raises:
        RigUnavailable: one of Debian's programs or its libraries is missing on this machine.
    """
    for directory in _DIRECTORIES:
        (tree / directory).mkdir(parents=True)
    put(tree, "init", INIT.read_bytes(), executable=True)
    put(tree, _POWER_BUTTON, b"#!/bin/busybox sh\n/bin/busybox poweroff -f\n", executable=True)
    for path, content in _NAMES.items():
        put(tree, path, content)
    put_busybox(tree, root)
    for name, package in _PROGRAMS.items():
        program = Path(find_program(name, package))
        files = {f"bin/{name}": program, **{str(path).lstrip("/"): path for path in _libraries(program)}}
        for path, source in files.items():
            put(tree, path, source.read_bytes(), executable=True)
    put_modules(tree, modules, _MODULES)


def put_modules(tree: Path, directory: Path, names: Sequence[str]) -> None:
    """Add those of the kernel's modules that there are, those that they need, and `lib/modules/order`.

    Args:
        tree: gets them as `lib/modules/NAME.ko`.
        directory: the kernel's, such as `lib/modules/6.1.0-1-amd64`.
        names: with underscores.
    """
    modules = _modules(directory, names)
    for name, content in modules.items():
        put(tree, f"lib/modules/{name}.ko", content)
    put(tree, "lib/modules/order", "".join(f"{name}.ko\n" for name in modules).encode())


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
