"""Small records: packed and read again, and whatever is no packed record is either itself or refused."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from configdrive.lifecycle.packing import LARGEST, pack, unpack
from tests.unit.documents import document

NEVER_PACKED = st.binary().filter(lambda plain: not plain.startswith(b"\x01"))


@given(st.binary(max_size=2000))
def test_comes_back_as_it_was(plain: bytes) -> None:
    assert unpack(pack(plain)) == plain


@given(NEVER_PACKED)
@example(b'{"sequence":1}')
@example(b"")
def test_what_was_kept_before_there_was_packing_is_read(plain: bytes) -> None:
    assert unpack(plain) == plain


@given(st.binary(max_size=200))
def test_damaged_ones_are_refused_or_come_to_something_small(rest: bytes) -> None:
    plain = b""
    with suppress(ValueError):
        plain = unpack(b"\x01" + rest)
    assert len(plain) <= LARGEST


def test_what_is_cut_off_is_refused() -> None:
    packed = pack(json.dumps(document("start")).encode())
    for length in range(1, len(packed)):
        with pytest.raises(ValueError, match="damaged"):
            unpack(packed[:length])


def test_large_ones_are_left_as_they_are() -> None:
    assert pack(b"{" * LARGEST) != b"{" * LARGEST
    assert pack(b"{" * (LARGEST + 1)) == b"{" * (LARGEST + 1)


def test_a_small_record_never_becomes_a_large_one() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"\x01" + deflate.compress(b"\0" * 100 * LARGEST) + deflate.flush()
    with pytest.raises(ValueError, match="too large"):
        unpack(bomb)


def test_what_was_packed_once_is_read_for_ever() -> None:
    """The dictionary must stay as it is: this is what lies on somebody's Redis."""
    packed = bytes.fromhex("01ab4672a239561791621a00")
    assert unpack(packed) == b'{"sequence":7,"phase":"attached","places":[{"storage":"primary","host":null}]}'
