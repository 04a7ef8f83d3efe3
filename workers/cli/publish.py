"""`configdrive publish`: events from a file or a pipe into their mailboxes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from workers.cli.exits import ExitCode
from workers.cli.output import json_option
from workers.cli.waiting import WaitCommand, wait_option


@click.command(cls=WaitCommand, short_help="Publish events from a file or standard input.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@wait_option
@json_option
def publish(file: str, wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    """Publish the events in FILE, or from standard input with "-".

    FILE holds one event (a JSON object), a JSON array of them, or one event per line (JSON Lines). Once an event is
    stored nothing can lose it. A bad event is told with its line and field; the others are published all the same.
    Passwords and user data are sealed before they leave this process.

    \b
    Examples:
      configdrive publish event.json --wait
      configdrive publish burst.jsonl --wait 600
      jq -c '.events[]' dump.json | configdrive publish - --json
      configdrive event start --vm ... --hypervisor kvm ... | configdrive publish -

    An event whose id was published before is not stored again: the outcome of the first one is shown, so it is safe to
    publish a file once more. Exit code 1 when an event was refused, or (with --wait, or for such a repeated one) came
    to nothing good; 3 when the time was over before all outcomes were there.
    """
    from workers.cli.input import entries
    from workers.cli.publishing import publish_all

    if file == "-":
        if sys.stdin.isatty():
            click.echo("reading events from the terminal; Ctrl-D ends", err=True)
        found = list(entries(sys.stdin.buffer))
    else:
        with Path(file).open("rb") as stream:
            found = list(entries(stream))
    return publish_all(found, wait_seconds=wait_seconds, as_json=as_json)
