"""A guest that only says whether it sees its config drive: a real Debian kernel of either kind, for x86_64 and aarch64.

Its RAM disk holds busybox, the modules and a script: nothing of this machine, so it can be of another architecture.
"""

from pathlib import Path
from typing import Final

from rigs.guest.initrd import put, put_busybox, put_modules
from rigs.guest.kernel import Arch, Flavour, GuestKernel

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


def probe_kernel(arch: Arch, flavour: Flavour) -> GuestKernel:
    """Return such a guest.

    Raises:
        RigUnavailable: the packages cannot be had on this machine.
    """
    return GuestKernel.of(arch, flavour, _INIT + repr(_MODULES).encode(), _fill)


def _fill(tree: Path, root: Path, modules: Path) -> None:
    for directory in ("proc", "sys", "dev", "mnt"):
        (tree / directory).mkdir(parents=True)
    put(tree, "init", _INIT, executable=True)
    put_busybox(tree, root)
    put_modules(tree, modules, _MODULES)
