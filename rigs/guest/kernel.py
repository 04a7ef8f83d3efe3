"""Makes the guest: a Debian kernel and an initial RAM disk of ours, kept in a cache directory."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rigs.guest.initrd import build
from rigs.guest.packages import Packages, put_in_place, unpack
from rigs.process import RigUnavailable, cache_directory

Flavour = Literal["cloud", "generic"]

_HERE: Final = Path(__file__).parent

# The cloud kernel is a third of the size and boots faster; it drives IDE, virtio and SCSI, but neither SATA nor USB.
_KERNEL_PACKAGES: Final[dict[Flavour, str]] = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}

# What decides how the guest behaves, besides Debian's packages.
_SOURCES: Final = ("init", "initrd.py", "cpio.py")


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """What QEMU boots directly.

    Attributes:
        kernel: the compressed Linux kernel.
        initrd: the initial RAM disk; it is the whole guest.
    """

    kernel: Path
    initrd: Path

    @classmethod
    def prepare(cls, cache_dir: Path | None = None, flavour: Flavour = "cloud") -> GuestKernel:
        """Return the guest, made now unless it was made before from the same files.

        The first time, packages are fetched: 27 MB for the cloud kernel, 70 MB for the generic one.

        Args:
            cache_dir: where it is kept; `.cache/guest` of the checkout otherwise.
            flavour: "cloud"; "generic" for guests with SATA or USB.

        Raises:
            RigUnavailable: the packages cannot be had on this machine.
        """
        cache = cache_dir or cache_directory("guest")
        key = _key()
        if made := sorted(cache.glob(f"{flavour}-*-{key}")):
            return cls(made[-1] / "vmlinuz", made[-1] / "initrd")
        if platform.machine() != "x86_64":
            raise RigUnavailable(f"the small guest is made for x86_64, this is {platform.machine()}")
        packages = cache / "packages" / flavour
        if not packages.exists():
            Packages(cache / "apt").fetch([_KERNEL_PACKAGES[flavour], "busybox-static"], packages)
        with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
            root, made_now = Path(scratch) / "root", Path(scratch) / "made"
            unpack(packages, root)
            [kernel] = root.glob("boot/vmlinuz-*")
            release = kernel.name.removeprefix("vmlinuz-")
            made_now.mkdir()
            shutil.copyfile(kernel, made_now / "vmlinuz")
            build(root, release, _HERE / "init").write(made_now / "initrd")
            target = cache / f"{flavour}-{release}-{key}"
            put_in_place(made_now, target)
        return cls(target / "vmlinuz", target / "initrd")


def _key() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()[:12]
