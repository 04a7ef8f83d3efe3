"""`configdrive sweep`: delete the images that no VM needs any more."""

from __future__ import annotations

import click

from workers.cli import process
from workers.cli.exits import ExitCode
from workers.cli.measuring import metrics_port_option
from workers.cli.output import json_option


@click.command(short_help="Delete images that no VM needs any more.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted, and why.")
@click.option("--all", "show_all", is_flag=True, help="List the images that stay as well.")
@click.option("--every", "pause", type=click.FloatRange(min=1), metavar="SECONDS", help="Again and again, until TERM.")
@metrics_port_option
@json_option
def sweep(pause: float | None, metrics_port: int | None, *, dry_run: bool, show_all: bool, as_json: bool) -> ExitCode:
    """Look at every storage of every host in the inventory, and delete what belongs to no VM as it is now.

    That is: images of destroyed and stopped VMs, older images, copies that a migration has left. An image in any VM's
    drive stays, whatever is remembered; so does one that a host may need which does not answer, and every file that is
    not an image of the fleet by its name. An image whose VM neither the fleet nor any host knows goes once it has been
    seen so for a day (the setting stray_seconds). What hosts could not give up while they were away goes first.

    After a loss of Redis, run `configdrive adopt` before. The exit code is 1 when a host did not answer or an image
    could not be deleted.

    \b
    Examples:
      configdrive sweep --dry-run
      configdrive sweep
      configdrive sweep --every 3600 --metrics-port 9109
    """
    from workers.cli.sweeping import sweep_always, sweep_once

    if pause is None:
        if metrics_port is not None:
            raise click.UsageError("--metrics-port goes with --every only")
        return sweep_once(dry_run=dry_run, show_all=show_all, as_json=as_json)
    if dry_run or as_json or show_all:
        raise click.UsageError("--every goes with none of --dry-run, --all and --json")
    return sweep_always(pause, process.until_term(), metrics_port)
