"""Primitives of ECMA-119 (ISO 9660) for the reader: sectors, numbers, damage. Shares nothing with the writer."""

from __future__ import annotations

from typing import Final

SECTOR: Final = 2048
"""Bytes of a logical sector and of a logical block (ECMA-119 6.1.2)."""

SYSTEM_AREA: Final = 16 * SECTOR
"""Bytes before the first volume descriptor. All zero: no partition table may make something else of the drive."""


class DamagedImageError(Exception):
    """An image is not as it must be. The text names the structure and never what stands in a file."""


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
