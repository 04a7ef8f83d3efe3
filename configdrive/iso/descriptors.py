"""The reader of an image's volume descriptors: the label, the date, and where the trees are.

Every byte of them is looked at: also the identifiers that nobody shows, and the ends that nobody uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from configdrive.iso.ecma119 import SECTOR, SYSTEM_AREA, DamagedImageError, both, require

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIMARY: Final = (1, 1)
ENHANCED: Final = (2, 2)
JOLIET: Final = (2, 1)
_TERMINATOR: Final = (255, 1)
"""Type and version of the volume descriptors."""

_JOLIET_LEVEL_3: Final = b"%/E".ljust(32, b"\0")
_APPLICATION: Final = "CONFIGDRIVE-FLEET"

# type, identifier, version, flags, system, label, unused, size, escapes, set size, number, block, path table's size,
# its place little-endian and big-endian, the root's record
_DESCRIPTOR: Final = Struct("<B5sBB32s32s8s8s32s4s4s4s8sI4s4s4s34s")
# volume set, publisher and preparer; application; three files that hold more about them
_IDENTIFIERS: Final = Struct("384s128s111s")
_DATES: Final = Struct("<17s17s17s17sB")
# reserved, for the application, reserved
_END: Final = Struct("1s512s653s")
_ROOT_AT: Final = 156
_NEVER: Final = b"0" * 16 + b"\0"
_DATE_DIGITS: Final = (slice(4, 6), slice(6, 8), slice(8, 10), slice(10, 12), slice(12, 14))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a primary or supplementary volume descriptor says. `date` is spelled as in the descriptor.

    `root` is the root's directory record, and `root_record` where it begins.
    """

    kind: tuple[int, int]
    label: str
    date: bytes
    path_table_size: int
    little_path_table: int
    big_path_table: int
    root: bytes
    root_record: int

    @property
    def encoding(self) -> str:
        """How names are written."""
        return "utf-16-be" if self.kind == JOLIET else "ascii"

    @property
    def record_date(self) -> bytes:
        """The volume's date as directory records spell it (ECMA-119 9.1.5)."""
        digits = self.date
        return bytes([int(digits[:4]) - 1900, *(int(digits[part]) for part in _DATE_DIGITS), digits[16]])


def read_descriptors(content: bytes) -> list[Descriptor]:
    """Return the primary, the enhanced and the Joliet descriptor, which agree.

    Raises:
        DamagedImageError: naming what is not as it must be.
        struct.error, IndexError, ValueError: the image is cut off, or a number or text is none.
    """
    found = list(_descriptors(content))
    require([one.kind for one in found] == [PRIMARY, ENHANCED, JOLIET], "not the three volume descriptors")
    primary, enhanced, joliet = found
    require(primary.label == enhanced.label == joliet.label, "the volume descriptors differ in their label")
    require(primary.date == enhanced.date == joliet.date, "the volume descriptors differ in their date")
    require(
        (primary.root, primary.path_table_size, primary.little_path_table, primary.big_path_table)
        == (enhanced.root, enhanced.path_table_size, enhanced.little_path_table, enhanced.big_path_table),
        "the enhanced volume descriptor shows another tree than the primary one",
    )
    return found


def _descriptors(content: bytes) -> Iterator[Descriptor]:
    for offset in range(SYSTEM_AREA, len(content), SECTOR):
        require(content[offset + 1 : offset + 6] == b"CD001", "a volume descriptor has no identifier")
        kind = (content[offset], content[offset + 6])
        if kind == _TERMINATOR:
            require(not any(content[offset + 7 : offset + SECTOR]), "the last volume descriptor is not empty")
            return
        yield _descriptor(content, offset, kind)
    raise DamagedImageError("the volume descriptors have no end")


def _descriptor(content: bytes, start: int, kind: tuple[int, int]) -> Descriptor:
    """Read a primary or supplementary volume descriptor (ECMA-119 8.4, 8.5)."""
    (
        *_, flags, system, label, unused, space, escapes, set_size, number, block,
        table_size, little_table, optional_little, big_table, optional_big, root,
    ) = _DESCRIPTOR.unpack_from(content, start)  # fmt: skip
    offset = start + _DESCRIPTOR.size
    require(
        flags == 0
        and not any(unused + optional_little + optional_big)
        and escapes == (_JOLIET_LEVEL_3 if kind == JOLIET else bytes(32))
        and both(space) * SECTOR == len(content)
        and (both(set_size), both(number), both(block)) == (1, 1, SECTOR),
        "a volume descriptor is not one of ours, or disagrees with the image's length",
    )
    encoding = "utf-16-be" if kind == JOLIET else "ascii"
    blanks = (" " * 384).encode(encoding)
    volume_set, application, files = _IDENTIFIERS.unpack_from(content, offset)
    offset += _IDENTIFIERS.size
    require(
        system == blanks[:32]
        and volume_set == blanks[:384]
        and application == (_APPLICATION.encode(encoding) + blanks)[:128]
        and files == blanks[:37] * 3,
        "a volume descriptor has another identifier",
    )
    created, changed, expires, effective, version = _DATES.unpack_from(content, offset)
    offset += _DATES.size
    require(created == changed == effective and expires == _NEVER, "a volume descriptor's dates differ")
    require(version == kind[1], "a volume descriptor has the wrong file structure version")
    reserved, used, unused = _END.unpack_from(content, offset)
    require(used == b" " * 512 and not any(reserved + unused), "something stands at a volume descriptor's end")
    return Descriptor(
        kind=kind,
        label=label.decode(encoding).rstrip(" "),
        date=created,
        path_table_size=both(table_size),
        little_path_table=little_table,
        big_path_table=int.from_bytes(big_table, "big"),
        root=root,
        root_record=start + _ROOT_AT,
    )
