"""Key files: private, whole or not there, and nothing of a key in anything that is shown."""

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.client.public_key import read_public
from configdrive.errors import FleetError, PermanentCode, PermanentError
from tests.support import error_of
from workers.config.keys import Key, public_text, read_keys, write_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keys.json"


def private_text(key: Key) -> str:
    return base64.b64encode(bytes(key.private)).decode()


def misconfigured(path: Path) -> FleetError:
    caught = error_of(read_keys, path)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert str(path) in caught.detail
    assert caught.remedy
    return caught


def test_a_key_file_and_its_directory_are_for_their_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        write_keys(path, [Key.generate()], replace=False)
        write_keys(path, [Key.generate()], replace=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o610, 0o601])
def test_a_key_file_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    write_keys(path, [Key.generate()], replace=False)
    path.chmod(mode)
    error = misconfigured(path)
    assert f"{mode:04o}" in error.detail
    assert error.remedy == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_that_is_its_owner_s_is_taken(path: Path, mode: int) -> None:
    write_keys(path, [Key.generate()], replace=False)
    path.chmod(mode)
    assert read_keys(path)


@pytest.mark.parametrize("so_far", [0, 1, 100])
def test_a_file_that_is_just_being_copied_to_here_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, so_far: int
) -> None:
    written = [Key.generate()]
    write_keys(path, written, replace=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:so_far])
    monkeypatch.setattr("time.sleep", lambda _seconds: path.write_bytes(whole))
    assert read_keys(path) == tuple(written)


def test_an_existing_file_stays_unless_it_is_to_be_replaced(path: Path) -> None:
    first, second = Key.generate(), Key.generate()
    assert write_keys(path, [first], replace=False)
    assert not write_keys(path, [second], replace=False)
    assert read_keys(path) == (first,)
    assert write_keys(path, [first, second], replace=True)
    assert read_keys(path) == (first, second)
    assert list(path.parent.iterdir()) == [path], "a draft was left behind"


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Key.generate()
    write_keys(path, [first], replace=False)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PermanentError, match="No space left") as caught:
        write_keys(path, [Key.generate()], replace=True)
    assert caught.value.code is PermanentCode.MISCONFIGURED
    assert read_keys(path) == (first,)
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_reported_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError) as raised:
        write_keys(tmp_path / "file" / "keys.json", [Key.generate()], replace=False)
    caught = raised.value
    assert caught.code is PermanentCode.MISCONFIGURED
    assert "CONFIGDRIVE_KEYS_FILE" in caught.remedy


def test_of_many_that_make_a_key_file_at_once_one_does(path: Path) -> None:
    made = [Key.generate() for _ in range(32)]
    with ThreadPoolExecutor(8) as pool:
        did = list(pool.map(lambda key: write_keys(path, [key], replace=False), made))
    assert read_keys(path) == tuple(key for key, first in zip(made, did, strict=True) if first)
    assert list(path.parent.iterdir()) == [path]


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_reported_with_the_command_that_makes_one(path: Path) -> None:
    assert "configdrive keys generate" in misconfigured(path).remedy


def test_a_directory_is_no_key_file(tmp_path: Path) -> None:
    misconfigured(tmp_path)


KEY = Key.generate()
ENTRY = {"id": KEY.identity, "created": KEY.created, "private": private_text(KEY)}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{}",
        "[]",
        "null",
        '"swordfish"',
        '{"keys": []}',
        '{"keys": "swordfish"}',
        '{"keys": ["swordfish"]}',
        '{"keys": [5]}',
        json.dumps({"keys": [{**ENTRY, "private": "swordfish"}]}),
        json.dumps({"keys": [{**ENTRY, "private": private_text(KEY)[:-4]}]}),
        json.dumps({"keys": [{**ENTRY, "private": 5}]}),
        json.dumps({"keys": [{**ENTRY, "private": None}]}),
        json.dumps({"keys": [{**ENTRY, "id": "0123456789abcdef"}]}),
        json.dumps({"keys": [{"id": KEY.identity, "private": private_text(KEY)}]}),
        json.dumps({"keys": [ENTRY]})[:-10],
    ],
    ids=map("file {}".format, range(16)),  # a key has another name in each process
)
def test_a_damaged_file_is_refused_without_quoting_it(path: Path, document: str) -> None:
    write_keys(path, [KEY], replace=False)
    path.write_text(document)
    error = misconfigured(path)
    reported = f"{error!r} {error.args}"
    assert "swordfish" not in reported
    assert private_text(KEY)[:12] not in reported
    assert error.__context__ is None


@given(content=st.binary(max_size=300))
def test_any_other_file_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with patch("time.sleep"):  # it may be one that is just being copied
        misconfigured(path)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_key_does_not_show_its_private_half() -> None:
    for shown in (repr(KEY), str(KEY), repr([KEY])):
        assert private_text(KEY) not in shown
        assert bytes(KEY.private).hex() not in shown
        assert "private" not in shown


# --- the public half --------------------------------------------------------------------------------------------------


def test_publishers_are_given_one_line() -> None:
    line = public_text(KEY)
    assert len(line) == 44
    assert private_text(KEY) != line
    assert read_public(line) == KEY.private.public_key
    assert read_public(f" {line}\n") == KEY.private.public_key


@pytest.mark.parametrize(
    "text",
    ["", "swordfish", "swordfish!", "größe", "A" * 44, base64.b64encode(b"31 bytes, and not one byte more").decode()],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    if text == "A" * 44:
        text = base64.b64encode(bytes(33)).decode()
    caught = error_of(read_public, text)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert "configdrive keys public" in caught.remedy
    assert not text or text not in repr(caught)
    assert caught.__context__ is None
