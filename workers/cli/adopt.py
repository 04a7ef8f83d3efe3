"""`configdrive adopt`: remember the drives that are there, after Redis was lost."""

from __future__ import annotations

import click

from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.command(short_help="Remember the drives that are there: after the loss of Redis.")
@click.option("--dry-run", is_flag=True, help="Only say what would be remembered.")
@json_option
def adopt(*, dry_run: bool, as_json: bool) -> ExitCode:
    """Look at every host in the inventory, and remember each VM that has a config drive or an image on a storage.

    What is remembered already, and VMs whose events wait, are left alone, so it may be run at any time. What stands on
    a found drive is not known: it can be moved and taken away, and the next start that brings the VM's data makes a new
    one. The exit code is 1 when a host did not answer: run it again then.

    \b
    Examples:
      configdrive adopt --dry-run
      configdrive adopt
    """
    from workers.cli.sweeping import adopt_all

    return adopt_all(dry_run=dry_run, as_json=as_json)
