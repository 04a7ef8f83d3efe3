"""`configdrive retry`: try what is parked again; and the head of a mailbox, as `configdrive skip` sees it too."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from configdrive.printable import printable
from workers.cli.context import load_settings, note_action, open_mailbox
from workers.cli.errors import ExitCode, code_of
from workers.cli.options import VM, WaitCommand, json_option, wait_option
from workers.cli.output import as_document, outcome_line, print_json, say_nothing
from workers.cli.progress import MANY, watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from configdrive.client.postings import Header
    from configdrive.contract.outcome import Outcome
    from configdrive.model import EventKey
    from tasks.mailbox import OperatorAction
    from workers.store.inspection import Inspection

_AT_MOST = 100_000
_WHY_NOT = {
    "empty": "its mailbox is empty by now",
    "not_head": "another event has come to the head by now",
    "busy": "a worker is at it; if that worker is dead, its lease ends within `lease_seconds`",
}

only_event = click.option(
    "--event", "event_id", metavar="ID", help="Only if this is the event at the head: its id, or its key."
)


@dataclass(frozen=True, slots=True)
class Head:
    """The event at the head of a mailbox as it was seen, and how many events wait behind it."""

    header: Header
    attempts: int
    behind: int

    @property
    def shown(self) -> str:
        """The event in words."""
        return f"{self.header.event_type} #{self.header.sequence} of VM {self.header.vm_uuid}"


@click.command(cls=WaitCommand, short_help="Try a parked event again.")
@click.argument("vm", type=VM, required=False, metavar="[VM]")
@click.option("--all-parked", is_flag=True, help="Every parked VM, once the cause is mended.")
@click.option("--code", metavar="CODE", help="With --all-parked: only those parked for this cause.")
@only_event
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
    mailbox = open_mailbox()
    chosen = chosen_heads(mailbox, vm, event_id, code, all_parked=all_parked, as_json=as_json)
    return ExitCode.FAILED if chosen is None else _retry(mailbox, chosen, wait_seconds, as_json=as_json)


def chosen_heads(  # noqa: PLR0913 - the options of two commands
    mailbox: Inspection, vm: str | None, event_id: str | None, code: str | None, *, all_parked: bool, as_json: bool
) -> list[Head] | None:
    """Return the events that the arguments choose; `None` when there is no such one, which was said.

    Raises:
        UsageError: the arguments do not go together.
    """
    if (vm is None) is not all_parked:
        raise click.UsageError("give a VM, or --all-parked")
    if code is not None and not all_parked:
        raise click.UsageError("--code needs --all-parked")
    if event_id is not None and all_parked:
        raise click.UsageError("--event needs a VM")
    if vm is None:
        return _parked(mailbox, code, as_json=as_json)
    head = _head_of(mailbox, vm, event_id, as_json=as_json)
    return None if head is None else [head]


def _head_of(mailbox: Inspection, uuid: str, event_id: str | None, *, as_json: bool) -> Head | None:
    """Return the event at the head of a VM's mailbox, if it is the one that is meant; says so otherwise."""
    from configdrive.model import VmUuid

    view = mailbox.view(VmUuid(uuid))
    if view is None or not view.mail:
        say_nothing(f"no event of VM {uuid} waits", as_json=as_json, vm_uuid=uuid)
        return None
    header = view.mail[0]
    if event_id not in {None, header.event_id, header.key}:
        text = f"the event at the head of VM {uuid} is {header.event_id} of {printable(header.source)}"
        say_nothing(text, as_json=as_json, vm_uuid=uuid)
        return None
    alike = [other for other in view.mail if other.event_id == event_id]
    if len(alike) > 1:
        sources = ", ".join(f"{other.key} ({printable(other.source)})" for other in alike)
        text = f"{len(alike)} events of VM {uuid} have this id; give the key: {sources}"
        say_nothing(text, as_json=as_json, vm_uuid=uuid)
        return None
    return Head(header, view.attempts, len(view.mail) - 1)


def carry_out(  # noqa: PLR0913 - as above
    mailbox: Inspection,
    heads: Iterable[Head],
    action: OperatorAction,
    outcome: Outcome | None = None,
    reason: str | None = None,
    *,
    as_json: bool = False,
) -> list[Head]:
    """Do it to each event, and wake workers for what is at the head then; returns those that it was done to."""
    done: list[Head] = []
    heads = list(heads)
    for head in watched(heads, action.value, len(heads), hidden=as_json or len(heads) < MANY):
        why_not = mailbox.act(head.header.vm_uuid, head.header.key, action, outcome)
        if why_not is None:
            done.append(head)
            what = f"{head.header.event_type} #{head.header.sequence}"
            note_action(mailbox, action.value, head.header.vm_uuid, what + (f": {reason}" if reason else ""))
        else:
            text = f"not done: {head.shown}: {_WHY_NOT.get(why_not, why_not)}"
            say_nothing(text, as_json=as_json, vm_uuid=head.header.vm_uuid)
    return done


def _parked(mailbox: Inspection, code: str | None, *, as_json: bool) -> list[Head]:
    views = [mailbox.view(uuid) for uuid, _at in mailbox.parked(_AT_MOST)]
    heads = [
        Head(view.mail[0], view.attempts, len(view.mail) - 1)
        for view in views
        if view is not None and view.parked is not None and view.mail and code in {None, view.parked}
    ]
    if not heads:
        say_nothing("nothing is parked" + (f" for {code}" if code else ""), as_json=as_json)
    return heads


def _waiting(mailbox: Inspection, left: Mapping[EventKey, Head]) -> Iterator[tuple[str, Head, int]]:
    """Yield each reason why events have no outcome, with one of them, and how many more have the same."""
    from workers.cli.doctor import served_queues
    from workers.cli.waiting import Reasons

    if not left:
        return
    reasons = Reasons(mailbox, served_queues(load_settings()))
    found: dict[str, list[Head]] = {}
    for key, head in left.items():
        found.setdefault(reasons.why(key), []).append(head)
    for reason, heads in found.items():
        yield reason, heads[0], len(heads) - 1


def _retry(mailbox: Inspection, chosen: list[Head], wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    from tasks.mailbox import OperatorAction

    since = mailbox.end_of_outcomes()
    taken = carry_out(mailbox, chosen, OperatorAction.RETRY, as_json=as_json)
    code = ExitCode.DONE if len(taken) == len(chosen) else ExitCode.FAILED
    if wait_seconds is None:
        for head in taken:
            named = {"event_id": head.header.event_id, "source": head.header.source}
            answer = {**named, "vm_uuid": head.header.vm_uuid, "result": "retried"}
            print_json(answer, lines=True) if as_json else click.echo(f"tried again: {head.shown}")
        return code
    left = {head.header.key: head for head in taken}
    hidden = as_json or len(left) < MANY or sys.stdout.isatty()  # there, each outcome has its line
    for outcome in watched(mailbox.outcomes_of(list(left), since, wait_seconds), "outcomes", len(left), hidden=hidden):
        del left[outcome.key]
        print_json(as_document(outcome), lines=True) if as_json else click.echo(outcome_line(outcome))
        code = max(code, code_of(outcome))
    for reason, head, more in _waiting(mailbox, left):
        text = f"no outcome so far: {head.shown}{f' and {more} more' if more else ''}: {reason}"
        say_nothing(text, as_json=as_json, vm_uuid=head.header.vm_uuid)
    return ExitCode.TIME_OVER if left and code is ExitCode.DONE else code
