"""Writes an ISO 9660 image, in memory, with pycdlib. Takes names and sizes on trust: `configdrive.image` checks both.

The only module that knows pycdlib. Another way to make the same image has to keep `master`'s promise: the same input
gives the same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from struct import unpack_from
from typing import TYPE_CHECKING, Final

from pycdlib import PyCdlib

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

FILE_MODE: Final = 0o100555
DIRECTORY_MODE: Final = 0o040555
"""`-r-xr-xr-x` and `dr-xr-xr-x`, as the seed's listing shows them."""

SECTOR: Final = 2048
SYSTEM_AREA: Final = 16 * SECTOR
"""Bytes before the first volume descriptor (ECMA-119 6.2.1)."""

_APPLICATION: Final = "CONFIGDRIVE-FLEET"
_END_OF_DATES: Final = datetime(2156, 1, 1, tzinfo=UTC).timestamp()
"""A directory record has one byte for the years since 1900 (ECMA-119 9.1.5)."""

_DATE: Final = 18
"""Where a directory record has its date (ECMA-119 9.1)."""
_TERMINATOR: Final = 255
"""The type of the last volume descriptor."""
_ROCK_RIDGE_DATES: Final = b"TF\x1a\x01\x0e"
"""What stands before a record's three Rock Ridge dates (RRIP 4.1.6); its control characters are in no name."""


def master(files: Mapping[str, bytes], folders: Collection[str], label: str, built_at: float) -> bytes:
    """Write an image.

    Interchange level 4 with Rock Ridge 1.09 and Joliet is the combination that every reader takes: lower-case names
    that end in `;1` in the primary tree (Ironic asks for them), the exact names on Linux and on Windows. Of identical
    contents, one is stored and all records point to it.

    Args:
        files: content by path.
        folders: all directories, each behind the one that it stands in.
        label: the volume label.
        built_at: seconds since 1970-01-01 UTC.

    Raises:
        ValueError: `built_at` is before 1970 or after 2155, for which ISO 9660 has no date.
    """
    iso = PyCdlib()
    iso.new(interchange_level=4, rock_ridge="1.09", joliet=3, vol_ident=label, app_ident_str=_APPLICATION)
    for path in folders:
        iso.add_directory(f"/{path}", rr_name=path.rpartition("/")[2], joliet_path=f"/{path}", file_mode=DIRECTORY_MODE)
    stored = dict[bytes, str]()
    for path in sorted(files):
        content, iso_path, name = files[path], f"/{path};1", path.rpartition("/")[2]
        if content in stored:
            iso.add_hard_link(iso_old_path=stored[content], iso_new_path=iso_path, rr_name=name)
            iso.add_hard_link(iso_old_path=stored[content], joliet_new_path=f"/{path}")
        else:
            stored[content] = iso_path
            source = BytesIO(content)
            iso.add_fp(source, len(content), iso_path, rr_name=name, joliet_path=f"/{path}", file_mode=FILE_MODE)
    image = BytesIO()
    iso.write_fp(image)
    iso.close()
    with image.getbuffer() as view:
        _finish(view, built_at)
    return image.getvalue()


def _finish(image: memoryview, built_at: float) -> None:
    """Write into the mastered image what pycdlib has no parameter for, or forgets.

    One date everywhere: pycdlib takes dates from the clock and the machine's time zone. Bytes are changed at places
    that ECMA-119 fixes, which touches nothing that another thread uses; replacing the clock inside pycdlib would.
    And lengths: when a directory outgrows a sector, pycdlib leaves the old length in what points up to it.
    """
    if not 0 <= built_at < _END_OF_DATES:
        raise ValueError("built_at has no date in ISO 9660")
    moment = datetime.fromtimestamp(int(built_at), UTC)
    of_record = bytes([moment.year - 1900, *moment.timetuple()[1:6], 0])
    of_volume = moment.strftime("%Y%m%d%H%M%S00").encode() + b"\0"
    for descriptor in range(SYSTEM_AREA, len(image), SECTOR):
        if image[descriptor] == _TERMINATOR:
            break
        for date in (813, 830, 864):  # created, changed, effective from; 847 is the expiry, which stays unset
            image[descriptor + date : descriptor + date + len(of_volume)] = of_volume
        root = descriptor + 156
        image[root + _DATE : root + _DATE + len(of_record)] = of_record
        _copy_length(image, root)
        for extent in _directory_extents(image, descriptor):
            _finish_directory(image, extent * SECTOR, of_record)


def _copy_length(image: memoryview, record: int) -> None:
    """Copy a directory's length from its record of itself into another record that points to it."""
    (extent,) = unpack_from("<I", image, record + 2)
    itself = extent * SECTOR
    image[record + 10 : record + 18] = image[itself + 10 : itself + 18]


def _directory_extents(image: memoryview, descriptor: int) -> Iterator[int]:
    """Yield the first sector of each directory, from the path table that a volume descriptor names."""
    (size,) = unpack_from("<I", image, descriptor + 132)
    (table,) = unpack_from("<I", image, descriptor + 140)
    offset, end = table * SECTOR, table * SECTOR + size
    while offset < end:
        length, extent = unpack_from("<BxI", image, offset)
        yield extent
        offset += 8 + length + length % 2


def _finish_directory(image: memoryview, start: int, date: bytes) -> None:
    (size,) = unpack_from("<I", image, start + 10)  # in its record of itself
    _copy_length(image, start + image[start])  # its record of its parent, the second one
    offset = start
    while offset < start + size:
        length = image[offset]
        if length == 0:  # the rest of this sector is empty
            offset += SECTOR - offset % SECTOR
            continue
        image[offset + _DATE : offset + _DATE + len(date)] = date
        rock_ridge = bytes(image[offset : offset + length]).find(_ROCK_RIDGE_DATES)
        if rock_ridge >= 0:
            dates = offset + rock_ridge + len(_ROCK_RIDGE_DATES)
            image[dates : dates + 3 * len(date)] = date * 3
        offset += length
