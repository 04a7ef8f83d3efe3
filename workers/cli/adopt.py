"""`configdrive adopt`: remember the drives that are there, after Redis was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import print_json, table, where
from workers.cli.sweep import show_away, storages

if TYPE_CHECKING:
    from configdrive.model import HostName
    from tasks.storage_sweep import Adoption


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
    settings = load_settings()
    found: list[Adoption] = []
    away: list[HostName] = []
    with storages(settings, open_mailbox(settings)) as sweepers:
        for sweeper in sweepers:
            seen = sweeper.look()
            away += sorted(seen.away)
            found += sweeper.adopt(seen, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "vms": [_adoption(one) for one in found], "hosts_away": away})
    else:
        _show_adopted(found, dry_run=dry_run)
        show_away(away)
    return ExitCode.FAILED if away else ExitCode.DONE


def _show_adopted(found: list[Adoption], *, dry_run: bool) -> None:
    rows = []
    for one in found:
        vm, image = one.record.vm, one.record.image
        if vm is None or image is None:
            continue
        places = ", ".join(map(where, one.record.places)) or "-"
        what = one.why_not or ("would be remembered" if dry_run else "remembered")
        rows.append((one.uuid, vm.instance_name, vm.host, one.record.phase.value, str(image.generation), places, what))
    if rows:
        table(("VM", "instance", "host", "drive", "generation", "storage", ""), rows)
    new = sum(not one.why_not for one in found)
    click.echo(f"{len(found)} VMs with a drive or an image: {new} {'would be ' if dry_run else ''}adopted")


def _adoption(one: Adoption) -> dict[str, Any]:
    vm, image = one.record.vm, one.record.image
    return {
        "vm": one.uuid,
        "instance_name": None if vm is None else vm.instance_name,
        "host": None if vm is None else vm.host,
        "phase": one.record.phase.value,
        "generation": None if image is None else image.generation,
        "places": [where(place) for place in one.record.places],
        "adopted": not one.why_not,
        "why_not": one.why_not or None,
    }
