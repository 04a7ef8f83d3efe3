from __future__ import annotations

import json
import stat
from pathlib import Path

from nacl.public import PublicKey

from configdrive.client.public_key import read_public
from tests.unit.workers.cli.conftest import Run
from workers.cli.errors import ExitCode
from workers.config.keys import read_keys


def test_the_first_key_is_made_once_and_readable_for_its_owner_only(run: Run, tmp_path: Path) -> None:
    made = run("keys", "generate", "--json")
    again = run("keys", "generate")
    (key,) = read_keys(tmp_path / "keys.json")

    assert made.exit_code == ExitCode.DONE
    assert json.loads(made.stdout)["id"] == key.identity
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert again.exit_code == ExitCode.FAILED
    assert "configdrive keys rotate" in again.stderr


def test_rotation_adds_the_key_that_seals(run: Run, tmp_path: Path) -> None:
    run("keys", "generate")
    (first,) = read_keys(tmp_path / "keys.json")
    rotated = run("keys", "rotate")
    keys = read_keys(tmp_path / "keys.json")

    assert rotated.exit_code == ExitCode.DONE
    assert [key.identity for key in keys[:-1]] == [first.identity]
    listed = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert [(row["id"], row["newest"]) for row in listed] == [(keys[0].identity, False), (keys[1].identity, True)]
    assert [line.split()[2:] for line in run("keys", "list").stdout.splitlines()[1:]] == [["opens", "only"], ["seals"]]


def test_the_public_key_is_the_newest(run: Run, tmp_path: Path) -> None:
    run("keys", "generate")
    run("keys", "rotate")
    public = read_public(run("keys", "public").stdout)

    assert public == PublicKey(bytes(read_keys(tmp_path / "keys.json")[-1].private.public_key))


def test_no_command_shows_a_private_key(run: Run, tmp_path: Path) -> None:
    shown = [
        run("keys", *args).output
        for args in (["generate"], ["rotate"], ["list"], ["list", "--json"], ["rotate", "--json"], ["public"])
    ]
    private = [entry["private"] for entry in json.loads((tmp_path / "keys.json").read_text())["keys"]]

    assert len(private) == 3
    assert not any(secret in text for secret in private for text in shown)


def test_an_old_key_can_be_retired_and_the_newest_cannot(run: Run, tmp_path: Path) -> None:
    run("keys", "generate")
    run("keys", "rotate")
    old, new = (key.identity for key in read_keys(tmp_path / "keys.json"))

    refused = run("keys", "retire", new, "--force")
    unknown = run("keys", "retire", "0123456789abcdef", "--force")
    retired = run("keys", "retire", old, "--force")

    assert (refused.exit_code, unknown.exit_code, retired.exit_code) == (
        ExitCode.FAILED,
        ExitCode.FAILED,
        ExitCode.DONE,
    )
    assert "configdrive keys rotate" in refused.stderr
    assert "configdrive keys list" in unknown.stderr
    assert [key.identity for key in read_keys(tmp_path / "keys.json")] == [new]


def test_without_redis_nothing_is_retired_unforced(run: Run, tmp_path: Path) -> None:
    run("keys", "generate")
    run("keys", "rotate")
    old, _new = keys = [key.identity for key in read_keys(tmp_path / "keys.json")]

    assert run("keys", "retire", old).exit_code == ExitCode.UNAVAILABLE
    assert [key.identity for key in read_keys(tmp_path / "keys.json")] == keys


def test_a_missing_or_open_key_file_is_a_mistake_in_the_configuration(run: Run, tmp_path: Path) -> None:
    missing = [run("keys", *args) for args in (["list"], ["rotate"], ["public"], ["retire", "0123456789abcdef"])]
    run("keys", "generate")
    (tmp_path / "keys.json").chmod(0o644)
    is_open = run("keys", "list")

    assert {shown.exit_code for shown in (*missing, is_open)} == {ExitCode.MISCONFIGURED}
    assert all("configdrive keys generate" in shown.stderr for shown in missing)
    assert f"chmod 600 {tmp_path / 'keys.json'}" in is_open.stderr
