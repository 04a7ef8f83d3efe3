"""What became of published events, told as it becomes known: lines, JSON lines, or (many, on a terminal) a bar."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from workers.cli.exits import ExitCode
from workers.cli.output import as_document, coloured, outcome_line, print_json
from workers.cli.waiting import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from configdrive.contract.outcome import Outcome
    from tasks.mailbox import Receipt

_MANY = 50
"""From so many events on, a terminal shows a bar, what went wrong and a summary, instead of a line for each."""


class Report:
    """Tells of each event, and knows the exit code at the end.

    Args:
        total: how many entries were read.
        as_json: a line of JSON for each.
        waiting: outcomes are waited for, so that an event that is only stored is not worth a line.

    `open` holds the ids of stored events that have no outcome so far, with their places in the input.
    """

    def __init__(self, total: int, *, as_json: bool, waiting: bool) -> None:
        self.code = ExitCode.DONE
        self.open: dict[str, str] = {}
        self._single = total == 1
        self._as_json = as_json
        self._waiting = waiting
        self._with_bar = total >= _MANY and not as_json and sys.stderr.isatty()
        self._counts: Counter[str] = Counter()
        self._held_back: list[str] = []

    def refused(self, where: str, code: str, detail: str, remedy: str) -> None:
        """Tell of an entry that is no event, or is not for this fleet."""
        self._counts["refused"] += 1
        self.code = ExitCode.FAILED
        told = {"where": where, "result": "refused", "code": code, "detail": detail, "remedy": remedy}
        text = f"{where}: {coloured('refused')}  {code}: {detail}" + (f"\n  remedy: {remedy}" if remedy else "")
        self._tell(told, text, bad=True)

    def receipt(self, where: str, receipt: Receipt) -> None:
        """Tell of an event that is stored, or was stored before."""
        result = "stored" if receipt.accepted else "duplicate"
        self._counts[result] += 1
        told: dict[str, Any] = {"where": where, "result": result, "event_id": receipt.event_id}
        if receipt.first is None:
            self.open[receipt.event_id] = where
        else:
            self._judge(receipt.first)
        if not receipt.accepted:
            first = "it waits or is worked on" if receipt.first is None else outcome_line(receipt.first)
            text = f"{where}: {coloured('duplicate')}  {receipt.event_id} was published before: {first}"
            self._tell(told | {"outcome": as_document(receipt.first)}, text, bad=True)
        elif not self._waiting and (self._as_json or self._single):
            self._tell(told, f"stored  {receipt.event_id}")

    def outcome(self, outcome: Outcome) -> None:
        """Tell of an outcome that was waited for."""
        self._counts[outcome.status.value] += 1
        self._judge(outcome)
        where = self.open.pop(outcome.event_id)
        told = {"where": where, "result": "outcome", "event_id": outcome.event_id, "outcome": as_document(outcome)}
        self._tell(told, outcome_line(outcome), bad=code_of(outcome) is not ExitCode.DONE)

    def finish(self) -> None:
        """Tell of the outcomes that have not come in time, and sum up."""
        if self._waiting:
            for event_id, where in self.open.items():
                told = {"where": where, "result": "time_over", "event_id": event_id}
                self._tell(told, f"{where}: no outcome so far for {event_id}; `configdrive watch` shows it", bad=True)
                self._counts["without outcome"] += 1
            if self.open and self.code is ExitCode.DONE:
                self.code = ExitCode.TIME_OVER
        for text in self._held_back:
            click.echo(text, err=True)
        if not self._single and not self._as_json:
            click.echo(", ".join(f"{number} {word}" for word, number in self._counts.items()))

    def broken_off(self) -> None:
        """Tell what is stored already, when the rest could not be published or waited for."""
        if self._as_json:
            for event_id, where in self.open.items() if self._waiting else ():
                print_json({"where": where, "result": "stored", "event_id": event_id}, lines=True)
        elif not self._single:
            so_far = ", ".join(f"{number} {word}" for word, number in self._counts.items()) or "nothing is stored"
            click.echo(f"so far: {so_far}; to publish all of it again is safe, nothing is done twice", err=True)

    @contextmanager
    def bar(self, length: int, label: str) -> Iterator[Callable[[int], None]]:
        """Show a progress bar where one is wanted; the block calls what it is given with each step."""
        if not self._with_bar or not length:
            yield _nothing
            return
        with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
            yield bar.update

    def _judge(self, outcome: Outcome) -> None:
        if code_of(outcome) is not ExitCode.DONE:
            self.code = ExitCode.FAILED

    def _tell(self, told: Mapping[str, Any], text: str, *, bad: bool = False) -> None:
        if self._as_json:
            print_json(told, lines=True)
        elif not self._with_bar:
            click.echo(text, err=bad and told["result"] != "outcome")
        elif bad:
            self._held_back.append(text)  # a line now would tear the bar


def _nothing(_steps: int) -> None:
    """No bar is shown."""
