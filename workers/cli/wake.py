"""`configdrive wake`: what every worker does all the time, by hand or as a process of its own."""

from __future__ import annotations

import click

from workers.cli import process
from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.command(short_help="Send wake-ups that are missing or due.")
@click.option("--dry-run", is_flag=True, help="Only say which VMs' time has come.")
@click.option(
    "--every", "pause", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Again and again, until TERM."
)
@json_option
def wake(pause: float | None, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Find events whose wake-up was lost or whose pause is over, on all queues, and wake workers for them.

    Hosts that were away and still have something of a VM are asked again, too.

    Every worker does so for its own queues each second, so by hand it is needed only while no worker runs. With --every
    it is a small process that serves all queues and needs neither inventory nor keys; it takes from the intake, too.

    \b
    Examples:
      configdrive wake --dry-run
      configdrive wake
      configdrive wake --every 1
    """
    from workers.cli.waking import wake_always, wake_once

    if pause is None:
        return wake_once(dry_run=dry_run, as_json=as_json)
    if dry_run or as_json:
        raise click.UsageError("--every goes with neither --dry-run nor --json")
    return wake_always(pause, process.until_term())
