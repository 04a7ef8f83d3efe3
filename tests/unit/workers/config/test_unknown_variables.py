"""Misspelt variables: which are reported, what is said of them, and which are none of our business."""

import re
from pathlib import Path

import pytest

from workers.config.settings import Settings
from workers.config.unknown_variables import COMPOSE, ignored_variables, names_of_settings

COMPOSE_FILE = Path(__file__).parents[4] / "docker-compose.yml"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CONFIGDRIVE_REDIS_ULR", "REDIS_URL"),
        ("CONFIGDRIVE_REDISURL", "REDIS_URL"),
        ("CONFIGDRIVE_HYPERVISOR", "HYPERVISORS"),
        ("CONFIGDRIVE_METRIC_PORT", "METRICS_PORT"),
        ("CONFIGDRIVE_KEYFILE", "KEYS_FILE"),
        ("CONFIGDRIVE_SETTING", "SETTINGS"),
        ("configdrive_lable", "LABEL"),
        ("CONFIGDRIVE_CLOUDSTACK_URL", "CLOUDSTACK__URL"),
    ],
)
def test_a_misspelt_setting_is_reported_with_the_nearest(name: str, near: str) -> None:
    (found,) = ignored_variables([name, "PATH"])
    assert found.detail == f"the variable {name} is no setting, and is ignored"
    assert found.remedy == f"did you mean CONFIGDRIVE_{near}?"


def test_what_is_like_nothing_is_reported_as_well() -> None:
    (found,) = ignored_variables(["CONFIGDRIVE_QUUX"])
    assert "CONFIGDRIVE_QUUX" in found.detail
    assert "did you mean" not in found.remedy


def test_settings_and_what_is_not_ours_are_left_alone() -> None:
    ours = [f"CONFIGDRIVE_{name.upper()}" for name in names_of_settings()]
    assert "CONFIGDRIVE_CLOUDSTACK__KEY_FILE" in ours
    others = [
        "CONFIGDRIVE_SETTINGS",
        "CONFIGDRIVE_TRACEBACK",
        "configdrive_label",
        "HOME",
        "_CONFIGDRIVE_COMPLETE",
        "CONFIG",
    ]
    assert ignored_variables([*ours, *others, *(f"CONFIGDRIVE_{name}" for name in COMPOSE)]) == []


def test_what_the_compose_file_reads_is_known() -> None:
    read = set(re.findall(r"\$\{CONFIGDRIVE_(\w+):", COMPOSE_FILE.read_text("utf-8")))
    assert read - {name.upper() for name in Settings.model_fields} == COMPOSE
