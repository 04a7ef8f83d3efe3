"""A Linux kernel that mounts an image: Debian's user-mode Linux, an ordinary process on this machine's own files.

Its root is this machine's root directory, mounted read-only, so that `mount`, `blkid` and `ls` are at hand.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rigs import process as process_rigs
from rigs.process import RigError, RigUnavailable, find_program

_MODULES = Path("/usr/lib/uml/modules")
_DRIVERS = ("drivers/cdrom/cdrom.ko", "fs/isofs/isofs.ko")
_BEGIN, _END = "--- begin ---", "--- end ---"

# By system call number, of which user-mode Linux has the host's (x86-64): neither needs a package then.
_LOAD = """
import ctypes, sys
for name in sys.argv[1:]:
    with open(name, "rb") as module:
        assert ctypes.CDLL(None).syscall(313, module.fileno(), b"", 0) == 0, name
"""
_POWER_OFF = "import ctypes\nctypes.CDLL(None).reboot(0x4321FEDC)"

_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
{python} -IS -c {load} {modules}
echo '{begin}'
sh {script} 2>&1
echo '{end}'
{python} -IS -c {power_off}
"""


def run_in_linux(image: Path, script: str, scratch: Path, timeout: float = 90.0, *, more: Sequence[Path] = ()) -> str:
    """Boot Linux with an image as its disk `/dev/ubda`, run a shell script as root, and return what it prints.

    Args:
        image: the image file, which Linux cannot write to.
        script: finds a writable `/mnt`.
        scratch: a directory for what this needs besides.
        timeout: seconds until it is given up; booting takes two.
        more: images that are its further disks, `/dev/ubdb` and so on.

    Raises:
        RigUnavailable: user-mode Linux is not installed.
        RigError: it did not boot, or did not come to the end.
    """
    linux = find_program("linux.uml", "user-mode-linux")
    modules = [str(path) for name in _DRIVERS for path in _MODULES.glob(f"*/kernel/{name}")]
    if len(modules) != len(_DRIVERS):
        raise RigUnavailable("user-mode-linux has no ISO 9660 file system; install Debian's package again")
    (scratch / "script").write_text(script)
    init = scratch / "init"
    init.write_text(
        _INIT.format(
            python=quote(sys.executable),
            load=quote(_LOAD),
            modules=" ".join(map(quote, modules)),
            begin=_BEGIN,
            script=quote(str(scratch / "script")),
            end=_END,
            power_off=quote(_POWER_OFF),
        ),
    )
    init.chmod(0o755)
    disks = [f"ubd{number}r={path}" for number, path in enumerate((image, *more))]
    printed = _boot([linux, f"init={init}", *disks], scratch, timeout)
    _, begun, rest = printed.partition(f"{_BEGIN}\n")
    said, ended, _ = rest.partition(f"{_END}\n")
    if not (begun and ended):
        raise RigError(f"user-mode Linux did not come to the end of the script:\n{printed}")
    return said


def _boot(command: Sequence[str], scratch: Path, timeout: float) -> str:
    settings = ("mem=128M", "rootfstype=hostfs", "ro", "con=null", "con0=null,fd:1", "quiet")
    environment = os.environ | {"HOME": str(scratch)}
    # A group of its own: user-mode Linux is many processes, which must not outlive a test that gives up.
    with subprocess.Popen(
        [*command, *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=timeout * process_rigs.patience)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return printed.decode().replace("\r\n", "\n")
