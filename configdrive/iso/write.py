"""The writer of ISO 9660 images, in memory, with pycdlib. Takes names and sizes on trust: `iso.build` checks both.

The only module that knows pycdlib. Another way to make the same image has to keep `write`'s promise: the same input
gives the same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from struct import unpack_from
from typing import TYPE_CHECKING, Final

from pycdlib import PyCdlib

from configdrive.contents.render import MOST_OF_ITS_OWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

FILE_MODE: Final = 0o100555
DIRECTORY_MODE: Final = 0o040555
"""`-r-xr-xr-x` and `dr-xr-xr-x`, as the specification's listing shows them."""

SECTOR: Final = 2048
SYSTEM_AREA: Final = 16 * SECTOR
"""Bytes before the first volume descriptor (ECMA-119 6.2.1)."""

_APPLICATION: Final = "CONFIGDRIVE-FLEET"
_END_OF_DATES: Final = datetime(2156, 1, 1, tzinfo=UTC).timestamp()
"""A directory record has one byte for the years since 1900 (ECMA-119 9.1.5)."""

VOLUME_DATES: Final = (813, 830, 864)
"""Where a volume descriptor has its dates (ECMA-119 8.4): created, changed, effective from.

At 847 is the expiry, which stays unset."""
RECORD_DATE: Final = 18
"""Where a directory record has its date (ECMA-119 9.1)."""
_ROOT: Final = 156
"""Where a volume descriptor has the root's directory record (ECMA-119 8.4.18)."""
_TERMINATOR: Final = 255
"""The type of the last volume descriptor."""
_ROCK_RIDGE_DATES: Final = b"TF\x1a\x01\x0e"
"""What stands before a record's three Rock Ridge dates (RRIP 4.1.6); its control characters are in no name."""


def write(files: Mapping[str, bytes], folders: Collection[str], label: str, built_at: float) -> bytes:
    """Write an image.

    Interchange level 4 with Rock Ridge 1.09 and Joliet is the combination that every reader takes: lower-case names
    that end in `;1` in the primary tree (Ironic asks for them), the exact names on Linux and on Windows. Of identical
    large contents, one is stored and all records point to it.

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
            if len(content) > MOST_OF_ITS_OWN:
                stored[content] = iso_path
            source = BytesIO(content)
            iso.add_fp(source, len(content), iso_path, rr_name=name, joliet_path=f"/{path}", file_mode=FILE_MODE)
    image = BytesIO()
    iso.write_fp(image)
    iso.close()
    with image.getbuffer() as view:
        _finish(view, built_at)
    return image.getvalue()


def dates(built_at: float) -> tuple[bytes, bytes]:
    """Return a time as directory records spell it, and as volume descriptors do (ECMA-119 9.1.5, 8.4.26.1).

    Raises:
        ValueError: as `write`.
    """
    if not 0 <= built_at < _END_OF_DATES:
        raise ValueError("built_at has no date in ISO 9660")
    moment = datetime.fromtimestamp(int(built_at), UTC)
    of_record = bytes([moment.year - 1900, *moment.timetuple()[1:6], 0])
    return of_record, moment.strftime("%Y%m%d%H%M%S00").encode() + b"\0"


def descriptors(image: memoryview) -> Iterator[int]:
    """Yield where each volume descriptor begins, but for the terminator."""
    for descriptor in range(SYSTEM_AREA, len(image), SECTOR):
        if image[descriptor] == _TERMINATOR:
            return
        yield descriptor


def records(image: memoryview) -> Iterator[int]:
    """Yield where each directory record begins: the root's inside of the volume descriptors, and all in directories."""
    for descriptor in descriptors(image):
        yield descriptor + _ROOT
        # The enhanced descriptor shows the primary one's directories: they come twice.
        for start in _directories(image, descriptor):
            (size,) = unpack_from("<I", image, start + 10)  # in its record of itself
            offset = start
            while offset < start + size:
                if image[offset]:
                    yield offset
                    offset += image[offset]
                else:  # the rest of this sector is empty
                    offset += SECTOR - offset % SECTOR


def rock_ridge_dates(image: memoryview, record: int) -> int | None:
    """Return where a record's three Rock Ridge dates begin, if it has any."""
    found = bytes(image[record : record + image[record]]).find(_ROCK_RIDGE_DATES)
    return None if found < 0 else record + found + len(_ROCK_RIDGE_DATES)


def _finish(image: memoryview, built_at: float) -> None:
    """Write into the written image what pycdlib has no parameter for, or forgets.

    One date everywhere: pycdlib takes dates from the clock and the machine's time zone. Bytes are changed at places
    that ECMA-119 fixes, which touches nothing that another thread uses; replacing the clock inside pycdlib would.
    And lengths: when a directory outgrows a sector, pycdlib leaves the old length in what points up to it.
    """
    of_record, of_volume = dates(built_at)
    for descriptor in descriptors(image):
        for place in VOLUME_DATES:
            _write(image, descriptor + place, of_volume)
        _copy_length(image, descriptor + _ROOT)
        for start in _directories(image, descriptor):
            _copy_length(image, start + image[start])  # its record of its parent, the second one
    for record in records(image):
        _write(image, record + RECORD_DATE, of_record)
        rock_ridge = rock_ridge_dates(image, record)
        if rock_ridge is not None:
            _write(image, rock_ridge, of_record * 3)


def _write(image: memoryview, offset: int, what: bytes) -> None:
    image[offset : offset + len(what)] = what


def _copy_length(image: memoryview, record: int) -> None:
    """Copy a directory's length from its record of itself into another record that points to it."""
    (extent,) = unpack_from("<I", image, record + 2)
    itself = extent * SECTOR
    image[record + 10 : record + 18] = image[itself + 10 : itself + 18]


def _directories(image: memoryview, descriptor: int) -> Iterator[int]:
    """Yield where each directory begins, from the path table that a volume descriptor names."""
    (size,) = unpack_from("<I", image, descriptor + 132)
    (table,) = unpack_from("<I", image, descriptor + 140)
    offset, end = table * SECTOR, table * SECTOR + size
    while offset < end:
        length, extent = unpack_from("<BxI", image, offset)
        yield extent * SECTOR
        offset += 8 + length + length % 2
