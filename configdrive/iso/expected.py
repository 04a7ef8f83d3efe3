"""The bytes that an image of a layout must have: learnt from one that was read in full, to know the next ones by.

Reading an image in full takes a thousand steps, and for drives with the same names they are the same steps over the
same bytes. `Expected` keeps these bytes, and says where the others stand: the label, the dates, the length, each file's
first sector and size. An image that has all of the former, and the right values in all of the latter, is one that
`configdrive.iso.read` would read in full with the same result. So it can say yes, and spare the reading; when it does
not, the reading decides.

Shares no code with the builder, and is made from what the reader has found, never from what the builder has kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Final

from configdrive.contents.render import MOST_OF_ITS_OWN
from configdrive.iso.ecma119 import SECTOR, SYSTEM_AREA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from configdrive.iso.read import Volume

_RECORD_DATE, _VOLUME_DATE, _LABEL, _JOLIET_LABEL, _SECTORS, _FIRST_FILE = range(6)
"""What stands at a place: the number of its value in the list that `_values` makes."""
_IN_DESCRIPTOR: Final = ((80, 8, _SECTORS), (813, 17, _VOLUME_DATE), (830, 17, _VOLUME_DATE), (864, 17, _VOLUME_DATE))
_LABEL_PLACE: Final = (40, 32)
_EXTENT_AND_SIZE: Final = (2, 16)
_DATE_SIZE: Final = 7
"""Where a volume descriptor and a directory record have what differs, and how long it is (ECMA-119 8.4, 9.1)."""
_ZEROS: Final = bytes(SECTOR)


@dataclass(frozen=True, slots=True)
class Expected:
    """The bytes that all images of a layout have in common, and where the others stand. Holds nothing of any VM."""

    _pieces: Struct
    """Takes an image apart up to the first content: what they have in common and what differs by turns."""
    _common: tuple[bytes, ...]
    _wanted: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    """Picks the value of each place from the list that `_values` makes."""
    _paths: tuple[str, ...]
    _shown: tuple[int, ...]
    """Which of the places that differ is each path's first sector and size in the primary tree."""

    def fits(self, content: bytes, files: Mapping[str, bytes], label: str, built_at: float) -> bool:
        """Say whether an image is one of the layout and has just these files, this label and this date.

        Every byte of it is compared: the common ones, the differing ones, the contents, and the zeros behind them.
        """
        if len(content) < self._pieces.size:
            return False
        pieces = self._pieces.unpack_from(content)
        if pieces[::2] != self._common:
            return False
        found = pieces[1::2]
        extents = [int.from_bytes(found[place][:4], "little") for place in self._shown]
        contents = [files[path] for path in self._paths]
        wanted = _values(label, built_at, len(content), zip(extents, contents, strict=True))
        return found == self._wanted(wanted) and self._are_stored(content, extents, contents)

    def _are_stored(self, image: bytes, extents: Sequence[int], contents: Sequence[bytes]) -> bool:
        """Say whether each content is in its sectors, and those follow one another up to the image's end."""
        stored = dict[int, bytes]()
        for extent, data in zip(extents, contents, strict=True):
            # An empty file has no sector, which is written as 0. Only large contents may be two files' at once.
            is_shared = bool(data) and extent in stored
            if bool(extent) != bool(data) or (is_shared and len(data) <= MOST_OF_ITS_OWN):
                return False
            if stored.setdefault(extent, data) != data:
                return False
        stored.pop(0, None)
        end = self._pieces.size
        for extent, data in sorted(stored.items()):
            behind = end + len(data)
            zeros = _ZEROS[: -len(data) % SECTOR]
            if extent * SECTOR != end or not image.startswith(data, end) or not image.startswith(zeros, behind):
                return False
            end = behind + len(zeros)
        return end == len(image)


def learn(content: bytes, volume: Volume) -> Expected:
    """Learn it from an image that was read in full and found to be what was asked for."""
    files = {path: node for path, node in volume.primary.items() if not node.is_directory}
    places = sorted(_places(volume, tuple(files)))
    end = min((node.extent * SECTOR for node in files.values() if node.size), default=len(content))
    sizes = list[int]()
    last = 0
    for start, size, _ in places:
        sizes += (start - last, size)
        last = start + size
    pieces = Struct("".join(f"{size}s" for size in (*sizes, end - last)))
    starts = [start for start, _, _ in places]
    return Expected(
        pieces,
        pieces.unpack_from(content)[::2],
        itemgetter(*(value for _, _, value in places)),
        tuple(files),
        tuple(starts.index(node.record + _EXTENT_AND_SIZE[0]) for node in files.values()),
    )


def _places(volume: Volume, paths: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the offset and length of what differs, and which value stands there."""
    for number, label in enumerate((_LABEL, _LABEL, _JOLIET_LABEL)):
        descriptor = SYSTEM_AREA + number * SECTOR
        for offset, size, value in ((*_LABEL_PLACE, label), *_IN_DESCRIPTOR):
            yield descriptor + offset, size, value
    for start in volume.record_dates:
        yield start, _DATE_SIZE, _RECORD_DATE
    offset, size = _EXTENT_AND_SIZE
    for tree in (volume.primary, volume.joliet):
        for value, path in enumerate(paths, start=_FIRST_FILE):
            yield tree[path].record + offset, size, value


def _values(label: str, built_at: float, length: int, files: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """Return what must stand at the places; of files, the first sector as found and the content as asked for."""
    year, month, day, hour, minute, second, *_ = moment = time.gmtime(int(built_at))
    padded = label + " " * 32
    return [
        bytes((year - 1900, month, day, hour, minute, second, 0)),
        time.strftime("%Y%m%d%H%M%S00", moment).encode() + b"\0",
        padded[:32].encode("ascii"),
        padded[:16].encode("utf-16-be"),
        _both(length // SECTOR),
        *(_both(extent) + _both(len(data)) for extent, data in files),
    ]


def _both(number: int) -> bytes:
    """Write a number little-endian, then big-endian (ECMA-119 7.3.3)."""
    return number.to_bytes(4, "little") + number.to_bytes(4, "big")
