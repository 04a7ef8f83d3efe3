"""The image: it holds what was asked for, and what no reader could tell apart is refused."""

import hashlib
import time
from io import BytesIO
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pycdlib import PyCdlib
from pycdlib.dr import DirectoryRecord

from configdrive.contents.render import DIRECTORIES, MAX_BYTES
from configdrive.errors import PermanentCode
from configdrive.iso import read, write
from configdrive.iso.build import validate_label
from configdrive.iso.layout import checked_folders, layout_of
from tests.support import error_of
from tests.unit import strategies
from tests.unit.configdrive.samples import NAME, build, paths, tell_apart, trees

LAST_MOMENT = 5_869_583_999.0
"""The last second of 2155, in seconds since 1970: no record has a later date."""


def test_an_image_says_what_it_is() -> None:
    built = build()
    assert built.name == NAME
    assert built.label == "config"
    assert built.sha256 == hashlib.sha256(built.content).hexdigest()
    assert len(built.content) % 2048 == 0
    assert "correct horse" not in repr(built)
    assert len(repr(built)) < 400


def test_every_directory_is_there_also_when_it_holds_nothing() -> None:
    volume = read.read(build({}).content)
    for tree in (volume.primary, volume.joliet):
        assert set(tree) == {"", "cloudstack", "openstack", "ec2", *DIRECTORIES}
        assert all(node.is_directory for node in tree.values())


def test_modes_owners_and_links_are_as_in_the_seeds_listing() -> None:
    tree = read.read(build().content).primary
    shown = {path: (oct(node.posix.mode), node.posix.links) for path, node in tree.items() if node.posix}
    assert shown[""] == ("0o40555", 5)
    assert shown["cloudstack"] == ("0o40555", 5)
    assert shown["cloudstack/metadata"] == ("0o40555", 2)
    assert shown["cloudstack/metadata/vm_id.txt"] == ("0o100555", 1)
    assert {(node.posix.uid, node.posix.gid) for node in tree.values() if node.posix} == {(0, 0)}


@given(trees, st.lists(paths, max_size=3), strategies.labels, st.floats(0, LAST_MOMENT), st.randoms())
def test_what_was_built_reads_back(
    files: dict[str, bytes], more: list[str], label: str, built_at: float, chance: Random
) -> None:
    """By our reader, and by pycdlib, which made the template: our dates and checks have not broken what it reads."""
    assume(tell_apart([*files, *(f"{path}/x" for path in more)]))
    directories = (*DIRECTORIES, *more)
    content = build(files, label, built_at, directories).content
    volume = read.read(content)
    for tree in (volume.primary, volume.joliet):
        nodes = {path: node for path, node in tree.items() if not node.is_directory}
        assert {path: content[node.extent * 2048 :][: node.size] for path, node in nodes.items()} == files
    iso = PyCdlib()
    iso.open_fp(BytesIO(content))
    for path, wanted in files.items():
        for how in ({"rr_path": f"/{path}"}, {"joliet_path": f"/{path}"}, {"iso_path": f"/{path};1"}):
            found = BytesIO()
            iso.get_file_from_iso_fp(found, **how)
            assert found.getvalue() == wanted
    record = iso.get_record(rr_path="/cloudstack")
    assert isinstance(record, DirectoryRecord)
    date, moment = record.date, time.gmtime(built_at)
    assert (date.years_since_1900 + 1900, date.month, date.day_of_month) == moment[:3]
    assert (date.hour, date.minute, date.second, date.gmtoffset) == (*moment[3:6], 0)
    iso.close()
    shuffled = chance.sample(list(files.items()), len(files))
    assert build(dict(shuffled), label, built_at, directories).content == content
    # What is the same in one VM's files, and so is stored once, differs in another's: one template serves both.
    others = {path: chance.choice(list(files.values())) for path in files}
    for each in (files, others):
        written = write.write(each, checked_folders(each, directories), label, built_at)
        assert build(each, label, built_at, directories).content == written
        assert layout_of(tuple(sorted(each)), directories).expected.fits(written, each, label, built_at)


def test_paths_may_be_as_deep_and_as_long_as_the_standard_has_it() -> None:
    deep = "/".join("abcdefg")
    long = "/".join("x" * 63 for _ in range(4))
    volume = read.read(build({deep: b"deep", long: b"long"}).content)
    assert deep in volume.joliet
    assert long in volume.primary


def test_a_label_that_some_reader_does_not_find_is_refused() -> None:
    """`test_model.py` says which."""
    for refuse in (validate_label, lambda wrong: build(label=wrong)):
        caught = error_of(refuse, "two words")
        assert (caught.code, caught.detail[:7]) == (PermanentCode.INVALID_CONTENT, "label: ")
        assert caught.remedy


@pytest.mark.parametrize(
    "paths",
    [
        ("cloudstack/metadata/vm-id.txt", "cloudstack/metadata/VM_ID.TXT"),
        ("cloudstack/metadata/vm_id.txt", "cloudstack/metadata/VM_ID.TXT"),
        ("a/b", "A/c"),
        ("a/b", "a/B"),
        ("cloudstack", "x"),
        ("a", "a/b"),
        ("CloudStack/x",),
    ],
)
def test_names_that_some_reader_cannot_tell_apart_are_refused(paths: tuple[str, ...]) -> None:
    caught = error_of(build, dict.fromkeys(paths, b"secret"))
    assert caught.code is PermanentCode.INVALID_CONTENT
    assert caught.remedy
    assert "secret" not in str(caught)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b"),
        *("a b", "a;1", "ä", "a\0", "a\n", "a\\b", "x" * 65),
        *("a.", "a./b", "nul", "a/Con.txt", "com1/x"),
        *("/".join("abcdefgh"), "/".join(["x" * 63] * 4) + "/y"),
    ],
)
def test_names_that_are_none_are_refused(path: str) -> None:
    caught = error_of(build, {path: b"secret"})
    assert caught.code is PermanentCode.INVALID_CONTENT
    assert "secret" not in str(caught)


def test_pycdlib_would_corrupt_what_we_refuse() -> None:
    """Why names are checked before building: the library takes a duplicate in silence, and its image is damaged."""
    iso = PyCdlib()
    iso.new(interchange_level=3)
    for content in (b"first", b"second"):
        iso.add_fp(BytesIO(content), len(content), "/VM_ID.TXT;1")
    iso.write_fp(written := BytesIO())
    assert written.getvalue().count(b"VM_ID.TXT;1") == 2


def test_the_largest_drive_is_64_mib() -> None:
    overhead = len(build({"a": b"x"}).content) - 2048
    assert len(build({"a": bytes(MAX_BYTES - overhead)}).content) == MAX_BYTES


@pytest.mark.parametrize("excess", ["a sector", "a lot"])
def test_a_larger_one_is_refused(excess: str) -> None:
    overhead = len(build({"a": b"x"}).content) - 2048
    size = MAX_BYTES - overhead + 1 if excess == "a sector" else MAX_BYTES + 1
    caught = error_of(build, {"a": bytes(size)})
    assert caught.code is PermanentCode.CONTENT_TOO_LARGE
    assert str(MAX_BYTES) in caught.detail


def test_what_stands_twice_counts_once() -> None:
    half = bytes(MAX_BYTES * 3 // 4)
    assert len(build({"a": half, "b": half}).content) < MAX_BYTES
