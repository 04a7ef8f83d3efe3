"""`configdrive skip`: give up the event at the head of a mailbox."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from workers.cli.context import open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import VM, json_option
from workers.cli.output import as_document, outcome_line, print_json
from workers.cli.progress import MANY, watched
from workers.cli.retry import Head, carry_out, chosen_heads, only_event

if TYPE_CHECKING:
    from configdrive.contract.outcome import Outcome
    from workers.store.inspection import Inspection


@click.command(short_help="Give up the event at the head of a VM's mailbox.")
@click.argument("vm", type=VM, required=False, metavar="[VM]")
@click.option("--all-parked", is_flag=True, help="Every parked VM's.")
@click.option("--code", metavar="CODE", help="With --all-parked: only those parked for this cause.")
@only_event
@click.option("--reason", metavar="TEXT", help="Why, for the outcome and the record that `configdrive show VM` prints.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def skip(  # noqa: PLR0913 - a parameter for each option
    vm: str | None,
    event_id: str | None,
    code: str | None,
    reason: str | None,
    *,
    all_parked: bool,
    yes: bool,
    as_json: bool,
) -> ExitCode:
    """Give up the event at the head of a VM's mailbox, so that those behind it go on.

    The event is not done; its outcome says "skipped". What it would have changed stays as it is until the VM's next
    event. You are asked first; without a terminal, --yes is needed.

    \b
    Examples:
      configdrive skip 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive skip 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --event 0f0b... --yes --json
      configdrive skip --all-parked --code unknown_host --reason "kvm-07 was scrapped" --yes
    """
    mailbox = open_mailbox()
    heads = chosen_heads(mailbox, vm, event_id, code, all_parked=all_parked, as_json=as_json)
    if heads and not yes and not sys.stdin.isatty():
        raise click.UsageError("give --yes: there is no terminal to ask on")
    if heads is None or (heads and not (yes or _agreed(heads))):
        return ExitCode.FAILED
    shown = watched(heads, "giving up", len(heads), hidden=as_json or len(heads) < MANY)
    skipped = [outcome for head in shown if (outcome := _skip(mailbox, head, reason, as_json=as_json)) is not None]
    for outcome in skipped:
        print_json(as_document(outcome), lines=True) if as_json else click.echo(outcome_line(outcome))
    return ExitCode.DONE if len(skipped) == len(heads) else ExitCode.FAILED


def _skip(mailbox: Inspection, head: Head, reason: str | None, *, as_json: bool) -> Outcome | None:
    from configdrive.contract.outcome import Outcome, Status
    from tasks.mailbox import OperatorAction

    header = head.header
    outcome = Outcome(
        event_id=header.event_id,
        source=header.source,
        event_type=header.event_type,
        vm_uuid=header.vm_uuid,
        sequence=header.sequence,
        status=Status.SKIPPED,
        at=time.time(),
        detail="given up by an operator" + (f": {reason}" if reason else ""),
        attempts=head.attempts,
    )
    done = carry_out(mailbox, [head], OperatorAction.SKIP, outcome, reason, as_json=as_json)
    return outcome if done else None


def _agreed(heads: list[Head]) -> bool:
    if len(heads) > 1:
        return click.confirm(f"give up the next event of {len(heads)} VMs?", err=True)
    (head,) = heads
    waiting = f" ({head.behind} wait behind it)" if head.behind else ""
    return click.confirm(f"give up {head.shown}{waiting}?", err=True)
