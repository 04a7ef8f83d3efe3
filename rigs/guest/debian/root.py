"""Makes the small Debian: a root disk of its packages, and an initial RAM disk that hands over to it."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rigs.guest.initrd import pack, put, put_busybox, put_modules
from rigs.guest.kernel import GuestKernel
from rigs.guest.packages import Packages, put_in_place, unpack
from rigs.process import RigError, RigUnavailable, cache_directory, find_program

_HERE: Final = Path(__file__).parent
_SOURCES: Final = ("init", "rcS", "root.py")

_PACKAGES: Final = (
    *("login", "passwd", "dash", "coreutils", "util-linux", "mount", "udev", "sed", "grep", "mawk", "busybox-static"),
    *("libpam-modules", "libpam-modules-bin", "libpam-runtime", "libpam0g"),
    *("libacl1", "libattr1", "libaudit1", "libblkid1", "libbz2-1.0", "libc6", "libcap-ng0", "libcap2", "libcrypt1"),
    *("libdb5.3", "libgcrypt20", "libgmp10", "libgpg-error0", "libkmod2", "liblz4-1", "liblzma5", "libmount1"),
    *("libpcre2-8-0", "libselinux1", "libsemanage2", "libsepol2", "libsmartcols1", "libssl3", "libsystemd0"),
    *("libtinfo6", "libudev1", "libuuid1", "libzstd1", "zlib1g"),
)

# What a login does not need.
_LEFT_OUT: Final = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/lib/udev/hwdb.d")

_MODULES: Final = (
    *("virtio_pci", "virtio_blk", "virtio_scsi", "ata_piix", "sd_mod", "sr_mod", "isofs", "ext4", "crc32c_generic"),
)

_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nalice:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\ntty:x:5:\ndisk:x:6:\ncdrom:x:24:\nalice:x:1000:\n",
    "etc/hostname": "guest\n",
    "etc/inittab": "::sysinit:/etc/rcS\nttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100\n"
    "::shutdown:/bin/umount -a -r\n",
    # What pam-auth-update writes, with the cheapest hash there is: the usual one takes an emulated CPU a second.
    "etc/pam.d/common-auth": "auth required pam_unix.so\n",
    "etc/pam.d/common-account": "account required pam_unix.so\n",
    "etc/pam.d/common-password": "password required pam_unix.so obscure yescrypt rounds=3\n",
    "etc/pam.d/common-session": "session required pam_unix.so\n",
    "etc/pam.d/common-session-noninteractive": "session required pam_unix.so\n",
}
_DIRECTORIES: Final = (
    *("dev", "proc", "sys", "run", "tmp", "root", "home/alice", "etc/rcS.d", "usr/local/bin", "var/lib", "var/log"),
)
_DISK_MIB: Final = 128
_TIMEOUT: Final = 600.0  # seconds, for one program


@dataclass(frozen=True, slots=True)
class DebianGuest:
    """What QEMU boots: the kernel and initial RAM disk of `boot`, and a root disk that `make_disk` makes.

    Attributes:
        boot: for `domain_xml`.
        tree: the root disk's files.
    """

    boot: GuestKernel
    tree: Path

    @classmethod
    def prepare(cls) -> "DebianGuest":
        """Return the guest, made now unless it was made before; 20 MB of packages are fetched then.

        Raises:
            RigUnavailable: the packages cannot be had on this machine, or we are not root: its files are root's.
        """
        if os.geteuid() != 0:
            raise RigUnavailable("only root can make the small Debian's root disk")
        cache, plain = cache_directory("guest"), GuestKernel.prepare()
        release = plain.kernel.parent.name.split("-", 1)[1].rsplit("-", 1)[0]
        digest = hashlib.sha256(release.encode())
        for name in _SOURCES:
            digest.update((_HERE / name).read_bytes())
        target = cache / f"debian-{digest.hexdigest()[:12]}"
        if not target.exists():
            packages = cache / "packages" / "debian"
            if not packages.exists():
                Packages(cache / "apt").fetch(_PACKAGES, packages)
            with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
                made, kernel = Path(scratch) / "made", Path(scratch) / "kernel"
                (made / "tree").mkdir(parents=True)
                _fill(made / "tree", packages)
                unpack(cache / "packages" / "cloud", kernel)
                initrd = Path(scratch) / "initrd"
                for directory in ("dev", "root"):
                    (initrd / directory).mkdir(parents=True)
                put(initrd, "init", (_HERE / "init").read_bytes(), executable=True)
                put_busybox(initrd, kernel)
                put_modules(initrd, kernel / "lib/modules" / release, _MODULES)
                pack(initrd, made / "initrd")
                put_in_place(made, target)
        return cls(GuestKernel(plain.kernel, target / "initrd"), target / "tree")

    def make_disk(self, path: Path, packages: Path, links: dict[str, str]) -> None:
        """Make a root disk (raw, ext4), with more packages unpacked into it.

        Args:
            path: the file.
            packages: a directory of `.deb` files.
            links: path in the guest -> what it links to, such as what starts a service at boot.

        Raises:
            RigError: mke2fs failed.
        """
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            tree = Path(scratch) / "tree"
            shutil.copytree(self.tree, tree, symlinks=True)
            unpack(packages, tree)
            for name, goal in links.items():
                (tree / name.lstrip("/")).symlink_to(goal)
            (tree / "home/alice").chmod(0o755)
            os.chown(tree / "home/alice", 1000, 1000)
            mke2fs = find_program("mke2fs", "e2fsprogs")
            _run([mke2fs, "-q", "-t", "ext4", "-d", str(tree), str(path), f"{_DISK_MIB}M"])


def _fill(tree: Path, packages: Path) -> None:
    unpack(packages, tree)
    for name in _LEFT_OUT:
        shutil.rmtree(tree / name, ignore_errors=True)
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (tree / name).write_text(text)
    # A machine that is busy may take longer than a minute between two questions, and a test asks again and again.
    defaults = (tree / "etc/login.defs").read_text()
    for name in ("LOGIN_TIMEOUT", "LOGIN_RETRIES"):
        defaults = re.sub(rf"(?m)^{name}\s.*$", f"{name} 10000", defaults)
    (tree / "etc/login.defs").write_text(defaults)
    (tree / "etc/shadow").chmod(0o640)
    (tree / "root").chmod(0o700)
    shutil.copyfile(_HERE / "rcS", tree / "etc/rcS")
    (tree / "etc/rcS").chmod(0o755)
    # busybox for all that Debian's own packages in here lack.
    there = {path.name for folder in ("bin", "sbin", "usr/bin", "usr/sbin") for path in (tree / folder).glob("*")}
    for applet in _run([str(tree / "bin/busybox"), "--list"]).split():
        if applet not in there:
            (tree / "usr/local/bin" / applet).symlink_to("/bin/busybox")
    for name in ("sbin/init", "sbin/getty", "bin/sh"):
        (tree / name).unlink(missing_ok=True)
    (tree / "sbin/init").symlink_to("/bin/busybox")
    (tree / "sbin/getty").symlink_to("/bin/busybox")
    (tree / "bin/sh").symlink_to("dash")


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_TIMEOUT)
    if done.returncode != 0:
        raise RigError(f"{Path(argv[0]).name} failed: {done.stderr.strip()}")
    return done.stdout
