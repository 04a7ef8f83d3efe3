"""Two opinions on a finished image: the reader's, who has the last word, and that of what a layout expects.

The reader finds all damage that a guest could notice, and tells no content. The expectation says yes to what was asked
for, and to nothing that the reader would refuse.
"""

import struct
import tracemalloc
from collections.abc import Callable, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from configdrive.contents.render import DIRECTORIES
from configdrive.errors import FleetError, PermanentCode, PermanentError
from configdrive.iso import read, write
from configdrive.iso.ecma119 import DamagedImageError
from configdrive.iso.layout import MOST_FILES, checked_folders, layout_of
from configdrive.iso.verify import verify
from tests.support import error_of
from tests.unit.configdrive.samples import BUILT_AT, FILES, PASSWORD, build

CONTENT = build().content
VOLUME = read.read(CONTENT)
PATHS = tuple(sorted(FILES))
EXPECTED = layout_of(PATHS, DIRECTORIES).expected
SECTOR = 2048
VM_ID_FILE, PASSWORD_FILE = "cloudstack/metadata/vm_id.txt", "cloudstack/password/vm_password.txt"
PRIMARY, ENHANCED, JOLIET, TERMINATOR = (number * SECTOR for number in range(16, 20))


def path_tables(descriptor: int) -> tuple[int, int]:
    """Return where the two path tables of a tree begin."""
    (little,) = struct.unpack_from("<I", CONTENT, descriptor + 140)
    (big,) = struct.unpack_from(">I", CONTENT, descriptor + 148)
    return little * SECTOR, big * SECTOR


def both(*numbers: int) -> bytes:
    """Write numbers, each little-endian, then big-endian."""
    return b"".join(struct.pack("<I", number) + struct.pack(">I", number) for number in numbers)


def changed(*changes: tuple[int, bytes], content: bytes = CONTENT) -> bytes:
    """Return the image, or another one, with these bytes at these offsets."""
    made = bytearray(content)
    for start, data in changes:
        made[start : start + len(data)] = data
    return bytes(made)


def damaged(offset: int, flip: int = 0xFF) -> bytes:
    return changed((offset, bytes([CONTENT[offset] ^ flip])))


def pointed(*changes: tuple[str, str]) -> bytes:
    """Return the image with the first path's records, in both trees, saying what the second one's say."""
    content = CONTENT
    for path, other in changes:
        for tree in (VOLUME.primary, VOLUME.joliet):
            source = tree[other].record + 2
            content = changed((tree[path].record + 2, content[source : source + 16]), content=content)
    return content


def fits(content: bytes, files: Mapping[str, bytes] = FILES, label: str = "config", built_at: float = BUILT_AT) -> bool:
    return EXPECTED.fits(content, files, label, built_at)


def refused(content: bytes, files: Mapping[str, bytes] = FILES, label: str = "config") -> FleetError:
    """Both opinions are asked: the reader's, and the expectation's, who need not say why."""
    assert files.keys() != FILES.keys() or not fits(content, files, label)
    caught = error_of(verify, content, files, label)
    assert caught.code is PermanentCode.UNCLASSIFIED
    assert caught.remedy
    assert PASSWORD.decode() not in str(caught)
    return caught


def test_a_sound_image_passes() -> None:
    verify(CONTENT, FILES, "config", built_at=BUILT_AT)
    assert fits(CONTENT)


def test_a_flipped_bit_is_found_wherever_it_is() -> None:
    """By the expectation anywhere, by the reader wherever there is not zero; in an image with each kind of record."""
    files, directories = {"a/b.txt": b"14", "a/c-d": b""}, ("a", "e")
    sound = build(files, directories=directories).content
    expected = layout_of(tuple(sorted(files)), directories).expected
    verify(sound, files, "config", directories)
    content = bytearray(sound)
    for offset in {*range(0, len(sound), 5), *(offset for offset, byte in enumerate(sound) if byte)}:
        content[offset] ^= 1 << offset % 8
        assert not expected.fits(bytes(content), files, "config", BUILT_AT), offset
        if sound[offset]:
            error_of(verify, bytes(content), files, "config", directories)
        content[offset] = sound[offset]


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_image_is_found(length: int) -> None:
    refused(CONTENT[:length])


@given(st.binary(max_size=300) | st.builds(lambda tail: CONTENT[:PRIMARY] + tail, st.binary(max_size=3 * SECTOR)))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(DamagedImageError):
        read.read(content)


@given(
    swaps=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS)), max_size=3),
    damage=st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), max_size=20),
    is_asked_for=st.booleans(),
)
@example(swaps=[(VM_ID_FILE, PASSWORD_FILE)], damage=[], is_asked_for=False)
@example(swaps=[(PASSWORD_FILE, VM_ID_FILE)], damage=[], is_asked_for=True)  # the password is there, under no name
def test_no_damage_breaks_the_reader_and_what_fits_would_be_read_in_full(
    *, swaps: list[tuple[str, str]], damage: list[tuple[int, int]], is_asked_for: bool
) -> None:
    content = changed(*((offset, bytes([value])) for offset, value in damage), content=pointed(*swaps))
    files = dict(FILES)
    for path, other in swaps if is_asked_for else ():
        files[path] = files[other]
    try:
        verify(content, files, "config", built_at=BUILT_AT)
    except PermanentError:
        assert not fits(content, files)
    else:
        # It need not, but does: every sound image of a layout is known by its expectation.
        assert fits(content, files)


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
    assert says in str(refused(changed((behind(*VM_ID, b"PX", 4)(), both(mode)))))


def test_another_content_behind_a_name_is_found_in_each_tree() -> None:
    """Records that point to each other's content: all structures are sound, only the bytes are others."""
    other = both(VOLUME.primary[PASSWORD_FILE].extent)
    for tree in (VOLUME.primary, VOLUME.joliet):
        content = changed((tree[VM_ID_FILE].record + 2, other))
        assert "/cloudstack/metadata/vm_id.txt has another content" in str(refused(content))


def test_a_directory_inside_itself_ends_the_reading() -> None:
    start = in_record(VOLUME.joliet, "", "ec2".encode("utf-16-be"), 2)()
    content = changed((start, both(VOLUME.joliet[""].extent)))
    assert "two directories are the same one" in str(refused(content))


def test_half_a_character_in_a_path_table_ends_the_reading() -> None:
    refused(damaged(path_tables(JOLIET)[0] + 10, 0x01))  # the length of the first name behind the root's


def test_rock_ridge_continued_in_itself_ends_the_reading() -> None:
    entry = CONTENT.index(b"CE\x1c\x01")
    assert "continuation" in str(refused(changed((entry + 4, both(*divmod(entry, SECTOR), 28)))))


def test_what_was_not_asked_for_is_found() -> None:
    for path, data in FILES.items():
        refused(CONTENT, {other: FILES[other] for other in FILES if other != path})
        for wrong in {b"", data + b"\0", data[:-1], data + bytes(2048), bytes(len(data))} - {data}:
            refused(CONTENT, FILES | {path: wrong})
    refused(CONTENT, FILES | {"cloudstack/metadata/more.txt": b""})
    for label in ("config-2", "CONFIG"):
        refused(CONTENT, label=label)
    with pytest.raises(PermanentError, match="date"):
        verify(CONTENT, FILES, "config", built_at=BUILT_AT + 1)
    assert not fits(CONTENT, built_at=BUILT_AT + 1)
    with pytest.raises(PermanentError, match="directories"):
        verify(CONTENT, FILES, "config", [*DIRECTORIES, "more"])
    renamed = {path.replace("vm_id", "vm_ID").replace("vm-id", "vm-ID"): data for path, data in FILES.items()}
    other = build(renamed).content
    assert len(other) == len(CONTENT)
    assert not fits(other, FILES | renamed)


def test_what_stands_behind_a_content_is_found() -> None:
    """The rest of a sector could carry what another VM's drive had there."""
    assert "something behind it" in str(refused(damaged(CONTENT.index(PASSWORD) + len(PASSWORD))))


def test_a_content_inside_of_another_one_is_found() -> None:
    """Each name shows what was asked for; but a reader that writes, or checks, would find two files in one place."""
    files = {"a": bytes([1]) * 2 * SECTOR, "b": bytes([1]) * SECTOR}
    made = build(files).content
    volume = read.read(made)
    assert volume.primary["b"].extent == volume.primary["a"].extent + 2 == len(made) // SECTOR - 1
    fields = [(tree["b"].record + 2, volume.primary["a"].extent + 1) for tree in (volume.primary, volume.joliet)]
    fields += [(descriptor + 80, len(made) // SECTOR - 1) for descriptor in (PRIMARY, ENHANCED, JOLIET)]
    content = changed(*((start, both(number)) for start, number in fields), content=made[:-SECTOR])
    with pytest.raises(PermanentError, match="overlap"):
        verify(content, files, "config")
    assert not layout_of(("a", "b"), DIRECTORIES).expected.fits(content, files, "config", BUILT_AT)


def test_two_files_that_share_a_small_content_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """bsdtar would print nothing for one of them."""
    monkeypatch.setattr("configdrive.iso.write.MOST_OF_ITS_OWN", 0)
    shared = write.write(FILES, checked_folders(FILES, DIRECTORIES), "config", BUILT_AT)
    assert len(shared) < len(CONTENT)
    assert "share a small content" in str(refused(shared))


LAST = max((node.extent, path) for path, node in VOLUME.primary.items() if not node.is_directory)[1]
LAST_EXTENT = VOLUME.primary[LAST].extent


def moved(extent: int, content: bytes = CONTENT) -> bytes:
    """Return the image, or another one, as sound as can be, but with the last content said to be somewhere else."""
    nodes = [node for tree in (VOLUME.primary, VOLUME.joliet) for node in tree.values() if node.extent == LAST_EXTENT]
    lengths = [(descriptor + 80, both(len(content) // SECTOR)) for descriptor in (PRIMARY, ENHANCED, JOLIET)]
    return changed(*((node.record + 2, both(extent)) for node in nodes), *lengths, content=content)


def test_records_that_say_the_wrong_place_are_found() -> None:
    assert moved(LAST_EXTENT) == CONTENT
    end = LAST_EXTENT * SECTOR
    refused(moved(LAST_EXTENT + 1))
    refused(moved(0, CONTENT[:end]))
    assert not fits(moved(LAST_EXTENT + 1, CONTENT[:end] + bytes(SECTOR) + CONTENT[end:]))
    for extent in (1, LAST_EXTENT, len(CONTENT) // SECTOR):
        trees = (VOLUME.primary, VOLUME.joliet)
        content = changed(*((tree["cloudstack/metadata/empty.txt"].record + 2, both(extent)) for tree in trees))
        assert "empty file" in str(refused(content))


def test_an_image_that_goes_on_is_found_though_it_says_so() -> None:
    assert not fits(CONTENT + bytes(SECTOR))
    assert not fits(moved(LAST_EXTENT, CONTENT + bytes(SECTOR)))
    assert "nothing points to" in str(refused(moved(LAST_EXTENT, CONTENT + PASSWORD.ljust(SECTOR, b"\0"))))


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


def test_an_image_that_does_not_read_back_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.iso.template.Template.fill", lambda *_: damaged(CONTENT.index(PASSWORD)))
    with pytest.raises(PermanentError, match="does not read back"):
        build()


def test_nor_is_one_with_more_files_than_a_layout_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.iso.write.write", lambda *_: CONTENT)
    with pytest.raises(PermanentError, match="does not read back"):
        build({f"{number}": b"" for number in range(MOST_FILES + 1)})
