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


def is_in(path: str | None, store: str, other: str, other_store: str) -> bool:
    """Say whether two datastore paths are the same file: VMFS does not tell capitals from small letters.

    Args:
        path: one of them.
        store: managed object id of its datastore, which may be called otherwise now; empty when it is not said.
        other: the other one.
        other_store: its datastore's.
    """
    if path is None:
        return False
    (name, file), (other_name, other_file) = split(path), split(other)
    return (store == other_store if store else name == other_name) and file.lower() == other_file.lower()


def directory_of(path: str) -> str:
    """Return the directory of a datastore path, without the datastore; nothing of a file at the top."""
    return split(path)[1].rpartition("/")[0]


def image_at(path: str) -> ImageName | None:
    """Read the name of an image of a fleet from a datastore path, however it is capitalised."""
    file = split(path)[1].rpartition("/")[2]
    return ImageName.parse(file) or ImageName.parse(file.lower())
