"""Filling in a template gives the very bytes of a full build, and nothing of one VM reaches another."""

from __future__ import annotations

import gc
import os
import types
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configdrive.contents.render import DIRECTORIES
from configdrive.iso import write
from configdrive.iso.layout import MOST_FILES, Layout, checked_folders, layout_of
from tests.unit.configdrive.samples import BUILT_AT, FILES, blobs, build, paths, tell_apart, trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

labels = st.from_regex(r"[A-Za-z0-9._-]{1,16}", fullmatch=True)
moments = st.floats(0, 5_869_583_999)


def layout(files: Mapping[str, bytes], directories: tuple[str, ...] = DIRECTORIES) -> Layout:
    return layout_of(tuple(sorted(files)), directories)


def filled(files: Mapping[str, bytes], label: str, built_at: float) -> bytes:
    """Return the image by its layout, which must recognize it."""
    made = layout(files).template.fill(files, label, built_at)
    assert layout(files).expected.fits(made, files, label, built_at)
    return made


def written(files: Mapping[str, bytes], label: str, built_at: float) -> bytes:
    return write.write(files, checked_folders(files, DIRECTORIES), label, built_at)


@given(trees, labels, moments)
def test_the_same_bytes_as_a_full_build(files: dict[str, bytes], label: str, built_at: float) -> None:
    assume(tell_apart(files))
    assert filled(files, label, built_at) == written(files, label, built_at)


@given(st.lists(paths, max_size=8, unique=True), st.data())
def test_one_blank_serves_all_contents(names: list[str], data: st.DataObject) -> None:
    """What is the same in one VM's files, and so is stored once, differs in another's."""
    assume(tell_apart(dict.fromkeys(names, b"")))
    for label in ("config", "config-2"):
        files = data.draw(st.fixed_dictionaries(dict.fromkeys(names, blobs)))
        assert filled(files, label, BUILT_AT) == written(files, label, BUILT_AT)


@given(st.lists(paths, max_size=3).map(tuple), trees)
def test_directories_that_hold_nothing_are_part_of_the_layout(
    directories: tuple[str, ...], files: dict[str, bytes]
) -> None:
    assume(tell_apart(files | {f"{path}/x": b"" for path in directories}))
    folders = checked_folders(files, directories)
    found = layout(files, directories).template.fill(files, "config", BUILT_AT)
    assert found == write.write(files, folders, "config", BUILT_AT)


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 32 * 1024, 2**20, 2**20 + 1])
def test_user_data_of_any_size(size: int) -> None:
    user_data = os.urandom(size)
    files = FILES | dict.fromkeys(("cloudstack/userdata/user_data.txt", "openstack/latest/user_data"), user_data)
    assert filled(files, "config", BUILT_AT) == written(files, "config", BUILT_AT)


def test_as_many_files_as_a_layout_keeps_and_one_more() -> None:
    for count in (MOST_FILES, MOST_FILES + 1):
        files = {f"cloudstack/metadata/{number:03}{'x' * 57}.txt": b"%d" % (number // 2) for number in range(count)}
        assert build(files).content == written(files, "config", BUILT_AT)


def test_threads_fill_in_the_same_blank() -> None:
    drives = [FILES | {"cloudstack/metadata/vm_id.txt": b"%d" % number * number} for number in range(40)]
    wanted = [written(files, "config", BUILT_AT + number) for number, files in enumerate(drives)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: build(pair[1], built_at=BUILT_AT + pair[0]).content, enumerate(drives)))
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


def test_a_drive_with_more_files_is_not_kept() -> None:
    before = layout_of.cache_info()
    build({f"{number}": b"" for number in range(MOST_FILES + 1)})
    assert layout_of.cache_info() == before


def test_a_usual_build_masters_nothing_and_reads_nothing_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = build().content
    monkeypatch.delattr("configdrive.iso.write.PyCdlib")
    monkeypatch.delattr("configdrive.iso.read.read")
    assert build().content == wanted
