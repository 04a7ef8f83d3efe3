"""`configdrive adopt`: remember the drives that are there, after Redis was lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import print_json, table, where
from workers.cli.progress import watched
from workers.cli.sweep import looked, show_away, storages

if TYPE_CHECKING:
    from configdrive.model import HostName
    from tasks.storage_sweep import Adoption


def _checked(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z2-7]{8}", value):
        raise click.BadParameter("a fleet's id is eight of a-z and 2-7")
    return value


@click.command(short_help="Remember the drives that are there: after the loss of Redis.")
@click.option("--dry-run", is_flag=True, help="Only say what would be remembered.")
@click.option("--fleet", metavar="ID", callback=_checked, help="Take over what this fleet has made: the id it had.")
@click.option("--deep", is_flag=True, help="Look into every directory of a datastore (vSphere); it takes a while.")
@json_option
def adopt(fleet: str | None, *, dry_run: bool, deep: bool, as_json: bool) -> ExitCode:
    """Look at every host in the inventory, and remember each VM that has a config drive or an image on a storage.

    Images carry the id of the fleet that made them, and another fleet's are left alone. When the id was lost with Redis
    the old images count as another fleet's: --fleet takes them over.

    What is remembered already, and VMs whose events wait, are left alone, so it may be run at any time. What stands on
    a found drive is not known: it can be moved and taken away, and the next start that brings the VM's data makes a new
    one. The exit code is 1 when a host did not answer (run it again then), and when all there is carries another id.

    \b
    Examples:
      configdrive adopt --dry-run
      configdrive adopt
      configdrive adopt --fleet q7x2kd3m
    """
    from configdrive.lifecycle.adoption import other_fleets

    settings = load_settings()
    found: list[Adoption] = []
    away: list[HostName] = []
    others: set[str] = set()
    with storages(settings, open_mailbox(settings)) as sweepers:
        for sweeper in sweepers:
            seen = looked(sweeper, deep=deep, hidden=as_json)
            away += sorted(seen.away)
            adopted = sweeper.adopt(seen, dry_run=dry_run, fleet=fleet)
            found += watched(adopted, "remembering VMs", None, hidden=as_json)
            others |= other_fleets(seen, sweeper.fleet) - {fleet}
    if as_json:
        documents = [_adoption(one) for one in found]
        print_json({"dry_run": dry_run, "vms": documents, "hosts_away": away, "other_fleets": sorted(others)})
    else:
        _show_adopted(found, dry_run=dry_run)
        _show_others(sorted(others), alone=not found)
        show_away(away)
    return ExitCode.FAILED if away or (others and not found and not dry_run) else ExitCode.DONE


def _show_others(others: list[str], *, alone: bool) -> None:
    """Say whose images were left alone, and how to take them over."""
    if len(others) == 1 and alone:
        text = f"all images carry the id of fleet {others[0]}: if it was this fleet's before Redis was lost, run"
        click.echo(f"{text} `configdrive adopt --fleet {others[0]}`", err=True)
    elif others:
        click.echo(f"left alone: images of fleet {', '.join(others)}; --fleet takes one's over", err=True)


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
        "vm_uuid": one.uuid,
        "instance_name": None if vm is None else vm.instance_name,
        "host": None if vm is None else vm.host,
        "phase": one.record.phase.value,
        "generation": None if image is None else image.generation,
        "places": [where(place) for place in one.record.places],
        "adopted": not one.why_not,
        "why_not": one.why_not or None,
    }
