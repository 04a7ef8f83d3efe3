"""The reader of ISO 9660 images, as strict as it can be: the second opinion on what the builder has written.

Shares no code with the builder. Follows ECMA-119 (volume descriptors, path tables, directory records) and the Joliet
specification; `configdrive.iso.rockridge` reads what Rock Ridge adds to a record. Takes only images as this fleet makes
them: whatever a reader could understand in another way (hidden or multi-extent files, interleaving, further volumes)
counts as damage.

Must not know what stands on a config drive; comparing with what was wanted is `configdrive.iso.build`'s.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from configdrive.iso.descriptors import JOLIET, Descriptor, read_descriptors
from configdrive.iso.ecma119 import SECTOR, SYSTEM_AREA, DamagedImageError, both, require
from configdrive.iso.rockridge import Posix, system_use

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_DIRECTORY: Final = 2
"""The only flag of a directory record that may be set; the others hide files, split them or attach them to others."""

_ITSELF, _PARENT = ".", ".."
_VERSION: Final = ";1"

_DATE_AT: Final = 18
# length, extended attributes, extent, size, date, flags, unit, gap, volume, length of the name
_RECORD: Final = Struct("<BB8s8s7sBBB4sB")


@dataclass(frozen=True, slots=True)
class Node:
    """A file or directory: its first sector, its length in bytes, and what Linux shows (`None` in the Joliet tree).

    `record` is where the directory record begins that says so: of the root, the one in the volume descriptor.
    """

    extent: int
    size: int
    is_directory: bool
    posix: Posix | None
    record: int = field(compare=False)


Tree: TypeAlias = "Mapping[str, Node]"
"""All nodes by their path without a leading slash; the root directory is `""`."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What a reader finds: the label, the tree that Linux shows (Rock Ridge) and the one Windows shows (Joliet).

    `date` is the one of the volume and of everything in it, as a volume descriptor spells it (ECMA-119 8.4.26.1).
    `record_dates` tells where it stands in the seven bytes of a directory record (ECMA-119 9.1.5), wherever it does.
    """

    label: str
    date: bytes
    primary: Tree
    joliet: Tree
    record_dates: tuple[int, ...]


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
    primary, enhanced, joliet = read_descriptors(content)
    readers = _TreeReader(content, primary), _TreeReader(content, joliet)
    trees = readers[0].read(), readers[1].read()
    claimed = {(0, SYSTEM_AREA + 4 * SECTOR)}.union(*(reader.claimed for reader in readers))
    _require_nothing_between(content, claimed)
    dates = (enhanced.root_record + _DATE_AT, *readers[0].dates, *readers[1].dates)
    return Volume(primary.label, primary.date, trees[0], trees[1], dates)


def _require_nothing_between(content: bytes, claimed: Collection[tuple[int, int]]) -> None:
    """Require that nothing overlaps but files with the same content, and that all else is zero."""
    end = 0
    for start, size in [*sorted(claimed), (len(content), 0)]:
        require(start >= end, "two structures or contents overlap")
        require(not content[end:start].strip(b"\0"), "something stands where nothing points to")
        end = start + size


class _TreeReader:
    """Reads one of the two trees: the directories from the root down, then the path tables, which must agree."""

    def __init__(self, content: bytes, descriptor: Descriptor) -> None:
        self._content = content
        self._descriptor = descriptor
        self._date = descriptor.record_date
        self._is_joliet = descriptor.kind == JOLIET
        self.claimed: set[tuple[int, int]] = set()
        """Where structures and contents begin, and how many bytes they take."""
        self.dates: list[int] = []

    def read(self) -> Tree:
        start = self._descriptor.root_record
        name, root = self._record(start, start + len(self._descriptor.root), _Belongs.TO_DESCRIPTOR)
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
            self.claimed.add((start * SECTOR, self._descriptor.path_table_size))
        return nodes

    def _records(self, directory: Node, *, is_root: bool) -> Iterator[tuple[str, Node]]:
        """Yield name and node of each record (ECMA-119 6.8.1: no record crosses a sector's end)."""
        start = directory.extent * SECTOR
        require(directory.size % SECTOR == 0 < directory.size, "a directory's length is no multiple of a sector")
        self.claimed.add((start, directory.size))
        belongs = _Belongs.TO_ROOT_ITSELF if is_root and not self._is_joliet else _Belongs.TO_DIRECTORY
        for sector in range(start, start + directory.size, SECTOR):
            offset, end = sector, sector + SECTOR
            while offset < end and self._content[offset]:
                length = self._content[offset]
                yield self._record(offset, min(offset + length, end), belongs)
                belongs = _Belongs.TO_DIRECTORY
                offset += length
            require(not self._content[offset:end].strip(b"\0"), "something stands behind a directory's records")

    def _record(self, start: int, stop: int, belongs: _Belongs) -> tuple[str, Node]:
        """Read a directory record (ECMA-119 9.1)."""
        raw = self._content[start:stop]
        length, attributes, extent, size, date, flags, unit, gap, volume, name_length = _RECORD.unpack_from(raw)
        require(
            length == len(raw) and (attributes, unit, gap, both(volume)) == (0, 0, 0, 1) and flags in {0, _DIRECTORY},
            "a directory record has the wrong length, or says something that no file of ours needs",
        )
        require(date == self._date, "a record's date differs from the volume's")
        self.dates.append(start + _DATE_AT)
        is_directory = flags == _DIRECTORY
        end = _RECORD.size + name_length
        name = self._name(raw[_RECORD.size : end], is_directory=is_directory)
        # The name is padded to an even number of bytes with what stands before it.
        padding, system = raw[end : end + end % 2], raw[end + end % 2 :]
        require(end <= length and length % 2 == 0 and not any(padding), "a directory record has a wrong name length")
        posix = None
        if belongs is not _Belongs.TO_DESCRIPTOR and not self._is_joliet:
            begins_tree = belongs is _Belongs.TO_ROOT_ITSELF
            shown = system_use(self._content, start + end + end % 2, stop, date, begins_tree=begins_tree)
            require(shown.name == ("" if name in {_ITSELF, _PARENT} else name), "Rock Ridge shows another name")
            posix = shown.posix
            self.dates += shown.dates
            self.claimed.update(shown.continued)
        else:
            require(not system, "a directory record has more than it should")
        node = Node(both(extent), both(size), is_directory, posix, start)
        require(is_directory or node.size > 0 or node.extent == 0, "an empty file has a sector")
        if not is_directory and node.size:
            self.claimed.add((node.extent * SECTOR, node.size + -node.size % SECTOR))
        return name, node

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
