"""Writes an initial RAM disk: cpio's `newc` form (Linux, Documentation/driver-api/early-userspace/buffer-format)."""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ALIGNMENT = 4


class Archive:
    """Files, directories and device nodes, all of root; no file system, and so no rights, are needed to make them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._directories: set[PurePosixPath] = {PurePosixPath(".")}
        self._inode = 0

    def directory(self, path: str) -> None:
        """Add a directory and those above it, unless they are there."""
        self._directory(PurePosixPath(path))

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """Add a file, and the directories above it."""
        target = PurePosixPath(path)
        self._directory(target.parent)
        self._add(target, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def device(self, path: str, major: int, minor: int) -> None:
        """Add a character device, and the directories above it."""
        target = PurePosixPath(path)
        self._directory(target.parent)
        self._add(target, stat.S_IFCHR | 0o600, device=(major, minor))

    def write(self, path: Path) -> None:
        """Write the archive as it is now."""
        end = _entry(0, PurePosixPath("TRAILER!!!"), 0)
        path.write_bytes(b"".join([*self._parts, end]))

    def _directory(self, path: PurePosixPath) -> None:
        if path not in self._directories:
            self._directory(path.parent)
            self._directories.add(path)
            self._add(path, stat.S_IFDIR | 0o755)

    def _add(self, path: PurePosixPath, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        self._parts.append(_entry(self._inode, path, mode, content, device))


def _entry(inode: int, path: PurePosixPath, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    name = str(path).encode() + b"\0"
    links, user, group, modified = 1, 0, 0, 0
    fields = (inode, mode, user, group, links, modified, len(content), 0, 0, *device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
