"""`configdrive watch`: the outcome stream, live."""

from __future__ import annotations

import re
import select
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import click

from workers.cli.context import open_mailbox
from workers.cli.options import VM, json_option
from workers.cli.output import outcome_line
from workers.cli.process import collect_as_usual

if TYPE_CHECKING:
    from workers.store.inspection import Inspection

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BLOCK_SECONDS = 2.0
_PAUSE_SECONDS = 1.0


@click.command(short_help="Show outcomes as they happen.")
@click.option("--vm", type=VM, metavar="UUID", help="Of this VM only.")
@click.option("--since", metavar="WHEN", help="Begin earlier: 90s, 10m, 2h, 1d, an ISO 8601 time, or 'all'.")
@json_option
def watch(vm: str | None, since: str | None, *, as_json: bool) -> NoReturn:
    """Show outcomes as they happen, until Ctrl-C.

    A line for each event that has ended or was parked: when, how, which event of which VM, and what was reached. With
    --json a line of JSON each, exactly as orchestrators find it on the Redis stream.

    \b
    Examples:
      configdrive watch
      configdrive watch --since 10m --vm 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive watch --since all --json | jq 'select(.status == "parked")'
    """
    begin = None if since is None else _position(since)
    mailbox = open_mailbox()
    newest = mailbox.end_of_outcomes()  # at the start a Redis that is away is an error, later on it is waited for
    collect_as_usual()
    _follow(mailbox, newest if begin is None else begin, vm, as_json=as_json)


def _follow(mailbox: Inspection, position: str, vm: str | None, *, as_json: bool) -> NoReturn:
    import redis

    away = False
    while True:
        try:
            for reached, outcome in mailbox.outcomes(position, _BLOCK_SECONDS):
                position = reached
                if outcome is not None and vm in {None, outcome.vm_uuid}:
                    click.echo(outcome.to_json() if as_json else outcome_line(outcome))
            if _reader_gone():
                raise BrokenPipeError
            if away:
                click.echo("Redis is back", err=True)
            away = False
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if not away:
                click.echo(f"Redis is away ({type(error).__name__}); waiting for it", err=True)
            away = True
            time.sleep(_PAUSE_SECONDS)


def _reader_gone() -> bool:
    """Say whether nobody reads our output any more: in a quiet fleet no write would show that for hours."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _position(since: str) -> str:
    """Return the position in the stream, whose ids begin with milliseconds since 1970."""
    if since == "all":
        return "0"
    relative = re.fullmatch(r"(\d{1,9})([smhd])", since)
    if relative:
        at = time.time() - int(relative[1]) * _UNITS[relative[2]]
    else:
        try:
            at = datetime.fromisoformat(since).timestamp()
        except (ValueError, OverflowError):
            message = "is none of 90s, 10m, 2h, 1d, an ISO 8601 time, 'all'"
            raise click.BadParameter(message, param_hint="--since") from None
    return str(max(0, round(at * 1000)))
