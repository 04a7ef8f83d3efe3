"""The fleet's commands in a text, held against the very program: a renamed option is found without running anything."""

import re
import shlex
from typing import Final

import click

from workers.cli.options import WaitCommand
from workers.cli.program import program

# Where a command begins; elsewhere "configdrive" is the name of something else.
_BEGINS: Final = r"(?:^\s*|[;|&(]\s*|bin/|\b[A-Z_]+=\S*\s+|\bsudo |\bexec \S+ |! )"
_CALLED: Final = re.compile(rf"{_BEGINS}configdrive[ ]+(?P<rest>[^\n|;&<>)]+)", re.MULTILINE)

_OTHER: Final = re.compile(r"\$\((?!\s*configdrive)[^()]*\)")
"""What another command prints, such as `$(virsh domuuid web)`."""


def fleet_commands(text: str) -> list[list[str]]:
    """Return the words behind each `configdrive` of a shell script, comments left out."""
    lines = [line.partition(" # ")[0] for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    script = _OTHER.sub("word", "\n".join(lines))
    return [shlex.split(found["rest"]) for found in _CALLED.finditer(script)]


def assert_accepted(words: list[str]) -> None:
    """Walk down the commands, and see that each option is one of theirs and that its choice is offered."""
    command: click.Command = program
    context = click.Context(command)
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            break
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command, context = found, click.Context(found, parent=context, info_name=name, **found.context_settings)
    if isinstance(command, WaitCommand):
        words = ["--wait=60" if word == "--wait" else word for word in words]  # click alone would take the next word
    try:
        given, _, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise AssertionError(f"{command.name} {shlex.join(words)}: {error.message}") from None
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str) and value.isalpha():
            assert value in parameter.type.choices, f"{command.name}: {value!r} is none of {parameter.type.choices}"
