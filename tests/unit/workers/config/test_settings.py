"""Settings: where they come from, which combinations are refused, and that no value of theirs is reported."""

import ast
import inspect
import itertools
import os
from pathlib import Path

import pytest

from configdrive.client.settings import ClientSettings
from configdrive.errors import FleetError, PermanentCode
from tests.support import error_of
from workers.config.settings import Settings, load_settings

SECRET = "sw0rdfish"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings."""
    for name in os.environ:
        if name.startswith("CONFIGDRIVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def refused(monkeypatch: pytest.MonkeyPatch, **values: str) -> FleetError:
    for name, value in values.items():
        monkeypatch.setenv(f"CONFIGDRIVE_{name.upper()}", value)
    caught = error_of(load_settings)
    error = caught
    assert error.code is PermanentCode.MISCONFIGURED
    assert error.remedy
    assert error.__context__ is None, "pydantic's own text quotes values"
    assert SECRET not in f"{error!r} {error.args}"
    return error


def test_without_anything_set_the_fleet_runs_on_this_machine(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.inventory == tmp_path / "config" / "configdrive" / "inventory.toml"
    assert settings.keys_file == tmp_path / "config" / "configdrive" / "keys.json"
    assert (settings.label, settings.pool, settings.hypervisors) == ("config", "prefork", ())


def test_without_a_config_home_it_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings().keys_file == tmp_path / ".config" / "configdrive" / "keys.json"


def test_the_environment_goes_before_the_file_and_arguments_before_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('label = "of-file"\nattempts = 5\nzones = ["z1", "z2"]\n')
    monkeypatch.setenv("CONFIGDRIVE_SETTINGS", str(file))
    monkeypatch.setenv("CONFIGDRIVE_LABEL", "of-environment")
    monkeypatch.setenv("CONFIGDRIVE_HYPERVISORS", '["KVM", "simulated"]')
    settings = load_settings()
    assert (settings.label, settings.attempts, settings.zones) == ("of-environment", 5, ("z1", "z2"))
    assert settings.hypervisors == ("kvm", "simulated")
    assert Settings(label="of-argument").label == "of-argument"


def test_settings_do_not_show_the_redis_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGDRIVE_REDIS_URL", f"redis://:{SECRET}@redis/0")
    settings = load_settings()
    assert settings.redis_url.get_secret_value().endswith("@redis/0")
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


# --- combinations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("lease_seconds", {"lease_seconds": "2.9", "wakeup_seconds": "1"}),
        ("task_seconds", {"task_seconds": "34", "call_seconds": "30"}),
        ("backoff_most_seconds", {"backoff_seconds": "10", "backoff_most_seconds": "9"}),
        ("redis_url", {"redis_url": f"http://:{SECRET}@redis/0"}),
        ("redis_url", {"redis_url": f"redis+cluster://:{SECRET}@redis/0"}),
        ("redis_url", {"redis_url": SECRET}),
        ("redis_url", {"redis_url": f"redis://:{SECRET}@ho\u2100st/0"}),
        ("redis_url", {"redis_url": f"redis://[{SECRET}/0"}),
        ("redis_url", {"redis_url": f"redis://:{SECRET}@redis:port/0"}),
        ("redis_url", {"redis_url": f"redis://:{SECRET}@redis:99999/0"}),
    ],
)
def test_a_combination_that_loses_or_repeats_work_is_refused_with_the_field_s_name(
    monkeypatch: pytest.MonkeyPatch, field: str, values: dict[str, str]
) -> None:
    assert refused(monkeypatch, **values).detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "values",
    [
        {"lease_seconds": "3", "wakeup_seconds": "1"},
        {"task_seconds": "35", "call_seconds": "30"},
        {"backoff_seconds": "10", "backoff_most_seconds": "10"},
        {"redis_url": "rediss://user:password@redis:6380/1"},
        {"redis_url": "unix:///run/redis.sock?db=2"},
        {"redis_url": "redis://[::1]:6379/0"},
    ],
)
def test_a_combination_at_its_limit_is_taken(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"CONFIGDRIVE_{name.upper()}", value)
    load_settings()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", f"{SECRET}-{SECRET}"),
        ("label", ""),
        ("key_prefix", "a b"),
        ("pool", "gevent"),
        ("pool", "eventlet"),
        ("concurrency", "0"),
        ("concurrency", SECRET),
        ("attempts", "0"),
        ("lease_seconds", "0"),
        ("lease_seconds", "-1"),
        ("lease_seconds", "nan"),
        ("lease_seconds", "inf"),
        ("lease_seconds", "604801"),
        ("wakeup_seconds", "61"),
        ("seen_seconds", "nan"),
        ("outcomes_kept", "10"),
        ("log_format", "xml"),
        ("force_eject", SECRET),
        ("zones", '["Z 1"]'),
        ("zones", SECRET),
        ("hypervisors", '["../kvm"]'),
        ("hypervisors", f"{SECRET},kvm"),
    ],
)
def test_a_bad_value_is_refused_with_the_field_s_name(monkeypatch: pytest.MonkeyPatch, field: str, value: str) -> None:
    assert field in refused(monkeypatch, **{field: value}).detail


def test_a_list_that_is_no_json_is_answered_with_how_to_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert '["kvm"]' in refused(monkeypatch, hypervisors="kvm,simulated").detail


def test_all_faults_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    detail = refused(monkeypatch, pool="gevent", attempts="0").detail
    assert "pool: " in detail
    assert "attempts: " in detail


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b'lable = "config"', "lable"),
        (b'[redis]\nurl = "sw0rdfish"', "redis"),
        (b'redis_url = "sw0rdfish', "TOML"),
        (b"redis_url = sw0rdfish", "TOML"),
        (b'redis_url = "sw0rdfish\xff"', "TOML"),
        (b'attempts = "sw0rdfish"', "attempts"),
        (b'zones = "sw0rdfish"', "zones"),
    ],
)
def test_a_bad_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, reported: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    assert reported in refused(monkeypatch, settings=str(file)).detail


@pytest.mark.parametrize("name", ["missing.toml", ""])
def test_a_file_that_is_none_is_refused_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    error = refused(monkeypatch, settings=str(tmp_path / name))
    assert "CONFIGDRIVE_SETTINGS" in error.detail
    assert str(tmp_path) in error.detail


def test_every_setting_says_what_it_is_for() -> None:
    definitions = [ast.parse(inspect.getsource(one)).body[0] for one in (ClientSettings, Settings)]
    described = {
        node.target.id
        for definition in definitions
        if isinstance(definition, ast.ClassDef)
        for node, following in itertools.pairwise(definition.body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and len(str(following.value.value)) > len("Why it exists.")
    }
    assert described == set(Settings.model_fields)
