"""The second opinion on a finished image: it is read in full, and must have all that was asked for, and no more.

Shares no code with the builder; the reader is `configdrive.iso.read`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from configdrive.contents.render import DIRECTORIES, MOST_OF_ITS_OWN
from configdrive.errors import PermanentCode, PermanentError
from configdrive.iso import read
from configdrive.iso.ecma119 import SECTOR, DamagedImageError
from configdrive.iso.rockridge import Posix

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from configdrive.iso.read import Tree, Volume

_FILE_MODE: Final = 0o100555
_DIRECTORY_MODE: Final = 0o040555
"""`-r-xr-xr-x` and `dr-xr-xr-x`, as the specification's listing shows them."""
_DATE: Final = "%Y%m%d%H%M%S00"
"""A date in hundredths of a second; a zero byte for the time zone follows (ECMA-119 8.4.26.1)."""


def verify(
    content: bytes,
    files: Mapping[str, bytes],
    label: str,
    directories: Collection[str] = DIRECTORIES,
    *,
    built_at: float | None = None,
) -> Volume:
    """Read a finished image in full and compare it with what it was made for, in both trees.

    Args:
        content: the image.
        files: content by path, as it was asked for; and so all that follows.
        label: the volume label.
        directories: those that the drive has though nothing stands in them.
        built_at: the date of everything, in seconds since 1970-01-01 UTC; `None` takes any, if all have the same.

    Raises:
        PermanentError: `UNCLASSIFIED`, naming the structure or the path that is not as wanted.
    """
    try:
        volume = read.read(content)
    except DamagedImageError as error:
        raise _damaged(str(error)) from None
    if volume.label != label:
        raise _damaged("the label is another one")
    if built_at is not None and volume.date != time.strftime(_DATE, time.gmtime(int(built_at))).encode() + b"\0":
        raise _damaged("the date is another one")
    folders = {"", *directories, *_above(directories), *_above(files)}
    for tree in (volume.primary, volume.joliet):
        _compare(content, tree, files, folders)
    for path, posix in _wanted_posix(folders, files).items():
        if volume.primary[path].posix != posix:
            raise _damaged(f"/{path} has another mode, link count or owner")
    return volume


def _compare(content: bytes, tree: Tree, files: Mapping[str, bytes], folders: Collection[str]) -> None:
    if {path for path, node in tree.items() if node.is_directory} != folders:
        raise _damaged("the directories are others")
    if {path for path, node in tree.items() if not node.is_directory} != files.keys():
        raise _damaged("the files are others")
    for path, data in files.items():
        node = tree[path]
        start = node.extent * SECTOR
        end = start + len(data)
        behind = content[end : end + -end % SECTOR].strip(b"\0")
        if node.size != len(data) or not content.startswith(data, start) or behind:
            raise _damaged(f"/{path} has another content, or something behind it")
    own = [tree[path].extent for path, data in files.items() if 0 < len(data) <= MOST_OF_ITS_OWN]
    if len(set(own)) != len(own):
        raise _damaged("two files share a small content")


def _damaged(what: str) -> PermanentError:
    return PermanentError(
        PermanentCode.UNCLASSIFIED,
        f"the finished image does not read back: {what}",
        "nothing was uploaded; retry the event, and if it happens again check this machine's memory and report it",
    )


def _wanted_posix(folders: Collection[str], files: Mapping[str, bytes]) -> dict[str, Posix]:
    links = dict.fromkeys(folders, 2)
    for path in folders:
        if path:
            links[path.rpartition("/")[0]] += 1
    return {path: Posix(_DIRECTORY_MODE, links[path], uid=0, gid=0) for path in folders} | dict.fromkeys(
        files, Posix(_FILE_MODE, links=1, uid=0, gid=0)
    )


def _above(paths: Iterable[str]) -> Iterator[str]:
    """Yield each directory that one of the paths is in."""
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            yield "/".join(parts[:depth])
