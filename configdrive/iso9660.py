"""Reads an ISO 9660 image back, as strictly as it can: the second opinion on what the image builder has written.

Shares no code with the builder. Follows ECMA-119 (volume descriptors, path tables, directory records) and the Joliet
specification; `configdrive.rockridge` reads what Rock Ridge adds to a record. Takes only images as this fleet makes
them: whatever a reader could understand in another way (hidden or multi-extent files, interleaving, further volumes)
counts as damage.

Must not know what stands on a config drive; comparing with what was wanted is `configdrive.image`'s.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from configdrive.rockridge import DamagedImageError, Posix, both, require, system_use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECTOR: Final = 2048
"""Bytes of a logical sector and of a logical block (ECMA-119 6.1.2)."""

SYSTEM_AREA: Final = 16 * SECTOR
"""Bytes before the first volume descriptor. All zero: no partition table may make something else of the drive."""

_PRIMARY: Final = (1, 1)
_ENHANCED: Final = (2, 2)
_JOLIET: Final = (2, 1)
_TERMINATOR: Final = (255, 1)
"""Type and version of the volume descriptors."""

_JOLIET_LEVEL_3: Final = b"%/E".ljust(32, b"\0")
_DIRECTORY: Final = 2
"""The only flag of a directory record that may be set; the others hide files, split them or attach them to others."""

# type, identifier, version, flags, system, label, unused, size, escapes, set size, number, block, path table's size,
# its place little-endian and big-endian, the root's record
_DESCRIPTOR: Final = Struct("<B5sBB32s32s8s8s32s4s4s4s8sI4s4s4s34s")
_DATES: Final = Struct("<17s17s17s17sB")
_DATES_AT: Final = 813
_NEVER: Final = b"0" * 16 + b"\0"
_DATE_DIGITS: Final = (slice(4, 6), slice(6, 8), slice(8, 10), slice(10, 12), slice(12, 14))

_ITSELF, _PARENT = ".", ".."
_VERSION: Final = ";1"

# length, extended attributes, extent, size, date, flags, unit, gap, volume, length of the name
_RECORD: Final = Struct("<BB8s8s7sBBB4sB")


@dataclass(frozen=True, slots=True)
class Node:
    """A file or directory: its first sector, its length in bytes, and what Linux shows (`None` in the Joliet tree)."""

    extent: int
    size: int
    is_directory: bool
    posix: Posix | None


Tree: TypeAlias = "Mapping[str, Node]"
"""All nodes by their path without a leading slash; the root directory is `""`."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What a reader finds: the label, the tree that Linux shows (Rock Ridge) and the one Windows shows (Joliet)."""

    label: str
    primary: Tree
    joliet: Tree


@dataclass(frozen=True, slots=True)
class _Descriptor:
    kind: tuple[int, int]
    label: str
    date: bytes
    path_table_size: int
    little_path_table: int
    big_path_table: int
    root: bytes

    @property
    def encoding(self) -> str:
        """How names are written."""
        return "utf-16-be" if self.kind == _JOLIET else "ascii"

    @property
    def record_date(self) -> bytes:
        """The volume's date as directory records spell it (ECMA-119 9.1.5)."""
        digits = self.date
        return bytes([int(digits[:4]) - 1900, *(int(digits[part]) for part in _DATE_DIGITS), digits[16]])


class _Belongs(Enum):
    """Where a directory record stands: what Rock Ridge adds to it depends on that."""

    TO_DESCRIPTOR = auto()
    TO_ROOT_ITSELF = auto()
    TO_DIRECTORY = auto()


def read(content: bytes) -> Volume:
    """Read a whole image.

    Raises:
        DamagedImageError: naming the structure that is not as it must be; never what stands in a file.
    """
    try:
        return _read(content)
    except (struct.error, IndexError, ValueError) as error:
        raise DamagedImageError(f"a structure is cut off or unreadable ({type(error).__name__})") from None


def _read(content: bytes) -> Volume:
    require(len(content) % SECTOR == 0, "the image's length is no multiple of a sector")
    require(content.startswith(bytes(SYSTEM_AREA)), "the system area is not empty")
    descriptors = list(_descriptors(content))
    require([one.kind for one in descriptors] == [_PRIMARY, _ENHANCED, _JOLIET], "not the three volume descriptors")
    primary, enhanced, joliet = descriptors
    require(primary.label == enhanced.label == joliet.label, "the volume descriptors differ in their label")
    require(primary.date == enhanced.date == joliet.date, "the volume descriptors differ in their date")
    require(
        (primary.root, primary.path_table_size, primary.little_path_table, primary.big_path_table)
        == (enhanced.root, enhanced.path_table_size, enhanced.little_path_table, enhanced.big_path_table),
        "the enhanced volume descriptor shows another tree than the primary one",
    )
    return Volume(primary.label, _TreeReader(content, primary).read(), _TreeReader(content, joliet).read())


def _descriptors(content: bytes) -> Iterator[_Descriptor]:
    for offset in range(SYSTEM_AREA, len(content), SECTOR):
        require(content[offset + 1 : offset + 6] == b"CD001", "a volume descriptor has no identifier")
        kind = (content[offset], content[offset + 6])
        if kind == _TERMINATOR:
            return
        yield _descriptor(content, offset, kind)
    raise DamagedImageError("the volume descriptors have no end")


def _descriptor(content: bytes, offset: int, kind: tuple[int, int]) -> _Descriptor:
    """Read a primary or supplementary volume descriptor (ECMA-119 8.4, 8.5)."""
    (
        *_, flags, _system, label, unused, space, escapes, set_size, number, block,
        table_size, little_table, optional_little, big_table, optional_big, root,
    ) = _DESCRIPTOR.unpack_from(content, offset)  # fmt: skip
    require(
        flags == 0
        and not any(unused + optional_little + optional_big)
        and escapes == (_JOLIET_LEVEL_3 if kind == _JOLIET else bytes(32))
        and both(space) * SECTOR == len(content)
        and (both(set_size), both(number), both(block)) == (1, 1, SECTOR),
        "a volume descriptor is not one of ours, or disagrees with the image's length",
    )
    created, changed, expires, effective, version = _DATES.unpack_from(content, offset + _DATES_AT)
    require(created == changed == effective and expires == _NEVER, "a volume descriptor's dates differ")
    require(version == kind[1], "a volume descriptor has the wrong file structure version")
    return _Descriptor(
        kind=kind,
        label=label.decode("utf-16-be" if kind == _JOLIET else "ascii").rstrip(" "),
        date=created,
        path_table_size=both(table_size),
        little_path_table=little_table,
        big_path_table=int.from_bytes(big_table, "big"),
        root=root,
    )


class _TreeReader:
    """Reads one of the two trees: the directories from the root down, then the path tables, which must agree."""

    def __init__(self, content: bytes, descriptor: _Descriptor) -> None:
        self._content = content
        self._descriptor = descriptor
        self._date = descriptor.record_date
        self._is_joliet = descriptor.kind == _JOLIET

    def read(self) -> Tree:
        name, root = self._record(self._descriptor.root, _Belongs.TO_DESCRIPTOR)
        require(root.is_directory and name == _ITSELF, "the root is no directory")
        nodes = {"": root}
        seen = {root.extent}
        waiting = deque([("", "")])
        while waiting:
            path, parent = waiting.popleft()
            records = self._records(nodes[path], is_root=not path)
            name, itself = next(records)
            if not path:  # only the root's record of itself tells what `stat` shows
                nodes[""] = replace(root, posix=itself.posix)
            require((name, itself) == (_ITSELF, nodes[path]), "a directory's record of itself is wrong")
            require(next(records) == (_PARENT, nodes[parent]), "a directory's record of its parent is wrong")
            for name, node in records:
                child = f"{path}/{name}" if path else name
                require(child not in nodes and "/" not in name, "a directory has a name twice, or one with a slash")
                nodes[child] = node
                if node.is_directory:
                    require(node.extent not in seen, "two directories are the same one")
                    seen.add(node.extent)
                    waiting.append((child, path))
        extents = {path: node.extent for path, node in nodes.items() if node.is_directory}
        for start, order in ((self._descriptor.little_path_table, "<"), (self._descriptor.big_path_table, ">")):
            require(self._path_table(start * SECTOR, order) == extents, "a path table disagrees with the directories")
        return nodes

    def _records(self, directory: Node, *, is_root: bool) -> Iterator[tuple[str, Node]]:
        """Yield name and node of each record (ECMA-119 6.8.1: no record crosses a sector's end)."""
        start = directory.extent * SECTOR
        require(directory.size % SECTOR == 0 < directory.size, "a directory's length is no multiple of a sector")
        belongs = _Belongs.TO_ROOT_ITSELF if is_root and not self._is_joliet else _Belongs.TO_DIRECTORY
        for sector in range(start, start + directory.size, SECTOR):
            offset, end = sector, sector + SECTOR
            while offset < end and self._content[offset]:
                length = self._content[offset]
                yield self._record(self._content[offset : min(offset + length, end)], belongs)
                belongs = _Belongs.TO_DIRECTORY
                offset += length
            require(not self._content[offset:end].strip(b"\0"), "something stands behind a directory's records")

    def _record(self, raw: bytes, belongs: _Belongs) -> tuple[str, Node]:
        """Read a directory record (ECMA-119 9.1)."""
        length, attributes, extent, size, date, flags, unit, gap, volume, name_length = _RECORD.unpack_from(raw)
        require(
            length == len(raw) and (attributes, unit, gap, both(volume)) == (0, 0, 0, 1) and flags in {0, _DIRECTORY},
            "a directory record has the wrong length, or says something that no file of ours needs",
        )
        require(date == self._date, "a record's date differs from the volume's")
        is_directory = flags == _DIRECTORY
        end = _RECORD.size + name_length
        name = self._name(raw[_RECORD.size : end], is_directory=is_directory)
        # The name is padded to an even number of bytes with what stands before it.
        padding, system = raw[end : end + end % 2], raw[end + end % 2 :]
        require(end <= length and length % 2 == 0 and not any(padding), "a directory record has a wrong name length")
        posix = None
        if belongs is not _Belongs.TO_DESCRIPTOR and not self._is_joliet:
            begins_tree = belongs is _Belongs.TO_ROOT_ITSELF
            shown, posix = system_use(self._content, system, date, begins_tree=begins_tree)
            require(shown == ("" if name in {_ITSELF, _PARENT} else name), "Rock Ridge shows another name")
        else:
            require(not system, "a directory record has more than it should")
        return name, Node(both(extent), both(size), is_directory, posix)

    def _name(self, identifier: bytes, *, is_directory: bool) -> str:
        if identifier in {b"\0", b"\1"}:
            return _PARENT if identifier == b"\1" else _ITSELF
        name = identifier.decode(self._descriptor.encoding)
        if is_directory or self._is_joliet:
            return name
        require(name.endswith(_VERSION), "a file has no version number")
        return name.removesuffix(_VERSION)

    def _path_table(self, start: int, order: str) -> dict[str, int]:
        """Return each directory's extent as a path table tells it (ECMA-119 9.4)."""
        head = Struct(f"{order}BBIH")
        paths: list[str] = []
        extents: dict[str, int] = {}
        offset, end = start, start + self._descriptor.path_table_size
        while offset < end:
            length, attributes, extent, parent = head.unpack_from(self._content, offset)
            name = self._content[offset + head.size : offset + head.size + length]
            offset += head.size + length
            padding = length % 2
            require(
                attributes == 0
                and 1 <= parent <= max(len(paths), 1)
                and not any(self._content[offset : offset + padding]),
                "a path table's entry has no parent, or is padded with something",
            )
            offset += padding
            if paths:
                above = paths[parent - 1]
                paths.append(f"{above}/" * bool(above) + name.decode(self._descriptor.encoding))
            else:
                require(name == b"\0", "a path table does not begin with the root")
                paths.append("")
            extents[paths[-1]] = extent
        require(offset == end and len(extents) == len(paths), "a path table has the wrong length, or a directory twice")
        return extents
