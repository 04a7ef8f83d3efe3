"""`configdrive sweep`: what every worker does all the time, by hand or as a process of its own."""

from __future__ import annotations

import signal
import threading

import click

from workers.cli import pace
from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.command(short_help="Send wake-ups that are missing or due.")
@click.option("--dry-run", is_flag=True, help="Only say which VMs' time has come.")
@click.option(
    "--every", "pause", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Again and again, until TERM."
)
@json_option
def sweep(pause: float | None, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Find events whose wake-up was lost or whose pause is over, on all queues, and wake workers for them.

    Every worker does so for its own queues each second, so by hand it is needed only while no worker runs. With --every
    it is a small process that serves all queues and needs neither inventory nor keys.

    \b
    Examples:
      configdrive sweep --dry-run
      configdrive sweep
      configdrive sweep --every 1
    """
    from workers.cli.sweeping import sweep_always, sweep_once

    if pause is None:
        return sweep_once(dry_run=dry_run, as_json=as_json)
    if dry_run or as_json:
        raise click.UsageError("--every goes with neither --dry-run nor --json")
    pace.stay()
    ended = threading.Event()
    # As process 1 of a container it would not die of TERM by itself.
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    return sweep_always(pause, ended)
