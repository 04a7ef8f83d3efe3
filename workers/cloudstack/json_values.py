"""Reading foreign JSON: whatever lies at a place, the answer is of the type asked for, or nothing. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from configdrive.model import UUID_PATTERN, VmUuid

Document = Mapping[str, Any]

_UUID: Final = re.compile(UUID_PATTERN)
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOTHING: Final[Document] = {}


def document(value: object) -> Document:
    """Return an object of JSON, whether it stands there as such or as a string of JSON; an empty one otherwise.

    Before 4.16 CloudStack writes `cmdInfo` as a string, and `jobResult` as `<class>/<name>/<JSON>`.
    """
    if isinstance(value, str):
        start = value.find("{")
        value = loads(value[start:]) if start >= 0 else None
    return value if isinstance(value, Mapping) else _NOTHING


def loads(text: str | bytes) -> object:
    """Return what a text says, `None` when it is no JSON (or has thousands of brackets or digits)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def text(value: object) -> str | None:
    """Return a string that is not empty."""
    return value if isinstance(value, str) and value else None


def word(value: object) -> str:
    """Return a word as CloudStack has them for types, states and jobs; an empty one for all else.

    Such a word may stand in a log and in a dead letter: there is no sentence, line break or half a character in it.
    """
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def uuid(value: object) -> VmUuid | None:
    """Return a uuid, in lower case."""
    if not isinstance(value, str):
        return None
    lower = value.strip().lower()
    return VmUuid(lower) if _UUID.fullmatch(lower) else None


def uuids_in(prose: object) -> set[VmUuid]:
    """Return the uuids in a sentence."""
    return {VmUuid(found) for found in _UUID.findall(prose.lower())} if isinstance(prose, str) else set()


def documents(value: object) -> list[Document]:
    """Return the objects of a list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [item for item in value if isinstance(item, Mapping)]
