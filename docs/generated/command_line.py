"""Every command with its options, from the very program."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from docs.generated.source import table
from workers.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(command: click.Command = program, name: str = "configdrive") -> Iterator[tuple[str, click.Command]]:
    """Return each command with the words that call it, groups before what they hold."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            if below is not None and not below.hidden:
                yield from commands(below, f"{name} {word}")


def markdown() -> str:
    """Return a section for each command."""
    return "\n\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## `{name}`", f"```text\n{name} {usage}\n```", _prose(command.help or "")]
    options = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if options:
        parts.append(
            table(("option", "meaning"), ([f"`{_cell(option)}`", _cell(meaning)] for option, meaning in options))
        )
    if command.epilog:
        parts.append(_prose(command.epilog))
    return "\n\n".join(part for part in parts if part)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _prose(text: str) -> str:
    """Return click's help text as Markdown; a paragraph that is not to be wrapped becomes a block below its title."""
    paragraphs = re.split(r"\n\s*\n", re.sub(r"^[ ]{4}", "", text, flags=re.MULTILINE).strip("\n"))
    return "\n\n".join(_kept(part) if part.lstrip().startswith("\b") else part.strip() for part in paragraphs)


def _kept(paragraph: str) -> str:
    title, *lines = paragraph.strip().removeprefix("\b").strip("\n").splitlines()
    if not all(line.startswith("  ") for line in lines):
        return " ".join((title, *lines))
    block = "\n".join(line.removeprefix("  ") for line in lines)
    return f"{title.strip()}\n\n```text\n{block}\n```" if lines else title.strip()
