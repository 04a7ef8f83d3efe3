"""`configdrive dead`: the dead letters."""

from __future__ import annotations

from dataclasses import asdict

import click

from workers.cli.context import open_mailbox
from workers.cli.options import json_option
from workers.cli.output import clock, print_json


@click.command(short_help="List what could not be taken as an event.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@json_option
def dead(limit: int, *, as_json: bool) -> None:
    """List the dead letters: messages that could not be taken as an event, newest first, with the reason.

    They block nobody and nothing waits for them; each one points at a program that writes to Redis past the publisher,
    or at a damaged Redis. Their content is not kept.

    \b
    Example:
      configdrive dead --limit 5
    """
    letters = open_mailbox().dead_letters(limit)
    if as_json:
        print_json({"dead_letters": [asdict(letter) for letter in letters]})
        return
    if not letters:
        click.echo("no dead letters")
    for letter in letters:
        named = (("VM", letter.vm_uuid), ("event", letter.event_id), ("of", letter.source))
        whose = "".join(f"  {word} {value}" for word, value in named if value)
        click.echo(f"{clock(letter.at)}  from {letter.origin}{whose}  {letter.reason}")
