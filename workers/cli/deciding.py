"""Carrying out a person's word on the event at the head of a mailbox."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import VmUuid
from tasks.mailbox import Header, PersonsWord, Wake
from tasks.wakeup import WakeUps
from workers.cli.context import open_app, open_mailbox
from workers.cli.exits import ExitCode
from workers.cli.output import as_document, outcome_line, print_json
from workers.cli.waiting import code_of, outcomes_of
from workers.config.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.store.inspection import Census

_AT_MOST = 100_000
_WHY_NOT = {
    "empty": "its mailbox is empty by now",
    "not_head": "another event has come to the head by now",
    "busy": "a worker is at it; if that worker is dead, its lease ends within `lease_seconds`",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """The event that a person speaks about, as it was seen at the head, and how many events wait behind it."""

    head: Header
    attempts: int
    behind: int

    @property
    def shown(self) -> str:
        """The event in words."""
        return f"{self.head.event_type} #{self.head.sequence} of VM {self.head.vm_uuid}"


def retry_vm(uuid: str, event_id: str | None, wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    """Retry one VM's head event."""
    mailbox = open_mailbox(load_settings())
    decision = _head(mailbox, VmUuid(uuid), event_id)
    return ExitCode.FAILED if decision is None else _retry(mailbox, [decision], wait_seconds, as_json=as_json)


def retry_all(code: str | None, wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    """Retry the head event of every parked VM, or of those parked for `code`."""
    mailbox = open_mailbox(load_settings())
    views = [mailbox.view(uuid) for uuid, _at in mailbox.parked(_AT_MOST)]
    chosen = [
        Decision(view.mail[0], view.attempts, len(view.mail) - 1)
        for view in views
        if view is not None and view.parked is not None and view.mail and code in {None, view.parked}
    ]
    if not chosen:
        click.echo("nothing is parked" + (f" for {code}" if code else ""), err=True)
    return _retry(mailbox, chosen, wait_seconds, as_json=as_json)


def skip_head(uuid: str, event_id: str | None, agreed: Callable[[Decision], bool], *, as_json: bool) -> ExitCode:
    """Give up one VM's head event, if `agreed` says so."""
    mailbox = open_mailbox(load_settings())
    decision = _head(mailbox, VmUuid(uuid), event_id)
    if decision is None or not agreed(decision):
        return ExitCode.FAILED
    head = decision.head
    outcome = Outcome(
        event_id=head.event_id,
        event_type=head.event_type,
        vm_uuid=head.vm_uuid,
        sequence=head.sequence,
        status=Status.SKIPPED,
        at=time.time(),
        detail="given up by a person",
        attempts=decision.attempts,
    )
    if not _speak(mailbox, [decision], PersonsWord.SKIP, outcome):
        return ExitCode.FAILED
    if as_json:
        print_json(as_document(outcome), lines=True)
    else:
        click.echo(outcome_line(outcome))
    return ExitCode.DONE


def _retry(mailbox: Census, chosen: list[Decision], wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    since = mailbox.end_of_outcomes()
    taken = _speak(mailbox, chosen, PersonsWord.RETRY)
    code = ExitCode.DONE if len(taken) == len(chosen) else ExitCode.FAILED
    if wait_seconds is None:
        for decision in taken:
            told = {"event_id": decision.head.event_id, "vm": decision.head.vm_uuid, "result": "retried"}
            print_json(told, lines=True) if as_json else click.echo(f"tried again: {decision.shown}")
        return code
    left: dict[str, Decision] = {decision.head.event_id: decision for decision in taken}
    for outcome in outcomes_of(mailbox, list(left), since, wait_seconds):
        del left[outcome.event_id]
        print_json(as_document(outcome), lines=True) if as_json else click.echo(outcome_line(outcome))
        code = max(code, code_of(outcome))
    for decision in left.values():
        click.echo(f"no outcome so far: {decision.shown}", err=True)
    return ExitCode.TIME_OVER if left and code is ExitCode.DONE else code


def _head(mailbox: Census, uuid: VmUuid, event_id: str | None) -> Decision | None:
    view = mailbox.view(uuid)
    if view is None or not view.mail:
        click.echo(f"no event of VM {uuid} waits", err=True)
        return None
    head = view.mail[0]
    if event_id not in {None, head.event_id}:
        click.echo(f"the event at the head of VM {uuid} is {head.event_id}", err=True)
        return None
    return Decision(head, view.attempts, len(view.mail) - 1)


def _speak(
    mailbox: Census,
    decisions: Iterable[Decision],
    word: PersonsWord,
    outcome: Outcome | None = None,
) -> list[Decision]:
    """Say the word on each event, and wake workers for what is at the head then; returns those that it was done for."""
    done: list[Decision] = []
    wakes: list[Wake] = []
    for decision in decisions:
        match mailbox.word(decision.head.vm_uuid, decision.head.event_id, word, outcome):
            case str(answer):
                click.echo(f"not done: {decision.shown}: {_WHY_NOT.get(answer, answer)}", err=True)
                continue
            case Wake() as wake:
                wakes.append(wake)
            case None:
                pass  # nothing waits behind it
        done.append(decision)
    WakeUps(open_app(load_settings())).send_many(wakes)
    return done
