"""The reader of what Rock Ridge adds to a directory record: the name, mode and owner that Linux shows.

The reading half only, for `configdrive.iso.read`. Sources: SUSP 1.12 (how entries follow one another) and RRIP 1.09.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.iso.ecma119 import SECTOR, DamagedImageError, both, require

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALWAYS: Final = frozenset({b"RR", b"PX", b"TF"})
_ROOT_ONLY: Final = frozenset({b"SP", b"ER"})
_SUSP_MARK: Final = b"\xbe\xef\x00"
_MODIFIED_READ_CHANGED: Final = b"\x0e"
"""The dates that our builder records (RRIP 4.1.6)."""
_ANNOUNCEMENT: Final = (
    b"\x0a\x54\x87\x01"  # the lengths of the three texts, and the version
    b"RRIP_1991A"
    b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
    b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  "
    b"SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
)
"""`ER`, which the root's record of itself has (RRIP 1.09, 4.3)."""
_NO_MORE: Final = (b"", b"\0")
"""What may stand behind the last entry: a byte that makes the record's length even."""
_HEAD: Final = struct.Struct("<2sBB")
_OWNER: Final = struct.Struct("<8s8s8s8s")
_FIELDS_WITHOUT_NAME, _FIELDS_WITH_NAME = b"\x81", b"\x89"
"""`RR`: which entries a record has; bit 3 is the name."""


@dataclass(frozen=True, slots=True)
class Posix:
    """What `stat` shows in a Linux guest: the mode with its type bits, the link count, and the owner's numbers."""

    mode: int
    links: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class SystemUse:
    """What a record's system use area says. `name` is empty for a directory's records of itself and its parent.

    `dates` tells where the record's Rock Ridge dates stand, and `continued` where the area goes on, each as the
    offset and the length of a piece.
    """

    name: str
    posix: Posix
    dates: tuple[int, int, int]
    continued: tuple[tuple[int, int], ...]


def system_use(content: bytes, start: int, stop: int, date: bytes, *, begins_tree: bool) -> SystemUse:
    """Read a record's system use area.

    Args:
        content: the whole image; an area may be continued elsewhere.
        start: where the area begins, behind the record's identifier.
        stop: where the record ends.
        date: the seven bytes that all dates of the record must have.
        begins_tree: whether this is the root's record of itself, which announces Rock Ridge.
    """
    entries = dict[bytes, tuple[int, bytes]]()
    continued = list[tuple[int, int]]()
    for signature, offset, payload in _entries(content, start, stop, continued):
        require(signature not in entries, "a Rock Ridge entry stands twice in a record")
        entries[signature] = offset, payload
    _, name = entries.pop(b"NM", (0, b""))
    require(
        entries.keys() == (_ALWAYS | _ROOT_ONLY if begins_tree else _ALWAYS), "a record has other Rock Ridge entries"
    )
    require(
        entries[b"RR"][1] == (_FIELDS_WITH_NAME if name else _FIELDS_WITHOUT_NAME),
        "a Rock Ridge entry is not announced",
    )
    first, dates = entries[b"TF"]
    require(dates == _MODIFIED_READ_CHANGED + date * 3, "a Rock Ridge date differs from the volume's")
    first += len(_MODIFIED_READ_CHANGED)
    require(not name or name[0] == 0, "a Rock Ridge name is split, or is none")
    if begins_tree:
        announced = entries[b"SP"][1] == _SUSP_MARK and entries[b"ER"][1] == _ANNOUNCEMENT
        require(announced, "Rock Ridge is not announced")
    try:
        fields = _OWNER.unpack(entries[b"PX"][1])
    except struct.error:
        raise DamagedImageError("a Rock Ridge owner entry has the wrong length") from None
    posix = Posix(*map(both, fields))
    return SystemUse(
        name[1:].decode("ascii"), posix, (first, first + len(date), first + 2 * len(date)), tuple(continued)
    )


def _entries(
    content: bytes, start: int, stop: int, continued: list[tuple[int, int]]
) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield signature, place and payload of each entry, also of a continuation, which is noted (SUSP 4, 5.1)."""
    while (area := content[start:stop]) not in _NO_MORE:
        signature, length, version = _HEAD.unpack_from(area)
        sound = _HEAD.size <= length <= len(area) and version == 1
        require(sound, "a Rock Ridge entry has the wrong length or version")
        payload, area = area[_HEAD.size : length], area[length:]
        if signature == b"CE":
            at_end = not continued and area in _NO_MORE
            require(at_end, "a Rock Ridge continuation is not at the end of its record")
            block, offset, size = both(payload[:8]), both(payload[8:16]), both(payload[16:24])
            start = block * SECTOR + offset
            stop = start + size
            require(size > 0 and stop <= len(content), "a Rock Ridge continuation is outside of the image")
            continued.append((start, size))
        else:
            yield signature, start + _HEAD.size, payload
            start += length
