"""How the image is written: the same bytes every time, each content once, and what pycdlib gets wrong set right."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from configdrive.iso import read, write
from configdrive.iso.layout import checked_folders
from tests.unit.configdrive.samples import BUILT_AT, FILES, build


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
    monkeypatch.setattr(write, "_finish", lambda *_: None)
    folders = checked_folders(FILES, ())
    assert write.write(FILES, folders, "config", BUILT_AT) != write.write(FILES, folders, "config", BUILT_AT)


@pytest.mark.parametrize("moment", [-1.0, 5_869_584_000.0, float("nan"), float("inf")])
def test_a_time_without_a_date_is_the_callers_mistake(moment: float) -> None:
    with pytest.raises(ValueError, match="built_at"):
        build(built_at=moment)
