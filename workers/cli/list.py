"""`configdrive list`: the VMs of the fleet, one line each."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import ago, coloured, print_json, table, where

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.store.inspection import VmLine

_PHASES = ("absent", "staged", "attached", "gone")


@click.command("list", short_help="List the VMs: where each one's drive is, and what waits.")
@click.argument("name", default="*")
@click.option("--hypervisor", metavar="NAME", help="Only of this one.")
@click.option("--host", metavar="NAME", help="Only on this host.")
@click.option("--storage", metavar="NAME", help="Only with an image on this storage.")
@click.option("--phase", type=click.Choice(_PHASES), help="Only in this phase; those that are gone are left out else.")
@click.option("--parked", is_flag=True, help="Only those whose next event is parked.")
@click.option("--waiting", is_flag=True, help="Only those with events that wait or are in work.")
@click.option("--labels", is_flag=True, help="Show the drive's label too: opens what is sealed, so needs the key file.")
@json_option
def list_(  # noqa: PLR0913 - a parameter for each option
    name: str,
    hypervisor: str | None,
    host: str | None,
    storage: str | None,
    phase: str | None,
    *,
    parked: bool,
    waiting: bool,
    labels: bool,
    as_json: bool,
) -> ExitCode:
    """List the VMs that the fleet knows: instance name, host, storage, phase of the drive, since when, and what waits.

    NAME is an instance name, with * and ? for what may stand there. Wherever a command asks for a VM's uuid, its
    instance name or the beginning of its uuid will do, as long as no other VM has it.

    \b
    Examples:
      configdrive list
      configdrive list "i-2-*" --host kvm-07
      configdrive list --parked --json | jq -r '.vms[].vm_uuid'
    """
    label_of = _labels() if labels else None
    mailbox = open_mailbox()
    lines = [
        one
        for one in mailbox.lines()
        if fnmatchcase(one.name, name)
        and hypervisor in {None, one.hypervisor}
        and host in {None, one.host}
        and (storage is None or any(place.storage == storage for place in one.record.places))
        and (one.record.phase.value != "gone" or one.waiting or phase == "gone")
        and phase in {None, one.record.phase.value}
        and (not parked or one.parked is not None)
        and (not waiting or one.waiting > 0)
    ]
    lines.sort(key=lambda one: (one.hypervisor, one.host, one.name, one.uuid))
    if as_json:
        print_json({"vms": [_document(one, label_of) for one in lines]})
        return ExitCode.DONE
    titles = ("instance", "vm", "host", "storage", *(("label",) if label_of else ()), "drive", "since", "events")
    rows = [
        (
            one.name or "-",
            one.uuid,
            "@".join(filter(None, (one.hypervisor, one.host))) or "-",
            ", ".join(map(where, one.record.places)) or "-",
            *((label_of(one),) if label_of else ()),
            one.record.phase.value,
            "-" if one.since is None else ago(one.since),
            _events(one),
        )
        for one in lines
    ]
    if rows:
        table(titles, rows)
    click.echo(f"{len(rows)} VMs", err=True)
    return ExitCode.DONE


def _events(one: VmLine) -> str:
    if one.parked is not None:
        behind = f", {one.waiting - 1} behind" if one.waiting > 1 else ""
        return f"{coloured('parked')}: {one.parked}{behind}"
    return f"{one.waiting} wait" if one.waiting else "-"


def _document(one: VmLine, label_of: Callable[[VmLine], str] | None) -> dict[str, Any]:
    return {
        "vm_uuid": one.uuid,
        "instance_name": one.name or None,
        "hypervisor": one.hypervisor or None,
        "host": one.host or None,
        "storages": [place.storage for place in one.record.places],
        "phase": one.record.phase.value,
        "since": one.since,
        "waiting": one.waiting,
        "parked": one.parked,
        **({"label": label_of(one)} if label_of else {}),
    }


def _labels() -> Callable[[VmLine], str]:
    """Return what tells a VM's label. Nothing else of what it opens is looked at."""
    from configdrive.errors import PermanentError
    from configdrive.lifecycle.state import label_of
    from workers.config.key_ring import make_sealer

    settings = load_settings()
    sealer = make_sealer(settings)

    def label(one: VmLine) -> str:
        try:
            return label_of(one.record, sealer, one.uuid) or settings.label
        except PermanentError:
            return "?"

    return label
