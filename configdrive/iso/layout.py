"""The names on a drive: which ones may stand there, and what all images with the same names have in common.

A layout is prepared once for each set of names, and kept: what the builder fills in, and by what the reader knows the
result. Fleets have few layouts, as a drive's names follow from which values a VM has, not from what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from configdrive.contents.cloudstack import WINDOWS_DEVICE
from configdrive.errors import PermanentCode, PermanentError
from configdrive.iso import expected, template, write
from configdrive.iso.expected import Expected
from configdrive.iso.template import Template
from configdrive.iso.verify import verify
from configdrive.model import DEFAULT_LABEL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MOST_FILES: Final = 200
"""Files of a layout that is worth keeping. A drive with more has names of its own, and its layout would be large."""
_MOST_LAYOUTS: Final = 32
"""Layouts that a process keeps, the last ones used: about 200 KiB each, with the directories that drives have."""

_NAME: Final = re.compile(rf"(?!{WINDOWS_DEVICE})[A-Za-z0-9._-]{{0,63}}[A-Za-z0-9_-]")
"""A name that every reader spells the same. Joliet has 64 characters; Windows drops a dot at the end."""
_MAX_DEPTH: Final = 8
_MAX_PATH: Final = 255
"""Levels of directories including the root, and characters of a path (ECMA-119 6.8.2.1)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What images with the same names have in common, for the builder and for the reader. Holds nothing of any VM."""

    template: Template
    expected: Expected


@lru_cache(maxsize=_MOST_LAYOUTS)
def layout_of(paths: tuple[str, ...], directories: tuple[str, ...]) -> Layout:
    """Return the layout of all images with these names.

    It is made from an image whose contents are nobody's, which was written, and read back in full.

    Args:
        paths: the files, in order.
        directories: those that the drive has though nothing stands in them.

    Raises:
        PermanentError: as `checked_folders`, and as `configdrive.iso.verify.verify`.
    """
    folders = checked_folders(paths, directories)
    contents = template.sample(paths)
    image = write.write(contents, folders, DEFAULT_LABEL, built_at=0.0)
    volume = verify(image, contents, DEFAULT_LABEL, directories, built_at=0.0)
    return Layout(template.cut(image, paths), expected.learn(image, volume))


def checked_folders(paths: Collection[str], directories: Collection[str]) -> list[str]:
    """Return all directories of a drive, each behind the one that it stands in.

    Raises:
        PermanentError: `INVALID_CONTENT` for names that not every reader takes or tells apart.
    """
    folders = _folders(paths, directories)
    _check_names([*folders, *paths])
    return folders


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _folders(files: Iterable[str], directories: Collection[str]) -> list[str]:
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
