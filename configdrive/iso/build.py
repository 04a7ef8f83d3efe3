"""The way from a drive's files to its ISO image: made in memory, and read back before anybody gets it.

The files come from `configdrive.contents.render`. Two ways lead to the same bytes: `configdrive.iso.write` makes an
image from nothing, and `configdrive.iso.layout` keeps what images with the same names have in common.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from configdrive.contents.render import DIRECTORIES, MAX_BYTES
from configdrive.errors import PermanentCode, PermanentError
from configdrive.iso import write
from configdrive.iso.layout import MOST_FILES, checked_folders, layout_of
from configdrive.iso.verify import verify
from configdrive.iso.write import SECTOR
from configdrive.model import Image, label_problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from configdrive.model import ImageName


def build(
    name: ImageName,
    files: Mapping[str, bytes],
    *,
    label: str,
    built_at: float,
    directories: Collection[str] = DIRECTORIES,
) -> Image:
    """Make an image and read it back.

    The same files, label and time give the same bytes, whenever, wherever and in whatever thread.

    Args:
        name: the image's name in the storage.
        files: content by path on the drive, with `/` between the parts and none in front.
        label: the volume label, the same in the primary and the Joliet descriptor.
        built_at: the date of everything on the drive: seconds since 1970-01-01 UTC, of which whole ones are kept.
        directories: those that the drive has though nothing stands in them.

    Raises:
        PermanentError: `INVALID_CONTENT` for a label or names that not every reader takes or tells apart,
            `CONTENT_TOO_LARGE` above 64 MiB, `UNCLASSIFIED` when the finished image does not read back.
        ValueError: `built_at` is before 1970 or after 2155, for which ISO 9660 has no date.
    """
    validate_label(label)
    files = dict(files)
    paths = tuple(sorted(files))
    if len(paths) <= MOST_FILES:
        layout = layout_of(paths, tuple(directories))
        _check_contents(files)
        content = layout.template.fill(files, label, built_at)
        is_sound = layout.expected.fits(content, files, label, built_at)
    else:
        folders = checked_folders(paths, directories)
        _check_contents(files)
        content = write.write(files, folders, label, built_at)
        is_sound = False
    _check_size(len(content))
    if not is_sound:  # as far as anybody knows
        verify(content, files, label, directories, built_at=built_at)
    return Image(name, label, content, hashlib.sha256(content).hexdigest())


def validate_label(label: str) -> None:
    """Take a volume label that readers on Linux and on Windows find, and refuse any other.

    Raises:
        PermanentError: `INVALID_CONTENT`, with the rule.
    """
    problem = label_problem(label)
    if problem is not None:
        raise PermanentError(PermanentCode.INVALID_CONTENT, f"label: {problem}", "give one like 'config' or 'config-2'")


def _check_contents(files: Mapping[str, bytes]) -> None:
    """Refuse contents that alone are too large, before an image is made. What stands twice is stored once."""
    if _sectors(files.values()) * SECTOR > MAX_BYTES:
        _check_size(_sectors(set(files.values())) * SECTOR)


def _sectors(contents: Iterable[bytes]) -> int:
    return sum(-(-len(content) // SECTOR) for content in contents)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise PermanentError(
            PermanentCode.CONTENT_TOO_LARGE,
            f"the drive would have {size} bytes; at most {MAX_BYTES} are allowed",
            "keep large content elsewhere and let the user data fetch it",
        )
