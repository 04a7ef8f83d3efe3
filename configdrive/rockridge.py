"""Reads what Rock Ridge adds to a directory record: the name, mode and owner that Linux shows.

The reading half only, for `configdrive.iso9660`. Sources: SUSP 1.12 (how entries follow one another) and RRIP 1.09.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTOR: Final = 2048
_ALWAYS: Final = frozenset({b"RR", b"PX", b"TF"})
_ROOT_ONLY: Final = frozenset({b"SP", b"ER"})
_SUSP_MARK: Final = b"\xbe\xef\x00"
_MODIFIED_READ_CHANGED: Final = b"\x0e"
"""The dates that our builder records (RRIP 4.1.6)."""
_EXTENSION: Final = b"RRIP_1991A"
_NO_MORE: Final = (b"", b"\0")
"""What may stand behind the last entry: a byte that makes the record's length even."""
_HEAD: Final = struct.Struct("<2sBB")
_OWNER: Final = struct.Struct("<8s8s8s8s")
_FIELDS_WITHOUT_NAME, _FIELDS_WITH_NAME = b"\x81", b"\x89"
"""`RR`: which entries a record has; bit 3 is the name."""


class DamagedImageError(Exception):
    """An image is not as it must be. The text names the structure and never what stands in a file."""


@dataclass(frozen=True, slots=True)
class Posix:
    """What `stat` shows in a Linux guest: the mode with its type bits, the link count, and the owner's numbers."""

    mode: int
    links: int
    uid: int
    gid: int


def require(condition: object, otherwise: str) -> None:
    """Go on, or say what is damaged."""
    if not condition:
        raise DamagedImageError(otherwise)


def both(field: bytes) -> int:
    """Read a number that is stored little-endian, then big-endian (ECMA-119 7.2.3, 7.3.3)."""
    half = len(field) // 2
    number = int.from_bytes(field[:half], "little")
    require(field[half:] == number.to_bytes(half, "big"), "a number differs between its two byte orders")
    return number


def system_use(content: bytes, area: bytes, date: bytes, *, begins_tree: bool) -> tuple[str, Posix]:
    """Read a record's system use area.

    Args:
        content: the whole image; an area may be continued elsewhere.
        area: the bytes behind the record's identifier.
        date: the seven bytes that all dates of the record must have.
        begins_tree: whether this is the root's record of itself, which announces Rock Ridge.

    Returns:
        The name, empty for a directory's records of itself and its parent, and what `stat` shows.
    """
    entries = dict[bytes, bytes]()
    for signature, payload in _entries(content, area):
        require(signature not in entries, "a Rock Ridge entry stands twice in a record")
        entries[signature] = payload
    name = entries.pop(b"NM", b"")
    require(
        entries.keys() == (_ALWAYS | _ROOT_ONLY if begins_tree else _ALWAYS), "a record has other Rock Ridge entries"
    )
    require(
        entries[b"RR"] == (_FIELDS_WITH_NAME if name else _FIELDS_WITHOUT_NAME), "a Rock Ridge entry is not announced"
    )
    require(entries[b"TF"] == _MODIFIED_READ_CHANGED + date * 3, "a Rock Ridge date differs from the volume's")
    require(not name.startswith(b"\x01"), "a Rock Ridge name is split")
    if begins_tree:
        length = entries[b"ER"][0]
        require(
            entries[b"SP"] == _SUSP_MARK and entries[b"ER"][4 : 4 + length] == _EXTENSION, "Rock Ridge is not announced"
        )
    try:
        fields = _OWNER.unpack(entries[b"PX"])
    except struct.error:
        raise DamagedImageError("a Rock Ridge owner entry has the wrong length") from None
    return name[1:].decode("ascii"), Posix(*map(both, fields))


def _entries(content: bytes, area: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield signature and payload of each entry, also of a continuation (SUSP 4, 5.1)."""
    is_continued = False
    while area not in _NO_MORE:
        signature, length, version = _HEAD.unpack_from(area)
        sound = _HEAD.size <= length <= len(area) and version == 1
        require(sound, "a Rock Ridge entry has the wrong length or version")
        payload, area = area[_HEAD.size : length], area[length:]
        if signature == b"CE":
            require(not is_continued and area in _NO_MORE, "a Rock Ridge continuation is not at the end of its record")
            is_continued = True
            block, offset, size = both(payload[:8]), both(payload[8:16]), both(payload[16:24])
            start = block * _SECTOR + offset
            area = content[start : start + size]
            require(len(area) == size > 0, "a Rock Ridge continuation is outside of the image")
        else:
            yield signature, payload
