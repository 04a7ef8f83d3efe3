"""The man page of `configdrive`, made from the command line itself."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from configdrive import __version__
from workers.cli.errors import ExitCode
from workers.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator


def man_page(date: str) -> str:
    """Return the page as roff; `date` is shown at its foot."""
    context = click.Context(program, info_name="configdrive")
    lines = [
        f'.TH CONFIGDRIVE 1 "{date}" "configdrive-fleet {__version__}"',
        ".SH NAME",
        "configdrive \\- config drives for the VMs of a cloud",
        ".SH SYNOPSIS",
        ".B configdrive",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]...",
        ".SH DESCRIPTION",
        *_text(program.help or ""),
        ".SH COMMANDS",
        *(line for command in _commands(program, context) for line in command),
        ".SH EXIT STATUS",
        *(line for code in ExitCode for line in (".TP", str(code.value), _escaped(_words(code.name)))),
        ".SH FILES",
        ".TP",
        ".I /etc/configdrive/settings.toml",
        "What the units read; examples are in /usr/share/doc/configdrive\\-fleet/examples.",
        ".SH SEE ALSO",
        "/usr/share/doc/configdrive\\-fleet/deployment.md",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[list[str]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        lines = [f".SS {_escaped(inner.command_path)} {_escaped(usage)}", *_text(command.help or "")]
        for parameter in command.get_params(inner):
            record = parameter.get_help_record(inner)
            if record is not None:
                lines += [".TP", f"\\fB{_escaped(record[0])}\\fR", _escaped(record[1])]
        yield lines
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _text(text: str) -> Iterator[str]:
    """Yield paragraphs; those that click shall not wrap keep their lines."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        if paragraph.startswith("\b"):
            yield ".PP\n.nf\n" + "\n".join(map(_escaped, paragraph.splitlines()[1:])) + "\n.fi"
        else:
            yield ".PP\n" + "\n".join(map(_escaped, paragraph.splitlines()))


def _escaped(text: str) -> str:
    line = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
