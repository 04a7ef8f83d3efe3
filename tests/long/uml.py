"""A stock Debian 12 booted in user-mode Linux, as fast as this machine's own programs; it may have a NIC, and no PCI.

Under QEMU without KVM a boot takes minutes and the search of a whole file system half an hour. What is to be seen in
the guest, the guest itself prints on its console before it powers itself off.
"""

import base64
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rigs.process import RigError, find_program, wait_until
from rigs.trees import in_own_mounts

INIT: Final = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mkdir -p /host
mount -t hostfs none /host -o /usr/lib/uml/modules
python3 -c '
import ctypes, glob
for name in ("drivers/cdrom/cdrom.ko", "fs/isofs/isofs.ko"):
    with open(glob.glob("/host/*/kernel/" + name)[0], "rb") as module:
        ctypes.CDLL(None).syscall(313, module.fileno(), b"", 0)
'
umount /host
umount /proc
exec /sbin/init
"""
"""The first program in it; the drive's file system is a module of a kernel that is not the guest's own."""

MAC: Final = "02:00:5e:10:00:33"
"""Its NIC's."""
_BOOT: Final = 600.0
"""Seconds after which a boot has failed."""


def changed(root: Path, script: str, target: Path) -> str:
    """Copy a root file system, run a script in a chroot of the copy, and return what it printed.

    Raises:
        RigError: it failed.
    """
    command = [find_program("cp", "coreutils"), "--sparse=always", str(root), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    mounted = target.with_suffix(".mounted")
    mounted.mkdir()
    outer = f"mount -o loop '{target}' '{mounted}' && exec chroot '{mounted}' /bin/sh -eu"
    done = subprocess.run(in_own_mounts(["sh", "-c", outer]), input=script, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RigError(f"the script in {target.name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def bootable(root: Path, target: Path, script: str = "", files: Sequence[Path] = ()) -> Path:
    """Make a root file system that `boot` boots, of one that is kept, and return it.

    Args:
        root: raw ext4.
        target: the copy.
        script: runs in a chroot of it.
        files: are there in `/given` when it runs.

    Raises:
        RigError: the script failed.
    """
    given = "".join(f"base64 -d >/given/{path.name} <<'END_OF_FILE'\n{_encoded(path)}\nEND_OF_FILE\n" for path in files)
    init = f"cat >/uml-init <<'END_OF_INIT'\n{INIT}END_OF_INIT\nchmod 755 /uml-init\n"
    changed(root, f"mkdir -p /given\n{given}{init}{script}", target)
    return target


def _encoded(path: Path) -> str:
    return base64.encodebytes(path.read_bytes()).decode().strip()


def boot(  # noqa: PLR0913  # what it is booted of and with
    root: Path, disk: Path, drive: Path, *, ends_with: str, append: str = "", nic: bool = False
) -> str:
    """Boot until the guest powers itself off, and return what it printed.

    Args:
        root: of `bootable`; stays as it is.
        disk: what is changed on it, made by the first boot.
        drive: the config drive's image.
        ends_with: what it prints at the end.
        append: more of the kernel's command line.
        nic: with a NIC, which leads to nobody: without addresses on the drive, a guest waits minutes for DHCP's answer.

    Raises:
        RigError: it has not printed that.
    """
    linux = find_program("linux.uml", "user-mode-linux")
    disks = [f"ubd0={disk},{root}", f"ubd1r={drive}", "root=/dev/ubda", "rw", "init=/uml-init", "mem=600M"]
    console = ["con=null", "con0=null,fd:1", "systemd.mask=getty.target", f"uml_dir={disk.parent}/"]
    nics = [f"vec0:transport=tap,ifname=tap0,mac={MAC}"] if nic else []
    argv = [find_program("unshare", "util-linux"), "--net", linux, *disks, *console, *nics, *append.split()]
    log = disk.with_suffix(".console")
    with log.open("wb") as written:
        guest = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=written)
        try:
            wait_until(lambda: guest.poll() is not None, "the guest to power itself off", timeout=_BOOT)
        finally:
            if guest.poll() is None:
                guest.terminate()
                guest.wait()
    printed = log.read_text(errors="replace").replace("\r", "")
    if ends_with not in printed:
        raise RigError(f"the guest has ended early:\n{printed[-3000:]}")
    return printed
