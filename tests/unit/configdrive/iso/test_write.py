"""How an image is written: the same bytes every time, in full or from a template, and nothing of one VM in another."""

import gc
import os
import time
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.contents.render import DIRECTORIES
from configdrive.iso import read, write
from configdrive.iso.layout import MOST_FILES, checked_folders, layout_of
from tests.unit.configdrive.samples import BUILT_AT, FILES, build


def written(files: Mapping[str, bytes], built_at: float = BUILT_AT) -> bytes:
    return write.write(files, checked_folders(files, DIRECTORIES), "config", built_at)


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 32 * 1024, 2**20, 2**20 + 1])
def test_user_data_of_any_size(size: int) -> None:
    user_data = os.urandom(size)
    files = FILES | dict.fromkeys(("cloudstack/userdata/user_data.txt", "openstack/latest/user_data"), user_data)
    assert build(files).content == written(files)


def test_a_layout_with_as_many_files_as_are_kept_and_one_more_which_is_not() -> None:
    for count in (MOST_FILES, MOST_FILES + 1):
        files = {f"cloudstack/metadata/{number:03}{'x' * 57}.txt": b"%d" % (number // 2) for number in range(count)}
        before = layout_of.cache_info()
        assert build(files).content == written(files)
        assert (layout_of.cache_info() == before) == (count > MOST_FILES)


def test_threads_fill_in_the_same_blank() -> None:
    drives = [FILES | {"cloudstack/metadata/vm_id.txt": b"%d" % number * number} for number in range(40)]
    moments = [BUILT_AT + 86_401 * number for number in range(40)]
    wanted = [written(*pair) for pair in zip(drives, moments, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda files, moment: build(files, built_at=moment).content, drives, moments))
    assert found == wanted


def everything_kept() -> Iterator[object]:
    """Yield all objects that are reached from what is kept of layouts, but for code."""
    waiting, seen = gc.get_referents(layout_of), set[int]()
    while waiting:
        kept = waiting.pop()
        if id(kept) not in seen and not isinstance(kept, type | types.ModuleType | types.FunctionType):
            seen.add(id(kept))
            yield kept
            if kept is not layout_of.__wrapped__.__globals__:
                waiting += gc.get_referents(kept)


def test_nothing_of_a_vm_outlives_its_build() -> None:
    secrets = {path: os.urandom(24).hex().encode() for path in FILES}
    moment = BUILT_AT + 12_345
    first = build(secrets, label="My-Label", built_at=moment).content
    assert all(secret in first for secret in secrets.values())
    second = build(built_at=BUILT_AT).content
    kept = [text for text in everything_kept() if isinstance(text, bytes | str)]
    assert sum(map(len, kept)) > 100_000
    traces = [*secrets.values(), b"My-Label", write.dates(moment)[0], write.dates(moment)[1]]
    for trace in traces:
        assert trace not in second
        assert not any(trace in (text.encode() if isinstance(text, str) else text) for text in kept)


def kept_bytes() -> int:
    return sum(len(text) for text in everything_kept() if isinstance(text, bytes | str))


def test_what_is_kept_is_small_and_bounded() -> None:
    most = layout_of.cache_parameters()["maxsize"]
    layout_of.cache_clear()
    build()
    assert kept_bytes() < 256 * 2**10
    layout_of.cache_clear()
    build({f"cloudstack/metadata/{file:03}{'x' * 57}.txt": b"1" for file in range(MOST_FILES)})
    assert kept_bytes() < 512 * 2**10
    for number in range(most + 3):
        build({f"{number}": b""})
    assert layout_of.cache_info().currsize == most <= 32
    layout_of.cache_clear()


def test_a_usual_build_masters_nothing_and_reads_nothing_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = build().content
    monkeypatch.delattr("configdrive.iso.write.PyCdlib")
    monkeypatch.delattr("configdrive.iso.read.read")
    assert build().content == wanted


@pytest.mark.parametrize(("size", "times"), [(64 * 1024, 2), (64 * 1024 + 1, 1)])
def test_large_contents_are_stored_once_and_small_ones_for_each_file(size: int, times: int) -> None:
    paths = ("cloudstack/userdata/user_data.txt", "openstack/latest/user_data")
    content = os.urandom(size)
    built = build(FILES | dict.fromkeys(paths, content))
    volume = read.read(built.content)
    for path in paths:
        assert volume.primary[path].extent == volume.joliet[path].extent
    assert len({volume.primary[path].extent for path in paths}) == times
    assert built.content.count(content) == times


def test_directories_that_outgrow_a_sector() -> None:
    """pycdlib leaves the old length in the enhanced volume descriptor and in the records that point up."""
    names = [f"{number:04}-{'x' * 40}" for number in range(100)]
    files = {path: b"" for name in names for path in (name, f"a/{name}", f"b/{name}/file")}
    volume = read.read(build(files).content)
    assert volume.joliet[""].size > 2048 * 5
    assert volume.primary["b"].size > 2048 * 5


def test_neither_the_clock_nor_the_machines_time_zone_makes_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build().content
    try:
        for zone, now in (("Pacific/Kiritimati", 0.0), ("America/St_Johns", 951_826_954.0), ("Asia/Kathmandu", 4.1e9)):
            monkeypatch.setenv("TZ", zone)
            monkeypatch.setattr(time, "time", lambda now=now: now)
            time.tzset()
            assert build().content == written(FILES) == first
    finally:
        monkeypatch.undo()
        time.tzset()


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
    monkeypatch.setattr(write, "_finish", lambda *_: None)
    folders = checked_folders(FILES, ())
    assert write.write(FILES, folders, "config", BUILT_AT) != write.write(FILES, folders, "config", BUILT_AT)


@pytest.mark.parametrize("moment", [-1.0, 5_869_584_000.0, float("nan"), float("inf")])
def test_a_time_without_a_date_is_the_callers_mistake(moment: float) -> None:
    with pytest.raises(ValueError, match="built_at"):
        build(built_at=moment)
