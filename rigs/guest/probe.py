"""A guest that only says whether it sees its config drive: a real Debian kernel of either kind, for x86_64 and aarch64.

Its RAM disk holds busybox, the modules and a script: nothing of this machine, so it can be of another architecture.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rigs.guest.cpio import Archive
from rigs.guest.initrd import add_modules
from rigs.guest.packages import Packages, put_in_place, unpack
from rigs.process import cache_directory

if TYPE_CHECKING:
    from rigs.guest.kernel import Flavour

Arch = Literal["x86_64", "aarch64"]

_DEBIAN: Final[dict[Arch, str]] = {"x86_64": "amd64", "aarch64": "arm64"}
_MODULES: Final = (
    *("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "ata_piix", "ahci", "sym53c8xx"),
    *("xhci_pci", "usb_storage", "sd_mod", "sr_mod", "isofs", "nls_utf8"),
)
_INIT: Final = b"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 1
while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order
for look in 1 2 3 4 5 6 7 8 9 10; do
  for device in /dev/sr* /dev/sd* /dev/vd*; do
    [ -b "$device" ] || continue
    label=$(dd if="$device" bs=1 skip=32808 count=6 2>/dev/null)
    [ "$label" = config ] && mount -t iso9660 -o ro "$device" /mnt && {
      echo "@@ read $device $(cat /mnt/cloudstack/metadata/vm_id.txt) @@"
      poweroff -f
    }
  done
  sleep 1
done
echo "@@ none @@"
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class ProbeKernel:
    """What QEMU boots directly: the kernel, and the RAM disk that is the whole guest."""

    kernel: Path
    initrd: Path

    @classmethod
    def prepare(cls, arch: Arch, flavour: Flavour) -> ProbeKernel:
        """Return it, made now unless it was made before from the same script.

        Raises:
            RigUnavailable: the packages cannot be had on this machine.
        """
        cache = cache_directory("guest")
        key = hashlib.sha256(_INIT + repr(_MODULES).encode()).hexdigest()[:12]
        target = cache / f"probe-{arch}-{flavour}-{key}"
        if target.exists():
            return cls(target / "vmlinuz", target / "initrd")
        debian = _DEBIAN[arch]
        packages = cache / "packages" / f"probe-{arch}-{flavour}"
        if not packages.exists():
            kernel = f"linux-image-cloud-{debian}" if flavour == "cloud" else f"linux-image-{debian}"
            Packages(cache / f"apt-{debian}", debian).fetch([kernel, "busybox-static"], packages)
        with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
            root, made = Path(scratch) / "root", Path(scratch) / "made"
            unpack(packages, root)
            [kernel_file] = root.glob("boot/vmlinuz-*")
            made.mkdir()
            shutil.copyfile(kernel_file, made / "vmlinuz")
            _archive(root, kernel_file.name.removeprefix("vmlinuz-")).write(made / "initrd")
            put_in_place(made, target)
        return cls(target / "vmlinuz", target / "initrd")


def _archive(root: Path, release: str) -> Archive:
    archive = Archive()
    for directory in ("proc", "sys", "dev", "mnt"):
        archive.directory(directory)
    archive.device("dev/console", 5, 1)
    archive.file("init", _INIT, executable=True)
    [busybox] = [path for path in (root / "bin" / "busybox", root / "usr/bin/busybox") if path.exists()]
    archive.file("bin/busybox", busybox.read_bytes(), executable=True)
    add_modules(archive, root / "lib" / "modules" / release, _MODULES)
    return archive
