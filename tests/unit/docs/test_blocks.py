"""Every block of every page: in a language that is known, with a word on who runs it, and true as far as that is seen
without running it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml

from configdrive.contract.events import parse
from configdrive.errors import PermanentError
from docs.blocks import (
    DATA,
    NEEDS,
    PROGRAMS,
    ROOT,
    RUN,
    Block,
    Covered,
    Needs,
    Run,
    UnknownMarkError,
    blocks_of,
    mark_of,
    pages,
)
from docs.pictures import IMAGES, origin_of
from rigs.process import find_program
from tests.unit.docs.commands import assert_accepted, fleet_commands
from workers.config.settings import Settings
from workers.config.unknown_variables import COMPOSE, OTHERS, names_of_settings
from workers.hypervisors.kvm import inventory as kvm
from workers.hypervisors.simulated import inventory as simulated
from workers.hypervisors.vmware import inventory as vmware
from workers.hypervisors.xenserver import inventory as xenserver

BLOCKS: Final = [block for page in pages() for block in blocks_of(page)]
INVENTORIES: Final = {"kvm": kvm, "simulated": simulated, "vmware": vmware, "xenserver": xenserver}
DECISIONS: Final = ROOT / "docs" / "adr"
INLINE: Final = re.compile(r"(?<!`)`(configdrive [^`\n]+)`(?!`)")
PAGES: Final = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def blocks(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_names_its_language() -> None:
    assert [block.place for block in BLOCKS if block.language not in PROGRAMS | DATA] == []


def test_every_command_is_run_by_a_test_or_says_what_it_needs() -> None:
    commands = blocks(*PROGRAMS)
    assert len(commands) > 50
    for block in commands:
        assert isinstance(block.mark, Run | Needs | Covered)


@pytest.mark.parametrize("words", ["needs=luck", "needs=", "covered=tests/no_such_test.py", "skip", "needs=kvm now"])
def test_a_word_that_is_not_on_the_list_is_refused(words: str) -> None:
    with pytest.raises(UnknownMarkError, match="says not whether"):
        mark_of("sh", words)


def test_only_a_shell_and_python_are_run() -> None:
    assert mark_of("sh", "") == mark_of("python", "") == Run()
    assert mark_of("powershell", "needs=windows") == Needs("windows")
    with pytest.raises(UnknownMarkError):
        mark_of("powershell", "")


def test_no_reason_is_on_the_list_that_no_block_gives() -> None:
    given = {block.mark.reason for block in blocks(*PROGRAMS) if isinstance(block.mark, Needs)}
    assert given == set(NEEDS)


def test_the_shell_can_read_every_block() -> None:
    for block in blocks("sh"):
        done = subprocess.run(
            [find_program("bash", "bash"), "-n"], input=block.text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"


@PAGES
def test_the_fleets_commands_have_the_options_that_are_shown(page: Path) -> None:
    shown = [block.text for block in blocks_of(page) if block.language == "sh"] + INLINE.findall(page.read_text())
    for text in shown:
        for words in fleet_commands(text):
            assert_accepted([word for word in words if "…" not in word])


@pytest.mark.parametrize(
    "text",
    [
        "configdrive show --nonsense",
        "configdrive nonsense",
        "X=1 configdrive sweep --every",
        "(configdrive worker --pool gevent)",
    ],
)
def test_a_wrong_command_would_be_found(text: str) -> None:
    (words,) = fleet_commands(text)
    with pytest.raises(AssertionError):
        assert_accepted(words)


def test_data_is_well_formed() -> None:
    for block in blocks("json"):
        document = json.loads(block.text)
        if isinstance(document, dict) and "specversion" in document:
            assert parse(block.text).id == document["id"]
    for block in blocks("yaml"):
        assert list(yaml.safe_load_all(block.text)), block.place


def test_inventories_are_as_their_drivers_want_them() -> None:
    """Files and variables with secrets are not there: a plain word stands in their place."""
    found = 0
    for block in blocks("toml"):
        document = tomllib.loads(re.sub(r"\{ (file|env) = \"[^\"]+\" \}", '"secret"', block.text))
        for name, section in document.items():
            if name in INVENTORIES and isinstance(section, dict):
                found += 1
                try:
                    INVENTORIES[name].parse(section)
                except PermanentError as error:
                    pytest.fail(f"{block.place}: {error}")
            elif name != "project":  # pyproject.toml
                assert name in Settings.model_fields, f"{block.place}: {name}"
    assert found > 3


def test_settings_that_are_named_exist() -> None:
    """In the text as well: `CONFIGDRIVE_…` followed by a setting's name, or one of the few variables beside them."""
    known = {f"CONFIGDRIVE_{name.upper()}" for name in names_of_settings()}
    beside = {f"CONFIGDRIVE_{name}" for name in OTHERS | COMPOSE}
    for page in pages():
        named = set(re.findall(r"(?<![A-Za-z_])CONFIGDRIVE_[A-Z_]*[A-Z]", page.read_text()))
        assert named <= known | beside, page


def text_of_test(test: str) -> str:
    """Return what a test file and its neighbours say, and the rigs; of a page, its blocks that are run."""
    path = ROOT / test
    if path.suffix == ".md":
        return "".join(block.text for block in blocks_of(path) if block.language in RUN and isinstance(block.mark, Run))
    return "".join(file.read_text() for file in (*path.parent.glob("*.py"), *(ROOT / "rigs").glob("*.py")))


def test_a_test_that_covers_a_block_names_its_commands_and_options() -> None:
    for block in blocks("sh"):
        if isinstance(block.mark, Covered):
            text = text_of_test(block.mark.test)
            if "commands_for(__file__" in text:  # it takes them from the page
                continue
            for words in fleet_commands(block.text):
                wanted = {words[0], *(word.partition("=")[0] for word in words if word.startswith("--"))}
                assert {word for word in wanted if word not in text} == set(), block.place


@PAGES
def test_what_is_named_of_this_repository_is_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = page.read_text()
    quoted = [line for block in blocks_of(page) for line in block.text.splitlines()]
    for line in (*quoted, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)):
        for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]+)", line):
            assert f"\n{target}:" in makefile, target
        for path in re.findall(
            r"(?:^|\s)((?:tests|guest|docs|deploy|workers|tasks|configdrive|rigs|benchmarks|demo|examples)/[\w./-]+)",
            line,
        ):
            assert "NNNN" in path or (ROOT / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("source", sorted(IMAGES.glob("*.dot")), ids=lambda source: str(source.name))
def test_a_picture_is_made_from_the_text_beside_it(source: Path) -> None:
    assert source.with_suffix(".svg").read_text("utf-8").startswith(origin_of(source)), "make pictures"


def test_the_table_of_decisions_leads_to_each() -> None:
    table = (DECISIONS / "README.md").read_text("utf-8")
    assert [path.name for path in DECISIONS.glob("0*.md") if f"({path.name})" not in table] == []
