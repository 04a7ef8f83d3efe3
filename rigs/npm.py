"""Packages of npm, pinned with their hashes: fetched once, into the cache."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from rigs.guest.packages import put_in_place
from rigs.process import RigUnavailable, cache_directory, find_program

_PINNED: Final = ("package.json", "package-lock.json")
_TIMEOUT: Final = 300.0
"""Seconds for npm, which fetches a few small packages."""


def modules(pinned_in: Path) -> Path:
    """Return the `node_modules` of what a folder's package.json and package-lock.json name.

    Raises:
        RigUnavailable: npm is missing, or cannot fetch a package.
    """
    cache = cache_directory(pinned_in.name)
    pinned = b"".join((pinned_in / name).read_bytes() for name in _PINNED)
    target = cache / hashlib.sha256(pinned).hexdigest()[:12]
    if not target.exists():
        npm = find_program("npm", "npm")
        with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
            directory = Path(scratch) / "modules"
            directory.mkdir()
            for name in _PINNED:
                shutil.copy(pinned_in / name, directory)
            argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            if done.returncode:
                raise RigUnavailable(f"npm could not fetch {pinned_in.name}: {done.stderr[-500:]}")
            put_in_place(directory, target)
    return target / "node_modules"
