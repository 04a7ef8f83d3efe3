"""The reader that has the last word: it finds all damage that a guest could notice, and tells no content."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.render import DIRECTORIES
from configdrive.errors import FleetError, PermanentCode, PermanentError
from configdrive.iso import read
from configdrive.iso.ecma119 import DamagedImageError
from configdrive.iso.layout import MOST_FILES, layout_of
from configdrive.iso.verify import verify
from tests.support import error_of
from tests.unit.configdrive.samples import BUILT_AT, FILES, PASSWORD, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT = build().content
VOLUME = read.read(CONTENT)
EXPECTED = layout_of(tuple(sorted(FILES)), DIRECTORIES).expected
SECTOR = 2048
PRIMARY, ENHANCED, JOLIET, TERMINATOR = (number * SECTOR for number in range(16, 20))


def path_tables(descriptor: int) -> tuple[int, int]:
    """Return where the two path tables of a tree begin."""
    (little,) = struct.unpack_from("<I", CONTENT, descriptor + 140)
    (big,) = struct.unpack_from(">I", CONTENT, descriptor + 148)
    return little * SECTOR, big * SECTOR


def damaged(offset: int, flip: int = 0xFF) -> bytes:
    content = bytearray(CONTENT)
    content[offset] ^= flip
    return bytes(content)


def refused(content: bytes, files: Mapping[str, bytes] = FILES, label: str = "config") -> FleetError:
    """Both opinions are asked: the reader's, and the expectation's, who need not say why."""
    assert files.keys() != FILES.keys() or not EXPECTED.fits(content, files, label, BUILT_AT)
    caught = error_of(verify, content, files, label)
    assert caught.code is PermanentCode.UNCLASSIFIED
    assert caught.remedy
    assert PASSWORD.decode() not in str(caught)
    return caught


def test_a_sound_image_passes() -> None:
    verify(CONTENT, FILES, "config")
    verify(CONTENT, FILES, "config", built_at=BUILT_AT)
    assert EXPECTED.fits(CONTENT, FILES, "config", BUILT_AT)


def test_a_flipped_bit_is_found_by_the_reader_wherever_there_is_not_zero() -> None:
    """In every fifth such byte: records are alike and of odd lengths, so that each field is met in some of them."""
    unnoticed = []
    for offset in [offset for offset, byte in enumerate(CONTENT) if byte][::5]:
        try:
            verify(damaged(offset, 1 << offset % 8), FILES, "config")
        except PermanentError:
            continue
        unnoticed.append(offset)
    assert unnoticed == []


def test_a_flipped_bit_is_found_by_the_pattern_wherever_it_is() -> None:
    content = bytearray(CONTENT)
    unnoticed = []
    for offset in range(0, len(CONTENT), 5):
        content[offset] ^= 1 << offset % 8
        if EXPECTED.fits(bytes(content), FILES, "config", BUILT_AT):
            unnoticed.append(offset)
        content[offset] = CONTENT[offset]
    assert unnoticed == []


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_image_is_found(length: int) -> None:
    refused(CONTENT[:length])


@given(st.binary(max_size=300) | st.builds(lambda tail: CONTENT[:PRIMARY] + tail, st.binary(max_size=3 * SECTOR)))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(DamagedImageError):
        read.read(content)


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_breaks_the_reader(changes: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENT)
    for offset, value in changes:
        content[offset] = value
    assert content == CONTENT or not EXPECTED.fits(bytes(content), FILES, "config", BUILT_AT)
    try:
        verify(bytes(content), FILES, "config")
    except PermanentError:
        return
    assert content == CONTENT


def at(descriptor: int, offset: int) -> Callable[[], int]:
    return lambda: descriptor + offset


def in_record(tree: read.Tree, folder: str, name: bytes, offset: int) -> Callable[[], int]:
    """Return where a byte of a directory record lies, counted from the record's start."""

    def find() -> int:
        start = tree[folder].extent * SECTOR
        identifier = CONTENT.index(bytes([len(name)]) + name, start)
        return identifier - 32 + offset

    return find


def behind(tree: read.Tree, folder: str, name: bytes, entry: bytes, offset: int) -> Callable[[], int]:
    """Return where a byte of a Rock Ridge entry lies, counted from the entry's start."""
    return lambda: CONTENT.index(entry, in_record(tree, folder, name, 0)()) + offset


VM_ID = (VOLUME.primary, "cloudstack/metadata", b"vm_id.txt;1")
VM_ID_JOLIET = (VOLUME.joliet, "cloudstack/metadata", "vm_id.txt".encode("utf-16-be"))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        pytest.param(at(0, 510), "system area", id="partition table"),
        pytest.param(at(PRIMARY, 1), "no identifier", id="CD001"),
        pytest.param(at(PRIMARY, 40), "label", id="label"),
        pytest.param(at(JOLIET, 41), "label", id="Joliet label"),
        pytest.param(at(ENHANCED, 40), "label", id="enhanced label"),
        pytest.param(at(JOLIET, 88), "not one of ours", id="Joliet escape sequence"),
        pytest.param(at(PRIMARY, 80), "byte orders", id="image's length"),
        pytest.param(at(PRIMARY, 128), "byte orders", id="block size"),
        pytest.param(at(PRIMARY, 813), "dates differ", id="creation date"),
        pytest.param(at(ENHANCED, 158), "another tree", id="enhanced root"),
        pytest.param(at(PRIMARY, 140), "another tree", id="path table's place"),
        pytest.param(lambda: path_tables(JOLIET)[0] + 2, "path table", id="path table, little-endian"),
        pytest.param(lambda: path_tables(JOLIET)[1] + 5, "path table", id="path table, big-endian"),
        pytest.param(in_record(*VM_ID, 1), "says something", id="extended attributes"),
        pytest.param(in_record(*VM_ID, 2), "byte orders", id="extent"),
        pytest.param(in_record(*VM_ID, 10), "byte orders", id="length"),
        pytest.param(in_record(*VM_ID, 18), "date differs", id="record's date"),
        pytest.param(in_record(*VM_ID, 25), "says something", id="flags"),
        pytest.param(in_record(*VM_ID, 33), "another name", id="primary name"),
        pytest.param(in_record(*VM_ID, 43), "version", id="version number"),
        pytest.param(behind(*VM_ID, b"NM", 5), "another name", id="Rock Ridge name"),
        pytest.param(behind(*VM_ID, b"NM", 4), "name is split", id="Rock Ridge name's flags"),
        pytest.param(lambda: TERMINATOR + 8, "last volume descriptor", id="behind the last descriptor"),
        pytest.param(lambda: TERMINATOR + SECTOR, "nothing points to", id="between the structures"),
        pytest.param(at(JOLIET, 812), "another identifier", id="Joliet identifiers"),
        pytest.param(at(PRIMARY, 2047), "descriptor's end", id="a descriptor's end"),
        pytest.param(behind(*VM_ID, b"PX", 4), "byte orders", id="Rock Ridge mode"),
        pytest.param(behind(*VM_ID, b"PX", 20), "byte orders", id="Rock Ridge owner"),
        pytest.param(behind(*VM_ID, b"TF", 5), "date differs", id="Rock Ridge date"),
        pytest.param(behind(*VM_ID, b"RR", 4), "not announced", id="Rock Ridge field list"),
        pytest.param(lambda: CONTENT.index(b"RRIP_1991A"), "not announced", id="Rock Ridge announcement"),
        pytest.param(in_record(*VM_ID_JOLIET, 34), "files are others", id="Joliet name"),
        pytest.param(in_record(*VM_ID_JOLIET, 2), "byte orders", id="Joliet extent"),
        pytest.param(lambda: CONTENT.index(PASSWORD), "/cloudstack/password/vm_password.txt", id="content"),
    ],
)
def test_damage_is_named(where: Callable[[], int], says: str) -> None:
    assert says in str(refused(damaged(where(), 0x04)))


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o100444, "/cloudstack/metadata/vm_id.txt has another mode"), (0o040555, "another mode")],
)
def test_another_mode_is_found_though_it_is_well_formed(mode: int, says: str) -> None:
    start = behind(*VM_ID, b"PX", 4)()
    content = bytearray(CONTENT)
    content[start : start + 8] = struct.pack("<I", mode) + struct.pack(">I", mode)
    assert says in str(refused(bytes(content)))


def test_another_content_behind_a_name_is_found_in_each_tree() -> None:
    """Records that point to each other's content: all structures are sound, only the bytes are others."""
    other = VOLUME.primary["cloudstack/password/vm_password.txt"]
    for tree, folder, name in (VM_ID, VM_ID_JOLIET):
        start = in_record(tree, folder, name, 2)()
        content = bytearray(CONTENT)
        content[start : start + 8] = struct.pack("<I", other.extent) + struct.pack(">I", other.extent)
        assert "/cloudstack/metadata/vm_id.txt has another content" in str(refused(bytes(content)))


def test_a_directory_inside_itself_ends_the_reading() -> None:
    start = in_record(VOLUME.joliet, "", "ec2".encode("utf-16-be"), 2)()
    root = VOLUME.joliet[""].extent
    content = bytearray(CONTENT)
    content[start : start + 8] = struct.pack("<I", root) + struct.pack(">I", root)
    assert "two directories are the same one" in str(refused(bytes(content)))


def test_rock_ridge_continued_in_itself_ends_the_reading() -> None:
    entry = CONTENT.index(b"CE\x1c\x01")
    sector, offset = divmod(entry, SECTOR)
    content = bytearray(CONTENT)
    content[entry + 4 : entry + 28] = b"".join(
        struct.pack("<I", number) + struct.pack(">I", number) for number in (sector, offset, 28)
    )
    assert "continuation" in str(refused(bytes(content)))


def test_what_was_not_asked_for_is_found() -> None:
    one_less = {path: data for path, data in FILES.items() if "password" not in path}
    one_more = FILES | {"cloudstack/metadata/more.txt": b""}
    longer = FILES | {"cloudstack/metadata/vm_id.txt": b"14\0"}
    shorter = FILES | {"cloudstack/metadata/vm_id.txt": b"1"}
    for files in (one_less, one_more, longer, shorter):
        refused(CONTENT, files)
    refused(CONTENT, label="config-2")
    refused(CONTENT, label="CONFIG")
    with pytest.raises(PermanentError, match="date"):
        verify(CONTENT, FILES, "config", built_at=BUILT_AT + 1)
    assert not EXPECTED.fits(CONTENT, FILES, "config", BUILT_AT + 1)
    with pytest.raises(PermanentError, match="directories"):
        verify(CONTENT, FILES, "config", [*DIRECTORIES, "more"])


def test_what_stands_behind_a_content_is_found() -> None:
    """The rest of a sector could carry what another VM's drive had there."""
    assert "something behind it" in str(refused(damaged(CONTENT.index(PASSWORD) + len(PASSWORD))))


def test_a_content_inside_of_another_one_is_found() -> None:
    """Each name shows what was asked for; but a reader that writes, or checks, would find two files in one place."""
    files = {"a": bytes([1]) * 2 * SECTOR, "b": bytes([1]) * SECTOR}
    made = build(files).content
    volume = read.read(made)
    assert volume.primary["b"].extent == volume.primary["a"].extent + 2 == len(made) // SECTOR - 1
    content = bytearray(made[:-SECTOR])
    fields = [(tree["b"].record + 2, volume.primary["a"].extent + 1) for tree in (volume.primary, volume.joliet)]
    fields += [(descriptor + 80, len(content) // SECTOR) for descriptor in (PRIMARY, ENHANCED, JOLIET)]
    for start, number in fields:
        content[start : start + 8] = struct.pack("<I", number) + struct.pack(">I", number)
    with pytest.raises(PermanentError, match="overlap"):
        verify(bytes(content), files, "config")
    assert not layout_of(("a", "b"), DIRECTORIES).expected.fits(bytes(content), files, "config", BUILT_AT)


def test_an_image_that_does_not_read_back_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.iso.template.Template.fill", lambda *_: damaged(CONTENT.index(PASSWORD)))
    with pytest.raises(PermanentError, match="does not read back"):
        build()


def test_nor_is_one_with_more_files_than_a_layout_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.iso.write.write", lambda *_: CONTENT)
    with pytest.raises(PermanentError, match="does not read back"):
        build({f"{number}": b"" for number in range(MOST_FILES + 1)})
