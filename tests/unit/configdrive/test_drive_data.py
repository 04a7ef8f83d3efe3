"""The rule for what stands on one line."""

from __future__ import annotations

import sys
import unicodedata

from configdrive.drive_data import _NOT_IN_A_LINE


def test_what_is_printable_is_one_line() -> None:
    """So printable values, the usual ones, need no closer look."""
    printable = filter(str.isprintable, map(chr, range(sys.maxunicode + 1)))
    assert _NOT_IN_A_LINE.isdisjoint(map(unicodedata.category, printable))
    assert not "\0".isprintable()
