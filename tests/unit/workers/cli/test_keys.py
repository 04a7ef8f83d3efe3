import json
import stat
from pathlib import Path

from nacl.public import PublicKey

from configdrive.client.public_key import read_public
from tests.unit.workers.cli.conftest import Run
from workers.cli.errors import ExitCode
from workers.config.keys import read_keys


def test_a_key_s_life_from_its_making_to_its_retirement(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = run("keys", "generate", "--json")
    again = run("keys", "generate")
    (first,) = read_keys(file)
    assert (made.exit_code, again.exit_code) == (ExitCode.DONE, ExitCode.FAILED)
    assert json.loads(made.stdout)["id"] == first.identity
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "configdrive keys rotate" in again.stderr

    rotated = run("keys", "rotate")
    old, new = keys = read_keys(file)
    assert (rotated.exit_code, old.identity) == (ExitCode.DONE, first.identity)
    listed, table, public = run("keys", "list", "--json"), run("keys", "list"), run("keys", "public")
    rows = json.loads(listed.stdout)["keys"]
    assert [(row["id"], row["newest"]) for row in rows] == [(old.identity, False), (new.identity, True)]
    assert [line.split()[2:] for line in table.stdout.splitlines()[1:]] == [["opens", "only"], ["seals"]]
    assert read_public(public.stdout) == PublicKey(bytes(new.private.public_key)), "the newest one's"

    without_redis = run("keys", "retire", old.identity)
    refused = run("keys", "retire", new.identity, "--force")
    unknown = run("keys", "retire", "0123456789abcdef", "--force")
    assert [one.exit_code for one in (without_redis, refused, unknown)] == [
        ExitCode.UNAVAILABLE,
        ExitCode.FAILED,
        ExitCode.FAILED,
    ]
    assert "configdrive keys rotate" in refused.stderr
    assert "configdrive keys list" in unknown.stderr
    assert read_keys(file) == keys
    again_rotated = run("keys", "rotate", "--json")
    private = [entry["private"] for entry in json.loads(file.read_text())["keys"]]
    said = "".join(one.output for one in (made, rotated, listed, table, public, again_rotated))
    assert [secret for secret in private if secret in said] == []
    for key in keys:
        assert run("keys", "retire", key.identity, "--force").exit_code == ExitCode.DONE
    assert len(read_keys(file)) == len(private) - 2 == 1


def test_a_missing_or_open_key_file_is_a_mistake_in_the_configuration(run: Run, tmp_path: Path) -> None:
    missing = [run("keys", *args) for args in (["list"], ["rotate"], ["public"], ["retire", "0123456789abcdef"])]
    run("keys", "generate")
    (tmp_path / "keys.json").chmod(0o644)
    is_open = run("keys", "list")

    assert {shown.exit_code for shown in (*missing, is_open)} == {ExitCode.MISCONFIGURED}
    assert all("configdrive keys generate" in shown.stderr for shown in missing)
    assert f"chmod 600 {tmp_path / 'keys.json'}" in is_open.stderr
