"""The readers' own code: Debian's packages, fetched and unpacked below the checkout's cache.

None is installed: cloud-init would act at this machine's next boot.
"""

import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from rigs.guest.packages import Packages, fetch_pinned, put_in_place, unpack
from rigs.process import RigUnavailable, cache_directory

# What ds-identify and DataSourceConfigDrive import, directly or not; cloud-init's other dependencies are programs.
_CLOUD_INIT: Final = (
    "cloud-init",
    *("python3-attr", "python3-certifi", "python3-chardet", "python3-configobj", "python3-idna", "python3-jinja2"),
    *("python3-json-pointer", "python3-jsonpatch", "python3-jsonschema", "python3-markupsafe", "python3-netifaces"),
    *("python3-oauthlib", "python3-pyrsistent", "python3-requests", "python3-six", "python3-urllib3", "python3-yaml"),
)

_NEWER: Final = "pool/main/c/cloud-init/cloud-init_25.1.4-1+deb13u1_all.deb"
_NEWER_SHA256: Final = "1b120a44110e7234c9cf9ccde78fb5d5ea1292c94ef0ca70d09a580f72980df3"


def cloud_init() -> Path:
    """Return the directory that has cloud-init's `usr`.

    Raises:
        RigUnavailable: the packages cannot be had, or Debian's own Python is not there to run it.
    """
    if not Path("/usr/bin/python3").exists():
        raise RigUnavailable("cloud-init runs on Debian's own Python; apt-get install --no-install-recommends python3")
    return _compiled(_unpacked("cloud-init", _CLOUD_INIT))


def newer_cloud_init() -> Path:
    """Return the directory that has the `usr` of a newer cloud-init, Debian 13's; it runs with the other one's beside.

    Raises:
        RigUnavailable: as `cloud_init`; or the mirror that this machine's apt uses has it no more.
    """
    cache = cache_directory("readers")
    target = cache / f"cloud-init-{_NEWER_SHA256[:12]}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="unpack-") as scratch:
            fetch_pinned(_NEWER, _NEWER_SHA256, Path(scratch))
            root = Path(scratch) / "root"
            unpack(Path(scratch), root)
            put_in_place(root, target)
    return _compiled(target)


def ignition() -> Path:
    """Return the Ignition program, as Debian's initial RAM disks carry it.

    Raises:
        RigUnavailable: the package cannot be had.
    """
    return _unpacked("ignition", ("ignition",)) / "usr/lib/dracut/modules.d/30ignition/ignition"


def _unpacked(name: str, packages: tuple[str, ...]) -> Path:
    cache = cache_directory("readers")
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    target = cache / f"{name}-{key}"
    if not target.exists():
        fetched = cache / f"{name}-{key}.packages"
        if not fetched.exists():
            Packages(cache / "apt").fetch(packages, fetched)
        with tempfile.TemporaryDirectory(dir=cache, prefix="unpack-") as scratch:
            root = Path(scratch) / "root"
            unpack(fetched, root)
            put_in_place(root, target)
    return target


def _compiled(root: Path) -> Path:
    """Have what Debian's Python would compile at each start of a reader compiled once."""
    mark = root / "compiled"
    if not mark.exists():
        modules = root / "usr/lib/python3/dist-packages"
        subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", modules], check=False, timeout=600)
        mark.touch()
    return root
