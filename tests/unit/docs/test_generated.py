"""What the reference takes from the code is there, and what the code has is in the reference."""

from __future__ import annotations

import re
from typing import Final

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode, TransientCode
from configdrive.lifecycle.state import Phase
from docs.generated import command_line, drive, events, outcomes, redis_keys, settings, state_machine
from docs.generated.source import docstrings_below
from workers.cli.program import COMMANDS
from workers.config.settings import Settings

KINDS: Final = (TransientCode, PermanentCode, StaleCode)


@pytest.mark.parametrize("kind", KINDS)
def test_each_code_has_its_meaning_and_its_remedy(kind: type[TransientCode | PermanentCode | StaleCode]) -> None:
    shown = docstrings_below(kind)
    for code in kind:
        meaning, _, remedy = shown[code.name].partition("\n\nRemedy: ")
        assert meaning, code
        assert remedy.endswith("."), code


def test_each_status_and_code_has_its_section() -> None:
    found = re.findall(r"^### `(\w+)`$", outcomes.markdown(), re.MULTILINE)
    assert found == [*Status, *TransientCode, *PermanentCode, *StaleCode]


def test_each_setting_has_its_meaning_its_variable_and_its_default() -> None:
    text = settings.markdown()
    shown = docstrings_below(Settings)
    for name in Settings.model_fields:
        assert shown[name]
        assert f"## `{name}`\n\n{shown[name]}\n\n`CONFIGDRIVE_{name.upper()}`" in text
    assert "`CONFIGDRIVE_LEASE_SECONDS`, default `30`" in text
    assert "`CONFIGDRIVE_FORCE_EJECT`, default `true`" in text
    assert "`CONFIGDRIVE_TOMBSTONE_SECONDS`, default `2592000`, at least 60, at most 31536000" in text
    assert "### `cloudstack.key_file`\n" in text
    assert "`CONFIGDRIVE_CLOUDSTACK__START_AT`, default `running`" in text
    assert "/root" not in text


def test_each_command_and_option_is_there() -> None:
    text = command_line.markdown()
    for name in COMMANDS:
        assert f"## `configdrive {name}`\n" in text
    assert "## `configdrive event password-reset`" in text
    assert "| `--user-data FILE` |" in text
    assert "\b" not in text


def test_each_event_and_field_is_there() -> None:
    text = events.markdown()
    for event in events.EVENTS:
        assert f"`{event.model_fields['type'].default}`. " in text
        for name in event.model_fields:
            assert f"| `{name}` |" in text or name in {"type", "data"}
    assert "| `sequence` | integer (from 0, up to 9007199254740991) | required |" in text
    assert "Annotated" not in text


def test_the_drive_has_every_file_that_there_can_be() -> None:
    text = drive.markdown()
    for path in (
        "cloudstack/password/vm_password.txt",
        "openstack/latest/network_data.json",
        "ec2/latest/meta-data.json",
        "network-config",
    ):
        assert f"| `{path}` |" in text


def test_the_keys_of_redis_are_the_stores() -> None:
    assert "| `mail:<uuid>`" in redis_keys.markdown()


def test_the_diagram_is_what_the_state_machine_does() -> None:
    moves = {(before, name): after for before, name, after in state_machine.transitions()}
    assert moves[Phase.ABSENT, "start"] is Phase.ATTACHED
    assert moves[Phase.STAGED, "stop"] is Phase.ABSENT
    assert moves[Phase.STAGED, "update, now (running VM)"] is Phase.ATTACHED
    assert moves[Phase.STAGED, "update, now (VM that is off)"] is Phase.STAGED
    assert {after for (_, name), after in moves.items() if name == "destroy"} == {Phase.GONE}
    assert 'attached -> absent [label="stop"]' in state_machine.dot()
    assert not re.search(r"(\w+) -> \1", state_machine.dot())


def test_the_diagrams_words_are_in_the_table() -> None:
    text = state_machine.markdown()
    for word in ("deploy, `start`", "migrate, prepare", "password_reset, now, live"):
        assert f"| {word} " in text
