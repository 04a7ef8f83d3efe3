"""Makes a stock Debian 12 by debootstrap: with cloud-init as a root file system, and a bare one as a directory.

Nothing is set in the first that concerns cloud-init: its configuration is Debian's own.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rigs.guest.packages import put_in_place
from rigs.process import RigError, RigUnavailable, cache_directory, find_program
from rigs.trees import in_own_mounts, scratch_tree

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


def stock_root() -> Path:
    """Return a root file system (raw ext4) with cloud-init, to be copied; `.cache/debian` of the checkout keeps it.

    Raises:
        RigUnavailable, RigError: as `bootstrap`.
    """
    cache = cache_directory("debian")
    target = cache / f"{_SUITE}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}.ext4"
    if not target.exists():
        with scratch_tree(cache, "make-") as scratch:  # debootstrap mounts /proc in it
            root, image = scratch / "root", scratch / "root.ext4"
            bootstrap(root, _PACKAGES)
            shutil.rmtree(root / "var/cache/apt")
            (root / "etc/hostname").write_text("nameless\n")
            _run([find_program("mkfs.ext4", "e2fsprogs"), "-q", "-d", str(root), str(image), _SIZE])
            put_in_place(image, target)
    return target


def bare_root(packages: Sequence[str]) -> Path:
    """Return a root directory with some packages, to be copied; kept as the other is.

    Raises:
        RigUnavailable, RigError: as `bootstrap`.
    """
    cache = cache_directory("debian")
    target = cache / f"bare-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    if not target.exists():
        with scratch_tree(cache, "make-") as scratch:
            bootstrap(scratch / "root", packages)
            put_in_place(scratch / "root", target)
    return target


def bootstrap(root: Path, packages: Sequence[str] = ()) -> None:
    """Make a root directory of Debian 12's smallest variant with some packages; what was fetched once is kept.

    One at a time: two would fetch the same packages into one directory. After a failure nothing of them is kept, for
    debootstrap does not fetch again what is there and spoilt.

    Raises:
        RigUnavailable: root's rights or debootstrap are missing on this machine.
        RigError: debootstrap failed; with the end of what it said.
    """
    if os.geteuid() != 0:
        raise RigUnavailable("debootstrap needs root")
    fetched = cache_directory("debian/packages")
    options = ["--variant=minbase", f"--cache-dir={fetched}"]
    options += [f"--include={','.join(packages)}"] if packages else []
    debootstrap = find_program("debootstrap", "debootstrap")
    with fetched.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _run(in_own_mounts([debootstrap, *options, _SUITE, str(root), *_mirror()]))
        except RigError:
            for package in fetched.iterdir():
                package.unlink()
            raise


def _mirror() -> Sequence[str]:
    """Return the mirror that this machine's apt takes the suite from, if it does; debootstrap knows one itself."""
    apt_get = find_program("apt-get", "apt")
    targets = _run([apt_get, "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    return [uri for name, uri in (line.split() for line in targets.splitlines()) if name == _SUITE][:1]


def _run(command: Sequence[str]) -> str:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace", env=environment, timeout=_NEVER_HANGS
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise RigError(f"{Path(command[0]).name} failed:\n{said}")
    return done.stdout
