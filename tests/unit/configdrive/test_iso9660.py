"""The reader that has the last word: it finds all damage that a guest could notice, and tells no content."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive import contents, image, iso9660
from configdrive.errors import PermanentCode, PermanentError
from configdrive.rockridge import DamagedImageError
from tests.unit.configdrive.samples import FILES, PASSWORD, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT = build().content
VOLUME = iso9660.read(CONTENT)
SECTOR = 2048
PRIMARY, ENHANCED, JOLIET, TERMINATOR = (number * SECTOR for number in range(16, 20))


def path_tables(descriptor: int) -> list[range]:
    """Return where the two path tables of a tree lie."""
    (size,) = struct.unpack_from("<I", CONTENT, descriptor + 132)
    (little,) = struct.unpack_from("<I", CONTENT, descriptor + 140)
    (big,) = struct.unpack_from(">I", CONTENT, descriptor + 148)
    return [range(start * SECTOR, start * SECTOR + size) for start in (little, big)]


def sectors_of(tree: iso9660.Tree) -> list[range]:
    """Return where directories and contents lie, with the rest of their last sector."""
    return [
        range(node.extent * SECTOR, node.extent * SECTOR + -(-node.size // SECTOR) * SECTOR) for node in tree.values()
    ]


def everything_that_counts() -> list[int]:
    """Return the offsets of all bytes that a reader of the image looks at.

    Left out: system, publisher and application identifiers, the descriptors' unused ends, the description in the
    Rock Ridge announcement, and sectors that nothing points to.
    """
    descriptors = [
        range(start + first, start + last)
        for start in (PRIMARY, ENHANCED, JOLIET)
        for first, last in ((0, 8), (40, 190), (813, 882))
    ]
    (announcement,) = struct.unpack_from("<I", CONTENT, CONTENT.index(b"CE\x1c\x01") + 4)
    ranges = [
        range(PRIMARY),
        *descriptors,
        range(TERMINATOR, TERMINATOR + 7),
        *path_tables(PRIMARY),
        *path_tables(JOLIET),
        *sectors_of(VOLUME.primary),
        *sectors_of(VOLUME.joliet),
        range(announcement * SECTOR, announcement * SECTOR + 5),
        range(announcement * SECTOR + 8, announcement * SECTOR + 18),
    ]
    return sorted({offset for part in ranges for offset in part})


COUNTS = everything_that_counts()


def damaged(offset: int, flip: int = 0xFF) -> bytes:
    content = bytearray(CONTENT)
    content[offset] ^= flip
    return bytes(content)


def refused(content: bytes, files: Mapping[str, bytes] = FILES, label: str = "config") -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        image.verify(content, files, label)
    assert caught.value.code is PermanentCode.UNCLASSIFIED
    assert caught.value.remedy
    assert PASSWORD.decode() not in str(caught.value)
    return caught.value


def test_a_sound_image_passes() -> None:
    image.verify(CONTENT, FILES, "config")


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flipped_bit_is_found_in_every_byte_that_says_something(flip: int) -> None:
    unnoticed = []
    for offset in COUNTS:
        if CONTENT[offset] != 0:
            try:
                image.verify(damaged(offset, flip), FILES, "config")
            except PermanentError:
                continue
            unnoticed.append(offset)
    assert unnoticed == []


@given(st.sampled_from(COUNTS), st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_a_reader_looks(offset: int, flip: int) -> None:
    refused(damaged(offset, flip))


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_image_is_found(length: int) -> None:
    refused(CONTENT[:length])


@given(st.binary(max_size=300) | st.builds(lambda tail: CONTENT[:PRIMARY] + tail, st.binary(max_size=3 * SECTOR)))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(DamagedImageError):
        iso9660.read(content)


@given(st.lists(st.tuples(st.sampled_from(COUNTS), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_breaks_the_reader(changes: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENT)
    for offset, value in changes:
        content[offset] = value
    try:
        image.verify(bytes(content), FILES, "config")
    except PermanentError:
        return
    assert content == CONTENT


def at(descriptor: int, offset: int) -> Callable[[], int]:
    return lambda: descriptor + offset


def in_record(tree: iso9660.Tree, folder: str, name: bytes, offset: int) -> Callable[[], int]:
    """Return where a byte of a directory record lies, counted from the record's start."""

    def find() -> int:
        start = tree[folder].extent * SECTOR
        identifier = CONTENT.index(bytes([len(name)]) + name, start)
        return identifier - 32 + offset

    return find


def behind(tree: iso9660.Tree, folder: str, name: bytes, entry: bytes, offset: int) -> Callable[[], int]:
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
        pytest.param(lambda: path_tables(JOLIET)[0].start + 2, "path table", id="path table, little-endian"),
        pytest.param(lambda: path_tables(JOLIET)[1].start + 5, "path table", id="path table, big-endian"),
        pytest.param(in_record(*VM_ID, 1), "says something", id="extended attributes"),
        pytest.param(in_record(*VM_ID, 2), "byte orders", id="extent"),
        pytest.param(in_record(*VM_ID, 10), "byte orders", id="length"),
        pytest.param(in_record(*VM_ID, 18), "date differs", id="record's date"),
        pytest.param(in_record(*VM_ID, 25), "says something", id="flags"),
        pytest.param(in_record(*VM_ID, 33), "another name", id="primary name"),
        pytest.param(in_record(*VM_ID, 43), "version", id="version number"),
        pytest.param(behind(*VM_ID, b"NM", 5), "another name", id="Rock Ridge name"),
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
    with pytest.raises(PermanentError, match="directories"):
        image.verify(CONTENT, FILES, "config", [*contents.DIRECTORIES, "more"])


def test_what_stands_behind_a_content_is_found() -> None:
    """The rest of a sector could carry what another VM's drive had there."""
    assert "something behind it" in str(refused(damaged(CONTENT.index(PASSWORD) + len(PASSWORD))))


def test_an_image_that_does_not_read_back_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.mastering.master", lambda *_: damaged(CONTENT.index(PASSWORD)))
    with pytest.raises(PermanentError, match="does not read back"):
        build()
