"""`configdrive skip`: give up the event at the head of a mailbox."""

from __future__ import annotations

import sys
import time

import click

from workers.cli.context import open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import VM, json_option
from workers.cli.output import as_document, outcome_line, print_json
from workers.cli.retry import Head, carry_out, head_of, only_event


@click.command(short_help="Give up the event at the head of a VM's mailbox.")
@click.argument("vm", type=VM)
@only_event
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
    from configdrive.contract.outcome import Outcome, Status
    from tasks.mailbox import OperatorAction

    mailbox = open_mailbox()
    head = head_of(mailbox, vm, event_id)
    if head is None or not (yes or not sys.stdin.isatty() or _agreed(head)):
        return ExitCode.FAILED
    header = head.header
    outcome = Outcome(
        event_id=header.event_id,
        event_type=header.event_type,
        vm_uuid=header.vm_uuid,
        sequence=header.sequence,
        status=Status.SKIPPED,
        at=time.time(),
        detail="given up by a person",
        attempts=head.attempts,
    )
    if not carry_out(mailbox, [head], OperatorAction.SKIP, outcome):
        return ExitCode.FAILED
    if as_json:
        print_json(as_document(outcome), lines=True)
    else:
        click.echo(outcome_line(outcome))
    return ExitCode.DONE


def _agreed(head: Head) -> bool:
    waiting = f" ({head.behind} wait behind it)" if head.behind else ""
    return click.confirm(f"give up {head.shown}{waiting}?", err=True)
