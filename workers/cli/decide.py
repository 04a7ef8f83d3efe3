"""`configdrive retry` and `configdrive skip`: a person's word on what is parked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from workers.cli.context import VM
from workers.cli.exits import ExitCode
from workers.cli.output import json_option
from workers.cli.waiting import WaitCommand, wait_option

if TYPE_CHECKING:
    from workers.cli.deciding import Decision

_only_event = click.option("--event", "event_id", metavar="ID", help="Only if this is the event at the head.")


@click.command(cls=WaitCommand, short_help="Try a parked event again.")
@click.argument("vm", type=VM, required=False, metavar="[VM]")
@click.option("--all-parked", is_flag=True, help="Every parked VM, once the cause is mended.")
@click.option("--code", metavar="CODE", help="With --all-parked: only those parked for this cause.")
@_only_event
@wait_option
@json_option
def retry(  # noqa: PLR0913 - a parameter for each option
    vm: str | None,
    event_id: str | None,
    code: str | None,
    wait_seconds: float | None,
    *,
    all_parked: bool,
    as_json: bool,
) -> ExitCode:
    """Try the event at the head of a VM's mailbox again, now: a parked one, or one in a pause between two tries.

    Mend the cause first; `configdrive show VM` says what it was. Its count of attempts begins anew.

    \b
    Examples:
      configdrive retry 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --wait
      configdrive retry --all-parked --code storage_full
    """
    if (vm is None) is not all_parked:
        raise click.UsageError("give a VM, or --all-parked")
    if code is not None and not all_parked:
        raise click.UsageError("--code needs --all-parked")
    if event_id is not None and all_parked:
        raise click.UsageError("--event needs a VM")
    from workers.cli.deciding import retry_all, retry_vm

    if vm is None:
        return retry_all(code, wait_seconds, as_json=as_json)
    return retry_vm(vm, event_id, wait_seconds, as_json=as_json)


@click.command(short_help="Give up the event at the head of a VM's mailbox.")
@click.argument("vm", type=VM)
@_only_event
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def skip(vm: str, event_id: str | None, *, yes: bool, as_json: bool) -> ExitCode:
    """Give up the event at the head of a VM's mailbox, so that those behind it go on.

    The event is not done; its outcome says "skipped". What it would have changed stays as it is until the VM's next
    event. On a terminal you are asked first.

    \b
    Examples:
      configdrive skip 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive skip 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --event 0f0b... --yes --json
    """
    from workers.cli.deciding import skip_head

    return skip_head(vm, event_id, _unasked if yes or not sys.stdin.isatty() else _ask, as_json=as_json)


def _unasked(_decision: Decision) -> bool:
    return True


def _ask(decision: Decision) -> bool:
    waiting = f" ({decision.behind} wait behind it)" if decision.behind else ""
    return click.confirm(f"give up {decision.shown}{waiting}?", err=True)
