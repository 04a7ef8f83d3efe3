"""A guest that runs `configdrive-guest`: under each shell, a system of its own on this machine's kernel.

A scenario runs in a mount namespace with a fresh `/etc`, `/root`, `/home`, `/var`, `/run` and `/dev`, a user `alice`,
and the drives as loop devices; so the program runs as it is, with this machine's `blkid`, `chpasswd` and all the rest.
Only `mount -t iso9660` is played where this kernel lacks that file system: bsdtar unpacks into a tmpfs that has the
options that were asked for. The real one is in `test_mount.py` and in `tests/e2e/guest`.
"""

import base64
import contextlib
import ctypes
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Final

from rigs.process import RigUnavailable, find_program

SOURCES: Final = Path(__file__).parents[3] / "guest" / "linux"
PROGRAM: Final = SOURCES / "configdrive-guest"
SHELLS: Final = {"dash": "dash", "busybox": "busybox ash", "bash": "bash", "mksh": "mksh"}
"""Name and command of each shell. Debian's busybox takes its own applets before the programs of the system."""

_PACKAGES: Final = {"dash": "dash", "busybox": "busybox-static", "bash": "bash", "mksh": "mksh"}
_TIMEOUT: Final = 500.0  # seconds for a scenario under one shell
_SHOWN: Final = re.compile(r"^@@ (\S+) ([A-Za-z0-9+/=]*)$", re.MULTILINE)

_MOUNT: Final = r"""#!/bin/sh
# mount -t iso9660 -o OPTIONS DEVICE DIRECTORY
mount -t tmpfs -o "$(echo "$4" | sed 's/^ro,/rw,/')" tmpfs "$6" || exit 32
if ! bsdtar -xpf "$5" -C "$6" >/dev/null 2>&1; then umount "$6"; echo "mount: $6: damaged" >&2; exit 32; fi
mount -o "remount,bind,$4" "$6"
"""

# What a scenario has at hand. `guest` runs the program, `step NAME COMMAND...` shows what one prints and its code.
_TOOLS: Final = r"""
set -u
guest() { timeout 60 $shell $program "$@"; }
show() { echo "@@ $1 $(base64 -w 0)"; }
step() {
  label=$1
  shift
  "$@" >/mnt/out 2>/mnt/err </dev/null
  code=$?
  show "$label.out" </mnt/out
  show "$label.err" </mnt/err
  echo $code | show "$label.code"
}
hide() {  # one program of /usr/sbin
  mkdir /mnt/sbin
  mount --bind /usr/sbin /mnt/sbin
  mount -t tmpfs tmpfs /usr/sbin
  cp -s /mnt/sbin/* /usr/sbin
  rm "/usr/sbin/$1"
}
configure() { printf '%s\n' "$@" >/etc/default/configdrive-guest; }
mount -t tmpfs tmpfs /mnt
cat >/mnt/mount
cp "$source" /mnt/program  # the checkout may lie in somebody's home
program=/mnt/program
for directory in /root /home /run; do mount -t tmpfs tmpfs $directory; done
mkdir -p /mnt/etc/default /mnt/var/lib /mnt/var/log /mnt/dev/disk/by-label /home/alice
wanted="passwd group shadow gshadow pam.d security login.defs nsswitch.conf ld.so.* localtime alternatives"
(cd /etc && cp -a $wanted /mnt/etc 2>/mnt/err)  # not each of these is on every machine
sed -i 's/yescrypt/& rounds=3/' /mnt/etc/pam.d/common-password  # the cheapest hash there is
(cd /dev && cp -a null zero full random urandom tty $drives /mnt/dev)
set -- a b c d e f g h i
for drive in $drives; do
  ln -s "$drive" "/mnt/dev/drive-$1"
  shift
done
for directory in /etc /var /dev; do mount --bind /mnt$directory $directory; done
mkdir /dev/shm && mount -t tmpfs tmpfs /dev/shm
echo 'alice:x:1500:1500::/home/alice:/bin/sh' >>/etc/passwd
echo 'alice:*:19000:0:99999:7:::' >>/etc/shadow
echo 'alice:x:1500:' >>/etc/group
chown 1500:1500 /home/alice
if ! grep -q iso9660 /proc/filesystems; then
  chmod 755 /mnt/mount
  sed -i 's| mount -t iso9660 | /mnt/mount -t iso9660 |' /mnt/program
fi
"""
_LEFT: Final = r"""
grep configdrive-guest /proc/mounts | show left.mounts
find /run/configdrive-guest -mindepth 1 ! -name lock 2>/dev/null | show left.files
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scenario has shown under one shell."""

    shell: str
    parts: dict[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        return self.parts[name]

    def text(self, name: str) -> str:
        return self.parts[name].decode()

    def code(self, step: str) -> int:
        """How a step ended; 124 is a command that did not come to an end by itself."""
        return int(self.parts[f"{step}.code"])


def play(drives: Sequence[Path], scenario: str, scratch: Path) -> list[Seen]:
    """Play a scenario under each shell, and see that nothing is left mounted or lying about.

    Args:
        drives: images, at most nine; they are `/dev/drive-a` and so on.
        scenario: a script; `step`, `show`, `guest`, `hide` and `configure` are at hand.
        scratch: a directory for what this needs besides.

    Raises:
        RigUnavailable: a program is missing on this machine, it has no loop devices for us, or we are not root.
    """
    if os.geteuid() != 0:
        raise RigUnavailable("the guest's program needs root, and so does a system of its own")
    for shell, package in _PACKAGES.items():
        find_program(shell, package)
    find_program("bsdtar", "libarchive-tools")
    script = scratch / "scenario"
    script.write_text(f"{_TOOLS}\n{scenario}\n{_LEFT}")
    with loops(drives) as devices:
        return [_play(shell, devices, script) for shell in SHELLS]


@contextlib.contextmanager
def loops(images: Sequence[Path]) -> Iterator[list[str]]:
    """Give each image a loop device that cannot be written to, and take it back at the end.

    Raises:
        RigUnavailable: the machine has none for us.
    """
    losetup = find_program("losetup", "mount")
    with contextlib.ExitStack() as ending:
        devices = []
        for path in images:
            done = subprocess.run(
                [losetup, "-r", "--show", "-f", path], check=False, capture_output=True, text=True, timeout=600
            )
            if done.returncode != 0:
                raise RigUnavailable(f"no loop device for us: {done.stderr.strip()}")
            devices.append(done.stdout.strip())
            ending.callback(subprocess.run, [losetup, "-d", devices[-1]], check=True, timeout=300)
        yield devices


def _play(shell: str, devices: Sequence[str], script: Path) -> Seen:
    variables = {"shell": SHELLS[shell], "source": str(PROGRAM), "drives": " ".join(devices)}
    words = " ".join(f"{name}={quote(value)}" for name, value in variables.items())
    # A process namespace too: what a scenario starts in the background ends with it.
    unshare = [find_program("unshare", "util-linux"), "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*unshare, "sh", "-c", f"{words} . {quote(str(script))}"],
        input=_MOUNT,
        capture_output=True,
        check=False,
        text=True,
        timeout=_TIMEOUT,
    )
    parts = {part: base64.b64decode(content) for part, content in _SHOWN.findall(done.stdout)}
    assert parts.get("left.mounts") == b"", f"{shell}: {done.stdout}{done.stderr}"
    assert parts.get("left.files") == b"", f"{shell}: {done.stdout}{done.stderr}"
    return Seen(shell, parts)


def opens(shadow: str, user: str, password: str) -> bool:
    """Say whether a password is that of a user in `/etc/shadow`, by the system's own crypt(3)."""
    [known] = [line.split(":")[1] for line in shadow.splitlines() if line.startswith(f"{user}:")]
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made: bytes | None = library.crypt(password.encode(errors="surrogateescape"), known.encode())
    return made is not None and made.decode() == known
