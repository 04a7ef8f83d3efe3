"""Makes a stock Debian 12 with cloud-init: a root file system by debootstrap, and what boots it without a boot loader.

Nothing is set in it that concerns cloud-init: its configuration is Debian's own.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rigs.guest import GuestKernel
from rigs.guest.cpio import Archive
from rigs.guest.packages import put_in_place, unpack
from rigs.process import RigError, RigUnavailable, cache_directory, find_program
from rigs.trees import in_own_mounts, scratch_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUITE: Final = "bookworm"
_PACKAGES: Final = (
    # As Debian 12's own cloud images have it, without boot loader and kernel; both are outside of this guest. Not
    # ifupdown: cloud-init writes `route add` for it, which needs net-tools, and no default route comes up without.
    *("cloud-init", "dbus", "iproute2", "kmod", "libpam-systemd", "netplan.io", "openssh-server", "sudo"),
    *("systemd-sysv", "udev"),
    "python3-cffi-backend",  # debootstrap does not resolve the virtual packages that python3-cryptography depends on
)
_SIZE: Final = "1500M"
"""Of the root file system: twice what is on it. The file is sparse."""

_NEVER_HANGS: Final = 3 * 3600.0
"""Seconds for one program: debootstrap takes two minutes, and eleven on a machine that does much else."""

_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4", "ata_piix", "sr_mod")
"""The root's, and those of the CD drive: cloud-init's generator looks for its label before the system's udev loads any
module. Debian's own initial RAM disk, which holds all drivers of disks, settles udev before it ends."""

_INIT: Final = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
for second in 1 2 3 4 5 6 7 8 9 10; do /bin/busybox test -b /dev/sr0 && break; /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /proc
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """What QEMU boots.

    Attributes:
        kernel: Debian's cloud kernel.
        initrd: finds the root file system, on the first virtio disk.
        root: the root file system, raw ext4; to be used with a snapshot, as it is kept.
    """

    kernel: Path
    initrd: Path
    root: Path

    @classmethod
    def prepare(cls) -> Debian:
        """Return it, made now unless it was made before; `.cache/debian` of the checkout keeps it.

        Raises:
            RigUnavailable: root's rights, a program or Debian's packages are missing on this machine.
            RigError: debootstrap failed; with the end of what it said.
        """
        cache = cache_directory("debian")
        target = cache / f"{_SUITE}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
        if not target.exists():
            if os.geteuid() != 0:
                raise RigUnavailable("debootstrap needs root")
            guest = GuestKernel.prepare()
            with scratch_tree(cache, "make-") as scratch:  # debootstrap mounts /proc in it
                made = scratch / "made"
                made.mkdir()
                _make(guest, scratch / "root", made)
                put_in_place(made, target)
        return cls(target / "vmlinuz", target / "initrd", target / "root.ext4")


def bare_root(packages: Sequence[str]) -> Path:
    """Return a root directory of Debian 12's smallest variant with some packages, to be copied; kept as the guest is.

    Raises:
        RigUnavailable: root's rights, a program or Debian's packages are missing on this machine.
        RigError: debootstrap failed; with the end of what it said.
    """
    cache = cache_directory("debian")
    target = cache / f"bare-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    if not target.exists():
        if os.geteuid() != 0:
            raise RigUnavailable("debootstrap needs root")
        with scratch_tree(cache, "make-") as scratch:
            _bootstrap(scratch / "root", packages)
            put_in_place(scratch / "root", target)
    return target


def _bootstrap(root: Path, packages: Sequence[str]) -> None:
    include = f"--include={','.join(packages)}"
    debootstrap = find_program("debootstrap", "debootstrap")
    _run(in_own_mounts([debootstrap, "--variant=minbase", include, _SUITE, str(root), *_mirror()]))


def _make(guest: GuestKernel, root: Path, made: Path) -> None:
    _bootstrap(root, _PACKAGES)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="kernel-") as scratch:
        kernel = Path(scratch)
        unpack(_packages(guest), kernel)
        [modules] = (kernel / "lib/modules").iterdir()
        shutil.copytree(modules, root / "usr/lib/modules" / modules.name, symlinks=True)
        _run([find_program("chroot", "coreutils"), str(root), "depmod", modules.name])
        [busybox] = [path for path in (kernel / "bin/busybox", kernel / "usr/bin/busybox") if path.exists()]
        _initrd(root / "usr/lib/modules" / modules.name, busybox).write(made / "initrd")
    shutil.copyfile(guest.kernel, made / "vmlinuz")
    shutil.rmtree(root / "var/cache/apt")
    (root / "etc/hostname").write_text("nameless\n")
    image = made / "root.ext4"
    _run([find_program("mkfs.ext4", "e2fsprogs"), "-q", "-d", str(root), str(image), _SIZE])


def _packages(guest: GuestKernel) -> Path:
    """Return where the small guest's rig keeps the packages that its kernel and busybox are from."""
    return guest.kernel.parent.parent / "packages" / "cloud"


def _mirror() -> Sequence[str]:
    """Return the mirror that this machine's apt takes the suite from, if it does; debootstrap knows one itself."""
    apt_get = find_program("apt-get", "apt")
    targets = _run([apt_get, "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    return [uri for name, uri in (line.split() for line in targets.splitlines()) if name == _SUITE][:1]


def _initrd(modules: Path, busybox: Path) -> Archive:
    archive = Archive()
    for directory in ("proc", "dev", "root", "modules"):
        archive.directory(directory)
    archive.device("dev/console", 5, 1)
    archive.file("init", _INIT, executable=True)
    archive.file("bin/busybox", busybox.read_bytes(), executable=True)
    for number, path in enumerate(_in_order(modules)):
        content = path.read_bytes()
        name = f"modules/{number:02}-{path.name.removesuffix('.xz')}"
        archive.file(name, lzma.decompress(content) if path.suffix == ".xz" else content)
    return archive


def _in_order(modules: Path) -> list[Path]:
    """Return the files of `_MODULES`, each behind those it depends on, as `modules.dep` tells."""
    found: dict[str, None] = {}
    lines = (modules / "modules.dep").read_text().splitlines()
    for name in _MODULES:
        for line in lines:
            if re.match(rf"\S*/{name}\.ko(\.xz)?:", line):
                found |= dict.fromkeys(reversed(line.replace(":", "").split()))
    return [modules / path for path in found]


def _run(command: Sequence[str]) -> str:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace", env=environment, timeout=_NEVER_HANGS
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise RigError(f"{Path(command[0]).name} failed:\n{said}")
    return done.stdout
