"""Makes the ISO image of a drive from its files, in memory, and reads it back before anybody gets it.

What stands in the files is `configdrive.contents`'; the reader for the second opinion is `configdrive.iso9660`.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from configdrive import iso9660, mastering
from configdrive.contents import DIRECTORIES, MAX_BYTES, WINDOWS_DEVICE
from configdrive.errors import PermanentCode, PermanentError
from configdrive.iso9660 import SECTOR
from configdrive.labels import label_problem
from configdrive.mastering import DIRECTORY_MODE, FILE_MODE
from configdrive.model import Image
from configdrive.rockridge import DamagedImageError, Posix

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from configdrive.model import ImageName

_NAME: Final = re.compile(rf"(?!{WINDOWS_DEVICE})[A-Za-z0-9._-]{{0,63}}[A-Za-z0-9_-]")
"""A name that every reader spells the same. Joliet has 64 characters; Windows drops a dot at the end."""
_MAX_DEPTH: Final = 8
_MAX_PATH: Final = 255
"""Levels of directories including the root, and characters of a path (ECMA-119 6.8.2.1)."""


def build(
    name: ImageName,
    files: Mapping[str, bytes],
    *,
    label: str,
    built_at: float,
    directories: Collection[str] = DIRECTORIES,
) -> Image:
    """Make an image and read it back.

    The same files, label and time give the same bytes, whenever, wherever and in whatever thread.

    Args:
        name: the image's name in the storage.
        files: content by path on the drive, with `/` between the parts and none in front.
        label: the volume label, the same in the primary and the Joliet descriptor.
        built_at: the date of everything on the drive: seconds since 1970-01-01 UTC, of which whole ones are kept.
        directories: those that the drive has though nothing stands in them.

    Raises:
        PermanentError: `INVALID_CONTENT` for a label or names that not every reader takes or tells apart,
            `CONTENT_TOO_LARGE` above 64 MiB, `UNCLASSIFIED` when the finished image does not read back.
        ValueError: `built_at` is before 1970 or after 2155, for which ISO 9660 has no date.
    """
    validate_label(label)
    folders = _folders(files, directories)
    _check_names([*folders, *files])
    _check_size(sum(_sectors(content) for content in set(files.values())) * SECTOR)
    content = mastering.master(files, folders, label, built_at)
    _check_size(len(content))
    verify(content, files, label, directories)
    return Image(name, label, content, hashlib.sha256(content).hexdigest())


def validate_label(label: str) -> None:
    """Take a volume label that readers on Linux and on Windows find, and refuse any other.

    Raises:
        PermanentError: `INVALID_CONTENT`, with the rule.
    """
    problem = label_problem(label)
    if problem is not None:
        raise PermanentError(PermanentCode.INVALID_CONTENT, f"label: {problem}", "give one like 'config' or 'config-2'")


def verify(
    content: bytes,
    files: Mapping[str, bytes],
    label: str,
    directories: Collection[str] = DIRECTORIES,
) -> None:
    """Read a finished image and compare it with what it was made for, in both trees: every byte, name, mode and owner.

    Raises:
        PermanentError: `UNCLASSIFIED`, naming the structure or the path that is not as wanted.
    """
    try:
        volume = iso9660.read(content)
    except DamagedImageError as error:
        raise _damaged(str(error)) from None
    if volume.label != label:
        raise _damaged("the label is another one")
    wanted = {"", *_folders(files, directories)}
    for tree in (volume.primary, volume.joliet):
        if {path for path, node in tree.items() if node.is_directory} != wanted:
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
    for path, posix in _wanted_posix(wanted, files).items():
        if volume.primary[path].posix != posix:
            raise _damaged(f"/{path} has another mode, link count or owner")


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
            links[_parent(path)] += 1
    return {path: Posix(DIRECTORY_MODE, links[path], uid=0, gid=0) for path in folders} | dict.fromkeys(
        files, Posix(FILE_MODE, links=1, uid=0, gid=0)
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _folders(files: Mapping[str, bytes], directories: Collection[str]) -> list[str]:
    """Return all directories, each behind the one that it stands in."""
    found = set[str]()
    for path in (*directories, *map(_parent, files)):
        folder = path
        while folder and folder not in found:
            found.add(folder)
            folder = _parent(folder)
    return sorted(found)


def _check_names(paths: Collection[str]) -> None:
    """Refuse names that some reader cannot show or tell apart, before the builder gets to see them.

    pycdlib takes a duplicate in silence and corrupts both files. Beside each other stand the same name with hyphens and
    with underscores (both spellings are read in guests), but not in upper and lower case: Windows makes no difference,
    and `VM_ID.TXT` is what `vm-id.txt` becomes for a reader that knows neither Rock Ridge nor Joliet.
    """
    spelled = dict[str, str]()
    for path in paths:
        parts = path.split("/")
        if len(parts) >= _MAX_DEPTH or len(path) > _MAX_PATH or not all(map(_NAME.fullmatch, parts)):
            raise PermanentError(
                PermanentCode.INVALID_CONTENT,
                f"{path!r}: is no name for a file on the drive",
                "names have 1 to 64 letters, digits, '.', '_' and '-', no dot at the end, and are no Windows device",
            )
        plain = path.replace("-", "_")
        if spelled.setdefault(plain.lower(), plain) != plain:
            raise PermanentError(
                PermanentCode.INVALID_CONTENT,
                f"{path!r}: another name on the drive differs from it in upper and lower case only",
                "rename one of them",
            )
    if len(set(paths)) != len(paths):
        raise PermanentError(
            PermanentCode.INVALID_CONTENT, "a path is both a file and a directory", "rename one of them"
        )


def _sectors(content: bytes) -> int:
    return -(-len(content) // SECTOR)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise PermanentError(
            PermanentCode.CONTENT_TOO_LARGE,
            f"the drive would have {size} bytes; at most {MAX_BYTES} are allowed",
            "keep large content elsewhere and let the user data fetch it",
        )
