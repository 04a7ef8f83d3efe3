"""Makes what QEMU boots directly: a Debian kernel and an initial RAM disk of ours, kept in a cache directory."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rigs.guest.initrd import INIT, fill_with_probes, make
from rigs.guest.packages import Packages
from rigs.process import RigUnavailable, cache_directory

Arch = Literal["amd64", "arm64"]
Flavour = Literal["cloud", "generic"]
"""The cloud kernel is a third of the size and boots faster; it drives IDE, virtio and SCSI; not SATA, not USB."""

# What decides how the guest behaves, besides Debian's packages.
_SOURCES: Final = (INIT, INIT.with_name("initrd.py"))


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
    def prepare(cls) -> "GuestKernel":
        """Return the guest that prints its drive, made now unless it was made before from the same files.

        Raises:
            RigUnavailable: the packages cannot be had on this machine, or its own programs are no x86's.
        """
        if platform.machine() != "x86_64":
            raise RigUnavailable(f"the small guest is made for x86_64, this is {platform.machine()}")
        return cls.of("amd64", "cloud", b"".join(path.read_bytes() for path in _SOURCES), fill_with_probes)

    @classmethod
    def of(cls, arch: Arch, flavour: Flavour, key: bytes, fill: Callable[[Path, Path, Path], None]) -> "GuestKernel":
        """Return a guest whose initial RAM disk is filled so, made now unless it was made before with the same key.

        The first time, packages are fetched: 27 MB for the cloud kernel, 70 MB for the generic one.

        Args:
            arch: as Debian calls it.
            flavour: which kernel.
            key: what decides how the guest behaves.
            fill: as for `make`.

        Raises:
            RigUnavailable: the packages cannot be had on this machine.
        """
        cache, digest = cache_directory("guest"), hashlib.sha256(key).hexdigest()[:12]
        kind = flavour if arch == "amd64" else f"{flavour}-{arch}"
        made = sorted(cache.glob(f"{kind}-[0-9]*-{digest}"))
        if not made:
            packages = cache / "packages" / kind
            if not packages.exists():
                kernel = f"linux-image-{'cloud-' if flavour == 'cloud' else ''}{arch}"
                Packages(cache / f"apt-{arch}", arch).fetch([kernel, "busybox-static"], packages)
            made = [make(packages, cache, f"{kind}-{{release}}-{digest}", fill)]
        return cls(made[-1] / "vmlinuz", made[-1] / "initrd")
