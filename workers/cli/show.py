"""`configdrive show`: one VM, or all that waits for a person."""

from __future__ import annotations

import click

from workers.cli.context import VM
from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.command(short_help="Show one VM, or what is waiting and parked.")
@click.argument("vm", type=VM, required=False, metavar="[VM]")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Parked VMs to list.")
@json_option
def show(vm: str | None, limit: int, *, as_json: bool) -> ExitCode:
    """Show what is known of one VM, by its uuid; without VM: parked VMs, waiting events, dead letters.

    Of a VM: where its drive is, whether a password is pending or on the drive (never which), the events in its mailbox,
    and why the first of them is not done: parked (with cause and remedy), in a pause between two tries, or in work.

    \b
    Examples:
      configdrive show
      configdrive show 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive show --json | jq -r '.parked[].vm'
    """
    from workers.cli.showing import show_fleet, show_vm

    return show_fleet(limit, as_json=as_json) if vm is None else show_vm(vm, as_json=as_json)
