"""The readers' own code: Debian's packages, fetched and unpacked below the checkout's cache.

None is installed: cloud-init would act at this machine's next boot.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from rigs.guest.packages import Packages, put_in_place, unpack
from rigs.process import RigUnavailable, cache_directory

# What ds-identify and DataSourceConfigDrive import, directly or not; cloud-init's other dependencies are programs.
_CLOUD_INIT: Final = (
    "cloud-init",
    *("python3-attr", "python3-certifi", "python3-chardet", "python3-configobj", "python3-idna", "python3-jinja2"),
    *("python3-json-pointer", "python3-jsonpatch", "python3-jsonschema", "python3-markupsafe", "python3-netifaces"),
    *("python3-oauthlib", "python3-pyrsistent", "python3-requests", "python3-six", "python3-urllib3", "python3-yaml"),
)


def cloud_init() -> Path:
    """Return the directory that has cloud-init's `usr`.

    Raises:
        RigUnavailable: the packages cannot be had, or Debian's own Python is not there to run it.
    """
    if not Path("/usr/bin/python3").exists():
        raise RigUnavailable("cloud-init runs on Debian's own Python; apt-get install --no-install-recommends python3")
    return _unpacked("cloud-init", _CLOUD_INIT)


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
