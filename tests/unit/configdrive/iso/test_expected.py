"""The expectation says yes to what was asked for, and to nothing that the full reading would refuse."""

from __future__ import annotations

import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.render import DIRECTORIES
from configdrive.errors import PermanentError
from configdrive.iso import read, write
from configdrive.iso.layout import checked_folders, layout_of
from configdrive.iso.verify import verify
from tests.unit.configdrive.samples import BUILT_AT, FILES, PASSWORD, build

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT = build().content
VOLUME = read.read(CONTENT)
PATHS = tuple(sorted(FILES))
VM_ID = "cloudstack/metadata/vm_id.txt"
PASSWORD_FILE = "cloudstack/password/vm_password.txt"


def fits(content: bytes, files: Mapping[str, bytes] = FILES, label: str = "config", built_at: float = BUILT_AT) -> bool:
    return layout_of(PATHS, DIRECTORIES).expected.fits(content, files, label, built_at)


def pointed(*changes: tuple[str, str]) -> bytes:
    """Return the image with the first path's records, in both trees, saying what the second one's say."""
    content = bytearray(CONTENT)
    for path, other in changes:
        for tree in (VOLUME.primary, VOLUME.joliet):
            to, source = tree[path].record, tree[other].record
            content[to + 2 : to + 18] = content[source + 2 : source + 18]
    return bytes(content)


def test_what_was_asked_for_fits() -> None:
    assert fits(CONTENT)


def test_what_was_not_asked_for_does_not() -> None:
    for path, data in FILES.items():
        for other in (b"", data + b"\0", data[:-1], data + bytes(2048), bytes(len(data))):
            if other != data:
                assert not fits(CONTENT, FILES | {path: other})
    assert not fits(CONTENT, label="config-2")
    assert not fits(CONTENT, label="CONFIG")
    assert not fits(CONTENT, built_at=BUILT_AT + 1)


def test_an_image_with_other_names_of_the_same_length_does_not() -> None:
    renamed = {path.replace("vm_id", "vm_ID").replace("vm-id", "vm-ID"): data for path, data in FILES.items()}
    other = build(renamed).content
    assert len(other) == len(CONTENT)
    assert not fits(other, FILES | renamed)


def test_nor_one_that_is_cut_or_goes_on() -> None:
    assert not fits(CONTENT[:-2048])
    assert not fits(CONTENT[:-1])
    assert not fits(CONTENT[: 40 * 2048])
    assert not fits(b"")
    assert not fits(CONTENT + bytes(2048))


def test_nor_one_that_shows_another_files_content() -> None:
    assert not fits(pointed((VM_ID, PASSWORD_FILE)))


def test_nor_one_in_which_two_files_share_a_small_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """bsdtar would print nothing for one of them."""
    monkeypatch.setattr("configdrive.iso.write.MOST_OF_ITS_OWN", 0)
    shared = write.write(FILES, checked_folders(FILES, DIRECTORIES), "config", BUILT_AT)
    assert len(shared) < len(CONTENT)
    assert not fits(shared)
    with pytest.raises(PermanentError, match="share a small content"):
        verify(shared, FILES, "config")


def test_nor_one_that_holds_a_content_which_no_name_shows() -> None:
    """Though each name shows what was asked for."""
    assert not fits(pointed((PASSWORD_FILE, VM_ID)), FILES | {PASSWORD_FILE: FILES[VM_ID]})


LAST = max((node.extent, path) for path, node in VOLUME.primary.items() if not node.is_directory)[1]


def moved(extent: int, content: bytes = CONTENT) -> bytes:
    """Return the image, or another one, as sound as can be, but with the last content said to be somewhere else."""
    changed = bytearray(content)
    old = VOLUME.primary[LAST].extent
    for tree in (VOLUME.primary, VOLUME.joliet):
        for node in tree.values():
            if node.extent == old:
                changed[node.record + 2 : node.record + 10] = both(extent)
    for descriptor in range(16 * 2048, 19 * 2048, 2048):
        changed[descriptor + 80 : descriptor + 88] = both(len(changed) // 2048)
    return bytes(changed)


def both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def test_nor_one_whose_records_say_the_wrong_place() -> None:
    at = VOLUME.primary[LAST].extent
    assert moved(at) == CONTENT
    elsewhere = moved(at + 1)
    without_it = moved(0, CONTENT[: at * 2048])
    further = moved(at + 1, CONTENT[: at * 2048] + bytes(2048) + CONTENT[at * 2048 :])
    for content in (elsewhere, without_it):
        assert not fits(content)
        with pytest.raises(PermanentError):
            verify(content, FILES, "config")
    assert not fits(further)


def test_nor_one_whose_empty_file_has_a_place() -> None:
    for extent in (1, VOLUME.primary[LAST].extent, len(CONTENT) // 2048):
        content = bytearray(CONTENT)
        for tree in (VOLUME.primary, VOLUME.joliet):
            start = tree["cloudstack/metadata/empty.txt"].record + 2
            content[start : start + 8] = both(extent)
        assert not fits(bytes(content))
        with pytest.raises(PermanentError, match="empty file"):
            verify(bytes(content), FILES, "config")


def test_nor_one_that_goes_on_and_says_so() -> None:
    at = VOLUME.primary[LAST].extent
    for tail in (bytes(2048), PASSWORD.ljust(2048, b"\0")):
        assert not fits(moved(at, CONTENT + tail))
    with pytest.raises(PermanentError, match="nothing points to"):
        verify(moved(at, CONTENT + PASSWORD.ljust(2048, b"\0")), FILES, "config")


@given(
    changes=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS)), max_size=3),
    damage=st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), max_size=1),
    is_asked_for=st.booleans(),
)
def test_what_fits_would_be_read_in_full(
    *, changes: list[tuple[str, str]], damage: list[tuple[int, int]], is_asked_for: bool
) -> None:
    content = bytearray(pointed(*changes))
    for offset, value in damage:
        content[offset] = value
    files = dict(FILES)
    for path, other in changes if is_asked_for else ():
        files[path] = files[other]
    try:
        verify(bytes(content), files, "config", built_at=BUILT_AT)
    except PermanentError:
        assert not fits(bytes(content), files)
    else:
        # It need not, but does: every sound image of a layout is known by its expectation.
        assert fits(bytes(content), files)


def test_a_large_drive_takes_memory_for_its_image_only() -> None:
    user_data = bytes(range(256)) * (48 * 2**12)
    files = FILES | dict.fromkeys(("cloudstack/userdata/user_data.txt", "openstack/latest/user_data"), user_data)
    tracemalloc.start()
    try:
        size = len(build(files).content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 48 * 2**20
    assert peak < size * 1.1
