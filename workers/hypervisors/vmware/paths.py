"""Datastore paths, `[datastore] folder/file`: splitting and comparing them, and reading the name of an image."""

from __future__ import annotations

import re
from typing import Final

from configdrive.model import ImageName

_PATH: Final = re.compile(r"\[(?P<store>[^\]]*)\] ?(?P<file>.*)")


def split(path: str) -> tuple[str, str]:
    """Split a datastore path, `[datastore] folder/file`, into the datastore's name and the rest."""
    match = _PATH.fullmatch(path)
    return ("", path) if match is None else (match["store"], match["file"])


def same(path: str | None, other: str) -> bool:
    """Say whether two datastore paths are the same file: VMFS does not tell capitals from small letters."""
    return path is not None and split(path)[0] == split(other)[0] and split(path)[1].lower() == split(other)[1].lower()


def directory_of(path: str) -> str:
    """Return the directory of a datastore path, without the datastore; nothing of a file at the top."""
    return split(path)[1].rpartition("/")[0]


def image_at(path: str) -> ImageName | None:
    """Read the name of an image of a fleet from a datastore path, however it is capitalised."""
    file = split(path)[1].rpartition("/")[2]
    return ImageName.parse(file) or ImageName.parse(file.lower())
