"""`configdrive show`: one VM, or all that waits for a person; as data first, then as text."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from configdrive.errors import PermanentError
from configdrive.printable import printable
from workers.cli.context import open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import VM, json_option
from workers.cli.output import ago, as_document, coloured, print_json, say_nothing, table, where

if TYPE_CHECKING:
    from configdrive.client.postings import Header
    from configdrive.contract.outcome import Outcome
    from configdrive.lifecycle.state import Leftover, VmRecord
    from tasks.mailbox import VmView
    from workers.store.inspection import Inspection

_ACTIONS = 5
"""Of so many of an operator's actions, the newest, `show` reminds."""


@click.command(short_help="Show one VM, or what is waiting and parked.")
@click.argument("vm", type=VM, required=False, metavar="[VM]")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Parked VMs to list.")
@json_option
def show(vm: str | None, limit: int, *, as_json: bool) -> ExitCode:
    """Show what is known of one VM, by its uuid; without VM: parked VMs, waiting events, dead letters.

    Of a VM: where its drive is, the exact name of each image file that may lie somewhere, whether a password is pending
    or on the drive (never which), the events in its mailbox, and why the first of them is not done: parked (with cause
    and remedy), in a pause between two tries, or in work.

    \b
    Examples:
      configdrive show
      configdrive show 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10
      configdrive show --json | jq -r '.parked[].vm_uuid'
    """
    return _show_fleet(limit, as_json=as_json) if vm is None else _show_vm(vm, as_json=as_json)


def _show_vm(uuid: str, *, as_json: bool) -> ExitCode:
    from configdrive.model import VmUuid

    mailbox = open_mailbox()
    view = mailbox.view(VmUuid(uuid))
    if view is None:
        say_nothing(f"nothing is known of VM {uuid}", as_json=as_json, vm_uuid=uuid)
        return ExitCode.FAILED
    outcome = _why(mailbox, view)
    summary = _summary(view)
    actions = mailbox.actions(view.uuid, _ACTIONS)
    if as_json:
        print_json(_vm_document(view, summary, outcome) | {"operators": [asdict(one) for one in actions]})
    else:
        _print_vm(view, summary, outcome)
        for one in actions:
            click.echo(f"  operator   {one.who} {ago(one.at)}: {one.action} {one.reason}")
    return ExitCode.DONE


def _show_fleet(limit: int, *, as_json: bool) -> ExitCode:
    mailbox = open_mailbox()
    parked = [(mailbox.view(uuid), at) for uuid, at in mailbox.parked(limit)]
    rows = [(view, at, _why(mailbox, view)) for view, at in parked if view is not None and view.parked is not None]
    numbers = mailbox.numbers(())
    dead = numbers.dead_letters
    newest = mailbox.dead_letters(1)
    if as_json:
        print_json(
            {
                "parked": [{**_parked_document(view, outcome), "parked_at": at} for view, at, outcome in rows],
                "pending": {queue.name: queue.pending for queue in numbers.queues},
                "wakeups": {queue.name: queue.messages for queue in numbers.queues},
                "unverified": {queue.name: queue.unverified for queue in numbers.queues},
                "dead_letters": {"count": dead, "newest": asdict(newest[0]) if newest else None},
            },
        )
        return ExitCode.DONE
    for view, at, outcome in rows:
        _print_parked(view, at, outcome)
    click.echo(f"{len(rows)} parked" + (f" (the oldest; --limit {limit})" if len(rows) == limit else ""))
    if any(queue.pending or queue.messages for queue in numbers.queues):
        counts = [(queue.name, str(queue.pending), str(queue.messages)) for queue in numbers.queues]
        table(("queue", "VMs with events", "wake-ups"), counts)
    else:
        click.echo("no event waits or is in work")
    if unverified := sum(queue.unverified for queue in numbers.queues):
        click.echo(f"{unverified} VMs that a worker may have left half-done are still to be looked at")
    last = f", the newest {ago(newest[0].at)}: {newest[0].reason}" if newest else ""
    click.echo(f"{dead} dead letters{last}")
    return ExitCode.DONE


def _why(mailbox: Inspection, view: VmView) -> Outcome | None:
    """Return the outcome that parked the head event."""
    return mailbox.outcome_of(view.mail[0].key) if view.parked is not None and view.mail else None


def _summary(view: VmView) -> VmRecord:
    from configdrive.lifecycle.state import VmRecord, peek

    if view.state is None:
        return VmRecord()
    try:
        return peek(view.state)
    except PermanentError as error:
        click.echo(f"{error.detail}: {error.remedy}", err=True)
        return VmRecord()


def _password(summary: VmRecord) -> str:
    """Where the password is; it is not opened."""
    if summary.sealed.pending is not None:
        return "pending"
    return "none" if summary.sealed.carried is None else "on_drive"


def _vm_document(view: VmView, summary: VmRecord, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "vm_uuid": view.uuid,
        "definition": None if summary.vm is None else asdict(summary.vm),
        "phase": summary.phase.value,
        "sequence": summary.sequence,
        "generation": None if summary.image is None else summary.image.generation,
        "image": _image(summary),
        "others": list(summary.others),
        "places": [asdict(place) for place in summary.places],
        "password": _password(summary),
        "wanted": summary.wanted,
        "adopted": summary.adopted,
        "left_on": list(summary.left_on),
        "left": [asdict(one) for one in summary.left],
        "intents": [asdict(one) for one in view.intents],
        "unverified": view.unverified,
        "mailbox": [_header(header) for header in view.mail],
        "attempts": view.attempts,
        "in_work": view.owner is not None,
        "leased_until": view.leased_until,
        "due": view.due,
        "wakeup": view.message,
        "reason": view.reason,
        "parked": view.parked,
        "waits_for": view.away,
        "parked_outcome": as_document(outcome),
    }


def _image(summary: VmRecord) -> str | None:
    """Return the exact file that the state names; none before it is built."""
    return None if summary.image is None else summary.image.file or None


def _header(header: Header) -> dict[str, Any]:
    return {
        "event_id": header.event_id,
        "source": header.source,
        "key": header.key,
        "type": header.event_type,
        "sequence": header.sequence,
        "queue": header.queue,
    }


def _parked_document(view: VmView, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "vm_uuid": view.uuid,
        "code": view.parked,
        "waits_for": view.away,
        "event": _header(view.mail[0]) if view.mail else None,
        "waiting": max(0, len(view.mail) - 1),
        "outcome": as_document(outcome),
    }


def _print_parked(view: VmView, at: float, outcome: Outcome | None) -> None:
    head = f"{view.mail[0].event_type} #{view.mail[0].sequence}" if view.mail else ""
    behind = f", {len(view.mail) - 1} more wait" if len(view.mail) > 1 else ""
    click.echo(f"{view.uuid}  {coloured('parked')} {ago(at)}  {head}{behind}")
    _print_cause(view, outcome, "  ")


def _print_cause(view: VmView, outcome: Outcome | None, indent: str) -> None:
    click.echo(f"{indent}{view.parked}: {printable(outcome.detail) if outcome else ''}")
    if outcome is not None and outcome.remedy:
        click.echo(f"{indent}remedy: {printable(outcome.remedy)}")
    if view.away is not None:
        click.echo(f"{indent}goes on by itself when this is back: {view.away}")
    click.echo(f"{indent}then: configdrive retry {view.uuid}   (or skip)")


def _print_vm(view: VmView, summary: VmRecord, outcome: Outcome | None) -> None:
    vm = summary.vm
    known = "no event was applied so far" if vm is None else f"{vm.instance_name} on {vm.hypervisor} host {vm.host}"
    click.echo(f"VM {click.style(view.uuid, bold=True)}  {printable(known)}")
    generation = "" if summary.image is None else f", generation {summary.image.generation}"
    places = ", ".join(map(where, summary.places))
    drive = f"{summary.phase.value}{generation}" + (f", on {places}" if places else "")
    facts = [("drive", drive)]
    if file := _image(summary):
        facts.append(("image", file))
    facts += [("other", f"{file} may lie there, too") for file in summary.others]
    facts.append(("password", _password(summary).replace("_", " ")))
    if summary.sequence >= 0:
        facts.append(("sequence", f"{summary.sequence} was applied last"))
    if not summary.wanted:
        facts.append(("offering", "does not name ConfigDrive: this VM gets no drive"))
    if summary.adopted:
        facts.append(("adopted", "the image was found, not made: it can be moved, not rebuilt"))
    facts += [("left on", _left(one)) for one in summary.left]
    facts += [("intent", f"{one.file} may lie on {where(one.place)}, by host {one.host}") for one in view.intents]
    if view.unverified:
        facts.append(("verify", "a worker may have left this VM half-done: it is looked at once no event waits"))
    for name, text in facts:
        click.echo(f"  {name:<9}  {printable(text)}")
    click.echo(f"  {'work':<9}  {_work(view, outcome)}")
    for position, header in enumerate(view.mail):
        mark = "next" if position == 0 else "then"
        named = f"{header.event_id} of {printable(header.source)}"
        click.echo(f"  {mark:<9}  {header.event_type} #{header.sequence}  {named}  on {header.queue}")
    if view.parked is not None:
        _print_cause(view, outcome, "  ")


def _left(one: Leftover) -> str:
    """What a host may still have of the VM."""
    parts = ["the drive"] if one.drive else []
    if one.places:
        files = ", ".join(one.files) or "every image of the VM"
        parts.append(f"{files} on {', '.join(map(where, one.places))}")
    what = "; ".join(parts) or "anything of the VM"
    return f"{one.host}: {what}; finished when the host gives it up"


def _work(view: VmView, outcome: Outcome | None) -> str:
    if not view.mail:
        return "nothing waits"
    if view.parked is not None:
        return f"{coloured('parked')}{_tried(outcome)}"
    if view.owner is not None and view.leased_until is not None and view.leased_until > time.time():
        return f"a worker is at it, attempt {view.attempts}"
    if view.reason is not None and view.due is not None:
        return f"{view.reason} in attempt {view.attempts}; the next one {ago(view.due)}"
    return "waits for a worker" + ("" if view.message is None else f" (wake-up {view.message} of its queue)")


def _tried(outcome: Outcome | None) -> str:
    """How often what is parked was tried, as its outcome says: the VM's own count begins anew with the parking."""
    attempts = 0 if outcome is None else outcome.attempts
    return {0: "", 1: " in the first attempt"}.get(attempts, f" after {attempts} attempts")
