import json
from pathlib import Path

import pytest

from tests.unit.workers.cli.conftest import REDIS_PASSWORD, Run
from workers.cli.errors import ExitCode
from workers.config.unknown_variables import names_of_settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.toml"
    monkeypatch.setenv("CONFIGDRIVE_SETTINGS", str(path))
    return path


def test_each_setting_is_shown_with_where_it_comes_from_and_no_password(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('attempts = 5\nlabel = "l"\nsentinel_password = "Hunter3"\n[cloudstack]\nstart_at = "starting"\n')
    monkeypatch.setenv("CONFIGDRIVE_LABEL", "config-2")
    monkeypatch.setenv("CONFIGDRIVE_CLOUDSTACK__AMQP_QUEUE", "mine")
    rows = {
        row["setting"]: (row["value"], row["from"]) for row in json.loads(run("settings", "--json").stdout)["settings"]
    }
    text = run("settings").stdout + run("settings", "--changed").stdout

    assert set(rows) == {name.replace("__", ".") for name in names_of_settings()} - {"cloudstack"}
    assert rows["label"] == ("config-2", "CONFIGDRIVE_LABEL")
    assert rows["attempts"] == (5, str(file))
    assert rows["cloudstack.start_at"] == ("starting", str(file))
    assert rows["cloudstack.amqp_queue"] == ("mine", "CONFIGDRIVE_CLOUDSTACK__AMQP_QUEUE")
    assert rows["concurrency"] == (4, "default")
    assert not [secret for secret in (REDIS_PASSWORD, "Hunter3") if secret in text or secret in str(rows)]
    assert run("settings", "attempts").stdout.splitlines()[1].split() == ["attempts", "5", str(file)]


def test_the_defaults_are_listed_though_the_file_is_broken(run: Run, file: Path) -> None:
    file.write_text('lable = "x"\n')
    assert run("settings").exit_code != ExitCode.DONE
    assert "config " in run("settings", "--defaults", "label").stdout


def test_each_command_warns_once_of_a_variable_that_is_ignored_and_prints_nothing_else_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIGDRIVE_LABLE", "Hunter3")
    warning = "warning: the variable CONFIGDRIVE_LABLE is no setting, and is ignored. did you mean CONFIGDRIVE_LABEL?"
    shown = run("settings", "label", "--json")
    assert (shown.stderr, list(json.loads(shown.stdout))) == (f"{warning}\n", ["settings"])
    for command in (("show", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"), ("list", "--waiting")):
        said = run(*command).stderr
        assert said.count(warning) == 1, command
        assert "Hunter3" not in said, command
