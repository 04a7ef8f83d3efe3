"""`configdrive sequence`: the number that a VM's next event must exceed, shown and set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workers.cli.context import note_action, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import VM, json_option
from workers.cli.output import print_json, say_nothing

if TYPE_CHECKING:
    from workers.store.inspection import Inspection

_LARGEST = 2**53 - 1
_WHY_NOT = {
    "waiting": "its events wait: let them be done, or give them up by `configdrive skip`",
    "busy": "a worker is at it; if that worker is dead, its lease ends within `lease_seconds`",
}


@click.command(short_help="Show or set the sequence that a VM's next event must exceed.")
@click.argument("vm", type=VM)
@click.option(
    "--set", "number", type=click.IntRange(-1, _LARGEST), metavar="N", help="What was applied last, from now on."
)
@click.option("--reason", metavar="TEXT", help="With --set: why, for the record that `configdrive show VM` prints.")
@json_option
def sequence(vm: str, number: int | None, reason: str | None, *, as_json: bool) -> ExitCode:
    """Show the sequence of the event that was applied last to a VM, or set it.

    Events up to it are dropped as stale. It has to be set when an event came with a number that was far too high, or
    when the orchestrator's counter went back, after a restore of its database for one. What the VM has on its drive
    does not change by that.

    \b
    Examples:
      configdrive sequence 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive sequence 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --set 41 --reason "counter restored from a backup"
    """
    if (number is None) is not (reason is None):
        raise click.UsageError("--set and --reason go together")
    mailbox = open_mailbox()
    found = _read(mailbox, vm) if number is None or reason is None else set_sequence(mailbox, vm, number, reason)
    if isinstance(found, str):
        say_nothing(found, as_json=as_json, vm_uuid=vm)
        return ExitCode.FAILED
    if as_json:
        print_json({"vm_uuid": vm, "sequence": found})
    elif number is None:
        click.echo(f"{found} was applied last; the next event needs at least {found + 1}")
    else:
        click.echo(f"the next event of VM {vm} needs at least {found + 1}")
    return ExitCode.DONE


def _read(mailbox: Inspection, vm: str) -> int | str:
    """Return the sequence that was applied last, or why there is none."""
    from configdrive.lifecycle.state import peek
    from configdrive.model import VmUuid

    view = mailbox.view(VmUuid(vm))
    if view is None or view.state is None:
        return f"no event of VM {vm} was applied so far"
    return peek(view.state).sequence


def set_sequence(mailbox: Inspection, vm: str, number: int, reason: str) -> int | str:
    """Set it and return it, or say why that cannot be."""
    from dataclasses import replace

    from configdrive.lifecycle.state import peek, write
    from configdrive.model import VmUuid
    from tasks.mailbox import NotNow

    before = _read(mailbox, vm)
    if isinstance(before, str):  # or the hold would leave something of a stranger
        return before
    held = mailbox.hold(VmUuid(vm))
    if isinstance(held, NotNow):
        return f"not done: {_WHY_NOT.get(held, held)}"
    state = None
    try:
        record = peek(held.state or "")
        state = write(replace(record, sequence=number))
    finally:
        mailbox.release(held, state)
    note_action(mailbox, "sequence", vm, f"{record.sequence} -> {number}: {reason}")
    return number
