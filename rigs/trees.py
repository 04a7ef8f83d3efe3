"""Removing a tree that something may be mounted in: `rm -r` through a mount deletes what is not ours."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigs.process import RigError, find_program


def mounts_below(root: Path) -> list[Path]:
    """Return the mount points in a tree, the innermost and latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4])) for line in lines]
    return [point for point in reversed(points) if point.is_relative_to(root.resolve())]


def remove_tree(root: Path) -> None:
    """Unmount all that is mounted in a tree, and remove it.

    Raises:
        RigError: something cannot be unmounted; nothing was removed.
    """
    for point in mounts_below(root):
        subprocess.run([find_program("umount", "mount"), str(point)], check=False, capture_output=True, timeout=600)
    if left := mounts_below(root):
        raise RigError(f"{root} is not removed: something is still mounted at {', '.join(map(str, left))}")
    shutil.rmtree(root)


@contextmanager
def scratch_tree(directory: Path, prefix: str) -> Iterator[Path]:
    """Have an empty directory that is removed afterwards as `remove_tree` does.

    Raises:
        RigError: as `remove_tree`.
    """
    root = Path(tempfile.mkdtemp(dir=directory, prefix=prefix))
    try:
        yield root
    finally:
        remove_tree(root)


def in_own_mounts(argv: list[str]) -> list[str]:
    """Return a command whose mounts and processes end with it, whatever ends it (root only)."""
    unshare = find_program("unshare", "util-linux")
    return [unshare, "--mount", "--pid", "--fork", "--kill-child", "--", *argv] if os.geteuid() == 0 else argv
