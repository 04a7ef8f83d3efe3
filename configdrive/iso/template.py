"""The template of a layout: its image, written once, filled in for one VM after another. Holds nothing of any VM.

Drives with the same names differ in few places: the label, the dates, the image's length, and each file's first sector
and size. A template is the image up to the first file's content, cut at these places; filling it in joins the cuttings
with the values and the contents. `docs/adr/0016-one-template-per-layout.md` tells why, and what it must keep to:
what `fill` returns is, byte for byte, what `write.write` returns for the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from struct import Struct, unpack_from
from typing import TYPE_CHECKING, Final

from configdrive.contents.render import MOST_OF_ITS_OWN
from configdrive.iso import write
from configdrive.iso.write import SECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

_RECORD_DATE, _ROCK_RIDGE_DATES, _VOLUME_DATE, _LABEL, _JOLIET_LABEL, _SECTORS, _FIRST_FILE = range(7)
"""What stands at a place: the number of its value in the list that `fill` makes."""

_FILE: Final = Struct("<I4sI4s7s")
"""A file's first sector and its size, each little-endian and big-endian, and its date (ECMA-119 9.1)."""
_FILE_AT: Final = 2
"""Where a directory record has these."""
_FLAGS: Final = 25
_BOTH: Final = Struct("<I4s")
_LABEL_AT, _LABEL_SIZE = 40, 32
_SECTORS_AT: Final = 80
_ESCAPES: Final = 88
"""Where a volume descriptor has the label, the number of sectors, and what is zero unless its names are Joliet's."""
_ZEROS: Final = bytes(SECTOR)


@dataclass(frozen=True, slots=True)
class _Place:
    """Bytes that differ from VM to VM, and the number of the value that stands there."""

    start: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class Template:
    """The image of a layout without what differs. Made by `cut`, never changed: threads may fill it in together."""

    _paths: tuple[str, ...]
    """The files in the order in which their contents are stored."""
    _sectors: int
    """Sectors before the first content."""
    _cuttings: tuple[bytes, ...]
    _values: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    """Picks the value behind each cutting but the last."""

    def fill(self, files: Mapping[str, bytes], label: str, built_at: float) -> bytes:
        """Return the image of one VM. The arguments are `write.write`'s; the files have the template's paths.

        Raises:
            ValueError: as `write.write`.
        """
        record_date, volume_date = write.dates(built_at)
        end = self._sectors
        # Large contents and their first sectors, by size: what has another size is another one, and needs no look.
        known: dict[int, list[tuple[bytes, int]]] = {}
        stored, records = list[bytes](), list[bytes]()
        for path in self._paths:
            content = files[path]
            size = len(content)
            same_size = known.setdefault(size, []) if size > MOST_OF_ITS_OWN else []
            extent = next((extent for other, extent in same_size if other == content), end if size else 0)
            if extent == end:
                same_size.append((content, extent))
                stored += (content, _ZEROS[: -size % SECTOR])
                end += -(-size // SECTOR)
            records.append(_FILE.pack(extent, extent.to_bytes(4, "big"), size, size.to_bytes(4, "big"), record_date))
        values = [
            record_date,
            record_date * 3,
            volume_date,
            label.ljust(_LABEL_SIZE).encode("ascii"),
            label.ljust(_LABEL_SIZE // 2).encode("utf-16-be"),
            _BOTH.pack(end, end.to_bytes(4, "big")),
            *records,
        ]
        pieces = [b""] * (2 * len(self._cuttings) - 1)
        pieces[::2] = self._cuttings
        pieces[1::2] = self._values(values)
        return b"".join(chain(pieces, stored))


def sample(paths: Collection[str]) -> dict[str, bytes]:
    """Return contents to write a template with: each has another length, by which `cut` knows the file again."""
    return {path: bytes(number) for number, path in enumerate(paths, start=1)}


def cut(image: bytes, paths: Sequence[str]) -> Template:
    """Make a template from an image that was written with the sample of these paths."""
    with memoryview(image) as view:
        places = sorted({*_descriptor_places(view), *_record_places(view)}, key=lambda place: place.start)
        extents = {
            place.value: unpack_from("<I", view, place.start)[0] for place in places if place.value >= _FIRST_FILE
        }
    # The library's order of storing, whatever it is: it fixes which sector a content gets.
    stored = sorted(extents, key=extents.__getitem__)
    values = {value: number for number, value in enumerate(stored, start=_FIRST_FILE)}
    sectors = min(extents.values(), default=len(image) // SECTOR)
    ends = [0, *(place.start + place.size for place in places)]
    starts = [*(place.start for place in places), sectors * SECTOR]
    return Template(
        tuple(paths[value - _FIRST_FILE] for value in stored),
        sectors,
        tuple(image[end:start] for end, start in zip(ends, starts, strict=True)),
        itemgetter(*(values.get(place.value, place.value) for place in places)),
    )


def _descriptor_places(image: memoryview) -> Iterator[_Place]:
    for start in write.descriptors(image):
        is_joliet = image[start + _ESCAPES] != 0
        yield _Place(start + _LABEL_AT, _LABEL_SIZE, _JOLIET_LABEL if is_joliet else _LABEL)
        yield _Place(start + _SECTORS_AT, _BOTH.size, _SECTORS)
        for date in write.VOLUME_DATES:
            yield _Place(start + date, 17, _VOLUME_DATE)


def _record_places(image: memoryview) -> Iterator[_Place]:
    for start in write.records(image):
        if image[start + _FLAGS]:  # a directory: where it lies and how long it is are the layout's
            yield _Place(start + write.RECORD_DATE, 7, _RECORD_DATE)
        else:
            (size,) = unpack_from("<I", image, start + 10)
            yield _Place(start + _FILE_AT, _FILE.size, _FIRST_FILE + size - 1)
        rock_ridge = write.rock_ridge_dates(image, start)
        if rock_ridge is not None:
            yield _Place(rock_ridge, 21, _ROCK_RIDGE_DATES)
