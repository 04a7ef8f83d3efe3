"""The guides for template makers and operators quote commands, files and targets that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pytest

from workers.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).resolve().parents[3]
DOCS: Final = REPOSITORY / "docs"
GUIDES: Final = (
    "how-to/guest-windows.md",
    "how-to/prepare-a-template.md",
    "reference/readers.md",
    "how-to/troubleshooting.md",
)
EVERY_GUIDE: Final = pytest.mark.parametrize("guide", GUIDES)


def quoted(guide: str) -> Iterator[str]:
    """Return each line of code and each piece of inline code."""
    text = (DOCS / guide).read_text()
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield from (line.strip() for line in block.splitlines())
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def fleet_commands(guide: str) -> list[list[str]]:
    found = [shlex.split(line, comments=True) for line in quoted(guide) if line.startswith("configdrive ")]
    return [words[1:] for words in found]


def accepted(words: list[str]) -> None:
    """Walk down the commands and see that each option is one of theirs."""
    command: click.Command = program
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None, name
        command = found
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, (command.name, word)


@EVERY_GUIDE
def test_the_fleets_commands_are_as_quoted(guide: str) -> None:
    for words in fleet_commands(guide):
        accepted(words)


def test_there_are_commands_to_look_at() -> None:
    assert len(fleet_commands("how-to/troubleshooting.md")) > 20
    with pytest.raises(AssertionError):
        accepted(["show", "--nonsense"])
    with pytest.raises(AssertionError):
        accepted(["nonsense"])


@EVERY_GUIDE
def test_links_lead_somewhere(guide: str) -> None:
    text = (DOCS / guide).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (DOCS / guide).parent / path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


@EVERY_GUIDE
def test_what_is_named_of_this_repository_is_there(guide: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for line in quoted(guide):
        for target in re.findall(r"\bmake ([a-z][a-z-]+)", line):
            assert f"\n{target}:" in makefile, target
        for path in re.findall(r"(?:^|\s)((?:tests|guest|docs)[/\\][\w./\\-]+)", line):
            assert (REPOSITORY / path.replace("\\", "/")).exists(), path


@EVERY_GUIDE
def test_the_guests_commands_are_as_quoted(guide: str) -> None:
    source = (REPOSITORY / "guest" / "linux" / "configdrive-guest").read_text()
    usage = source.partition("usage: ")[2].partition("\nEOF")[0]
    for line in quoted(guide):
        for verb, rest in re.findall(r"(?:^|/)configdrive-guest ([a-z]+)(?: ([a-z-]+))?", line):
            assert re.search(rf"configdrive-guest {verb}\b", usage), line
            assert not rest or rest in usage, line
