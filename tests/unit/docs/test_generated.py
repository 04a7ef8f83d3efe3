"""What the reference takes from the code is there, and what the code has is in the reference."""

import re
from typing import Any, Final

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


MEANS: Final = docstrings_below(Settings)
SHOWN: Final = {
    settings: [
        "`CONFIGDRIVE_LEASE_SECONDS`, default `30`",
        "`CONFIGDRIVE_FORCE_EJECT`, default `true`",
        "`CONFIGDRIVE_TOMBSTONE_SECONDS`, default `2592000`, at least 60, at most 31536000",
        "### `cloudstack.key_file`\n",
        "`CONFIGDRIVE_CLOUDSTACK__START_AT`, default `running`",
        *(
            f"## `{name}`\n\n{shown}\n\n`CONFIGDRIVE_{name.upper()}`"
            for name, shown in docstrings_below(Settings).items()
        ),
    ],
    command_line: [
        *(f"## `configdrive {name}`\n" for name in (*COMMANDS, "event password-reset")),
        "| `--user-data FILE` |",
    ],
    events: [
        *(f"`{event.model_fields['type'].default}`. " for event in events.EVENTS),
        *(f"| `{name}` |" for event in events.EVENTS for name in {*event.model_fields} - {"type", "data"}),
        "| `sequence` | integer (from 0, up to 9007199254740991) | required |",
    ],
    drive: [
        "| `cloudstack/password/vm_password.txt` |",
        "| `openstack/latest/network_data.json` |",
        "| `ec2/latest/meta-data.json` |",
        "| `network-config` |",
    ],
    redis_keys: ["| `mail:<uuid>`"],
    state_machine: ["| deploy, `start` ", "| migrate, prepare ", "| password_reset, now, live "],
}
"""What stands on each page that is made from code."""


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.__name__))
def test_a_page_has_all_that_the_code_has(page: Any) -> None:  # noqa: ANN401 - a module
    text = page.markdown()
    assert [words for words in SHOWN[page] if words not in text] == []
    assert [words for words in ("/root", "\b", "Annotated") if words in text] == []


def test_the_diagram_is_what_the_state_machine_does() -> None:
    moves = {(before, name): after for before, name, after in state_machine.transitions()}
    assert moves[Phase.ABSENT, "start"] is Phase.ATTACHED
    assert moves[Phase.STAGED, "stop"] is Phase.ABSENT
    assert moves[Phase.STAGED, "update, now (running VM)"] is Phase.ATTACHED
    assert moves[Phase.STAGED, "update, now (VM that is off)"] is Phase.STAGED
    assert {after for (_, name), after in moves.items() if name == "destroy"} == {Phase.GONE}
    assert 'attached -> absent [label="stop"]' in state_machine.dot()
    assert not re.search(r"(\w+) -> \1", state_machine.dot())
