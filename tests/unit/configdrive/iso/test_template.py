"""Filling in a template gives the very bytes of a full build, and nothing of one VM reaches another."""

from __future__ import annotations

import gc
import os
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.contents.render import DIRECTORIES
from configdrive.iso import write
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
