"""The image: it holds what was asked for, in the same bytes every time, and damage is found."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pycdlib import PyCdlib
from pycdlib.dr import DirectoryRecord

from configdrive import contents, image, iso9660, mastering
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Generation, Image, ImageName, InstanceName, VmUuid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

NAME = ImageName(InstanceName("i-2-14-VM"), VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"), Generation(7))
BUILT_AT = 1_489_130_003.75  # 2017-03-10 07:13:23 UTC, the seed's directories
PASSWORD = b"correct horse battery staple"
FILES = {
    "cloudstack/metadata/vm_id.txt": b"14",
    "cloudstack/metadata/vm-id.txt": b"14",
    "cloudstack/metadata/empty.txt": b"",
    "cloudstack/password/vm_password.txt": PASSWORD,
    "cloudstack/userdata/user_data.txt": bytes(range(256)) * 9,
    "openstack/latest/user_data": bytes(range(256)) * 9,
}

parts = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True).filter(image._NAME.fullmatch)
short_parts = st.sampled_from(["a", "b", "c-d", "c_d", "..x", "E.F", "0" * 64])
paths = st.lists(st.one_of(short_parts, parts), min_size=1, max_size=4).map("/".join).filter(lambda p: len(p) <= 255)
# Around the sector's size, where an off-by-one would show.
sizes = st.sampled_from([0, 1, 2047, 2048, 2049, 4095, 4096, 4097]) | st.integers(0, 300)
blobs = (
    st.builds(lambda seed, size: (bytes([seed]) + b"\x00\xff" * 2049)[:size], st.integers(0, 3), sizes) | st.binary()
)
trees = st.dictionaries(paths, blobs, max_size=12)


def build(files: Mapping[str, bytes] = FILES, label: str = "config", built_at: float = BUILT_AT) -> Image:
    return image.build(NAME, files, label=label, built_at=built_at)


def tell_apart(files: Mapping[str, bytes]) -> bool:
    """Say whether no path is another one's folder, nor another one in a different case."""
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    folders |= {"cloudstack", "openstack", "ec2", *contents.DIRECTORIES}
    everything = [*files, *folders]
    return len({path.lower().replace("-", "_") for path in everything}) == len(
        {path.replace("-", "_") for path in everything}
    ) and not folders & set(files)


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def test_an_image_says_what_it_is() -> None:
    built = build()
    assert built.name == NAME
    assert built.label == "config"
    assert built.sha256 == hashlib.sha256(built.content).hexdigest()
    assert len(built.content) % 2048 == 0
    assert "correct horse" not in repr(built)
    assert len(repr(built)) < 400


def test_every_directory_is_there_also_when_it_holds_nothing() -> None:
    volume = iso9660.read(build({}).content)
    for tree in (volume.primary, volume.joliet):
        assert set(tree) == {"", "cloudstack", "openstack", "ec2", *contents.DIRECTORIES}
        assert all(node.is_directory for node in tree.values())


def test_modes_owners_and_links_are_as_in_the_seeds_listing() -> None:
    tree = iso9660.read(build().content).primary
    shown = {path: (oct(node.posix.mode), node.posix.links) for path, node in tree.items() if node.posix}
    assert shown[""] == ("0o40555", 5)
    assert shown["cloudstack"] == ("0o40555", 5)
    assert shown["cloudstack/metadata"] == ("0o40555", 2)
    assert shown["cloudstack/metadata/vm_id.txt"] == ("0o100555", 1)
    assert {(node.posix.uid, node.posix.gid) for node in tree.values() if node.posix} == {(0, 0)}


def test_identical_contents_are_stored_once() -> None:
    built = build()
    volume = iso9660.read(built.content)
    for tree in (volume.primary, volume.joliet):
        user_data = {tree[path].extent for path in FILES if "user" in path}
        assert len(user_data) == 1
    assert volume.primary["openstack/latest/user_data"].extent == volume.joliet["openstack/latest/user_data"].extent
    assert built.content.count(FILES["openstack/latest/user_data"]) == 1


@given(trees)
def test_what_was_built_reads_back(files: dict[str, bytes]) -> None:
    assume(tell_apart(files))
    volume = iso9660.read(build(files).content)
    content = build(files).content
    for tree in (volume.primary, volume.joliet):
        found = {
            path: content[node.extent * 2048 : node.extent * 2048 + node.size]
            for path, node in tree.items()
            if not node.is_directory
        }
        assert found == files


@given(trees)
def test_pycdlib_reads_the_same(files: dict[str, bytes]) -> None:
    """The builder's library as a reader of its own: our dates and checks have not broken it."""
    assume(tell_apart(files))
    iso = PyCdlib()
    iso.open_fp(BytesIO(build(files).content))
    for path, wanted in files.items():
        for how in ({"rr_path": f"/{path}"}, {"joliet_path": f"/{path}"}, {"iso_path": f"/{path};1"}):
            found = BytesIO()
            iso.get_file_from_iso_fp(found, **how)
            assert found.getvalue() == wanted
    iso.close()


def test_directories_that_outgrow_a_sector() -> None:
    """pycdlib leaves the old length in the enhanced volume descriptor and in the records that point up."""
    names = [f"{number:04}-{'x' * 40}" for number in range(100)]
    files = {path: b"" for name in names for path in (name, f"a/{name}", f"b/{name}/file")}
    volume = iso9660.read(build(files).content)
    assert volume.joliet[""].size > 2048 * 5
    assert volume.primary["b"].size > 2048 * 5


def test_a_thousand_files_in_one_directory() -> None:
    files = {f"cloudstack/metadata/key-{number:04}.txt": str(number).encode() for number in range(1000)}
    volume = iso9660.read(build(files).content)
    assert volume.primary["cloudstack/metadata"].size > 2048 * 50
    assert len(volume.joliet) == 1000 + 9


def test_paths_may_be_as_deep_and_as_long_as_the_standard_has_it() -> None:
    deep = "/".join("abcdefg")
    long = "/".join("x" * 63 for _ in range(4))
    volume = iso9660.read(build({deep: b"deep", long: b"long"}).content)
    assert deep in volume.joliet
    assert long in volume.primary


@given(trees, st.randoms())
def test_the_order_of_the_files_makes_no_difference(files: dict[str, bytes], chance: Random) -> None:
    assume(tell_apart(files))
    pairs = list(files.items())
    chance.shuffle(pairs)
    assert build(dict(pairs)).content == build(files).content


def test_the_clock_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build().content
    for second in (0.0, 951_826_954.0, 4_102_444_799.0):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        assert build().content == first


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu"])
def test_the_machines_time_zone_makes_no_difference(zone: str) -> None:
    with time_zone("UTC"):
        first = build().content
    with time_zone(zone):
        assert build().content == first


def test_only_the_dates_follow_the_time_given() -> None:
    first, second, same = (build(built_at=moment).content for moment in (BUILT_AT, BUILT_AT + 1, BUILT_AT + 0.2))
    assert same == first
    assert second != first
    differing = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert set(differing) == {(23, 24), (ord("3"), ord("4"))}


def test_pycdlibs_own_dates_would_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, the two tests above could not fail."""
    clock = iter(range(10**9, 2 * 10**9, 86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(mastering, "_finish", lambda *_: None)
    folders = image._folders(FILES, ())
    assert mastering.master(FILES, folders, "config", BUILT_AT) != mastering.master(FILES, folders, "config", BUILT_AT)


def test_threads_do_not_get_each_others_time() -> None:
    moments = [BUILT_AT + 86_400 * number for number in range(4)]
    wanted = [build(built_at=moment).content for moment in moments]
    wrong: list[float] = []
    start = threading.Barrier(len(moments))

    def build_often(moment: float, expected: bytes) -> None:
        start.wait()
        if any(build(built_at=moment).content != expected for _ in range(25)):
            wrong.append(moment)

    threads = [threading.Thread(target=build_often, args=pair) for pair in zip(moments, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("moment", [0.0, 951_782_400.0, 5_869_583_999.0])
def test_times_from_1970_to_2155_have_a_date(moment: float) -> None:
    iso = PyCdlib()
    iso.open_fp(BytesIO(build(built_at=moment).content))
    record = iso.get_record(rr_path="/cloudstack")
    assert isinstance(record, DirectoryRecord)
    date = record.date
    wanted = time.gmtime(moment)
    assert (date.years_since_1900 + 1900, date.month, date.day_of_month) == wanted[:3]
    assert (date.hour, date.minute, date.second, date.gmtoffset) == (*wanted[3:6], 0)
    iso.close()


@pytest.mark.parametrize("moment", [-1.0, 5_869_584_000.0, float("nan"), float("inf")])
def test_a_time_without_a_date_is_the_callers_mistake(moment: float) -> None:
    with pytest.raises(ValueError, match="built_at"):
        build(built_at=moment)


@pytest.mark.parametrize("label", ["config", "config-2", "CONFIG-2", "a", "x" * 16, "my.Label_1"])
def test_labels_that_readers_find(label: str) -> None:
    image.validate_label(label)
    assert iso9660.read(build(label=label).content).label == label


@pytest.mark.parametrize("label", ["", "x" * 17, "two words", "config ", "a/b", "ä", "a\nb", "a:b", 'a"b', "a*"])
def test_labels_that_some_reader_does_not_find(label: str) -> None:
    for refuse in (image.validate_label, lambda wrong: build(label=wrong)):
        with pytest.raises(PermanentError, match="label: ") as caught:
            refuse(label)
        assert caught.value.code is PermanentCode.INVALID_CONTENT
        assert caught.value.remedy


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
    with pytest.raises(PermanentError) as caught:
        build(dict.fromkeys(paths, b"secret"))
    assert caught.value.code is PermanentCode.INVALID_CONTENT
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


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
    with pytest.raises(PermanentError) as caught:
        build({path: b"secret"})
    assert caught.value.code is PermanentCode.INVALID_CONTENT
    assert "secret" not in str(caught.value)


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
    assert len(build({"a": bytes(contents.MAX_BYTES - overhead)}).content) == contents.MAX_BYTES


@pytest.mark.parametrize("excess", ["a sector", "a lot"])
def test_a_larger_one_is_refused(excess: str) -> None:
    overhead = len(build({"a": b"x"}).content) - 2048
    size = contents.MAX_BYTES - overhead + 1 if excess == "a sector" else contents.MAX_BYTES + 1
    with pytest.raises(PermanentError) as caught:
        build({"a": bytes(size)})
    assert caught.value.code is PermanentCode.CONTENT_TOO_LARGE
    assert str(contents.MAX_BYTES) in caught.value.detail


def test_what_stands_twice_counts_once() -> None:
    half = bytes(contents.MAX_BYTES * 3 // 4)
    assert len(build({"a": half, "b": half}).content) < contents.MAX_BYTES
