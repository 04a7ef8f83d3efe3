"""`configdrive publish`: events from a file or a pipe into their mailboxes, and what becomes of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli import progress
from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode, code_of
from workers.cli.options import WaitCommand, json_option, wait_option
from workers.cli.output import as_document, coloured, outcome_line, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from configdrive.client.postings import Receipt
    from configdrive.client.publisher import Publisher
    from configdrive.contract.outcome import Outcome
    from configdrive.model import EventKey
    from workers.config.settings import Settings
    from workers.store.inspection import Inspection

_BOM = b"\xef\xbb\xbf"
_ONE_PER_LINE = "give one JSON object, an array of them, or one object per line (jq -c)"
_UNKNOWN = "`configdrive watch` shows its outcome"
_ASKED = 200
"""Of so many events it is asked why they have no outcome."""


@click.command(cls=WaitCommand, short_help="Publish events from a file or standard input.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@wait_option
@json_option
def publish(file: str, wait_seconds: float | None, *, as_json: bool) -> ExitCode:
    """Publish the events in FILE, or from standard input with "-".

    FILE holds one event (a JSON object), a JSON array of them, or one event per line (JSON Lines). Once an event is
    stored nothing can lose it. A bad event is reported with its line and field; the others are published all the same.
    Passwords and user data are sealed before they leave this process.

    \b
    Examples:
      configdrive publish event.json --wait
      configdrive publish burst.jsonl --wait 600
      jq -c '.events[]' dump.json | configdrive publish - --json
      configdrive event start --vm ... --hypervisor kvm ... | configdrive publish -

    An event whose id was published before is not stored again: the outcome of the first one is shown, so it is safe to
    publish a file once more. Exit code 1 when an event was refused, or (with --wait, or for such a repeated one) came
    to nothing good; 3 when the time was over before all outcomes were there.
    """
    if file == "-":
        if sys.stdin.isatty():
            click.echo("reading events from the terminal; Ctrl-D ends", err=True)
        found = list(entries(sys.stdin.buffer))
    else:
        with Path(file).open("rb") as stream:
            found = list(entries(stream))
    return publish_all(found, wait_seconds=wait_seconds, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it was found; `where` names its place for messages."""

    where: str
    event: bytes | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A place where no event could be found, and why; never the text that stands there."""

    where: str
    detail: str
    remedy: str = _ONE_PER_LINE


def entries(stream: BinaryIO) -> Iterator[Entry | Unreadable]:
    """Find the events in a stream."""
    number, first = 0, b""
    while not first.strip():
        line = stream.readline()
        if not line:
            yield Unreadable("input", "is empty")
            return
        number, first = number + 1, line.removeprefix(_BOM) if number == 0 else line
    if _is_object(first):
        yield from _lines(number, first, stream)
    else:
        yield from _document(number, first + stream.read())


def _lines(number: int, first: bytes, rest: BinaryIO) -> Iterator[Entry]:
    yield Entry(f"line {number}", first)
    for line in rest:
        number += 1
        if line.strip():
            yield Entry(f"line {number}", line)


def _document(number: int, text: bytes) -> Iterator[Entry | Unreadable]:
    """Read what is no JSON Lines at its first line: one document over several lines, or a spoilt first line."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {number + error.lineno - 1}, column {error.colno}"
        problem = Unreadable(where, f"is not JSON: {error.msg}")
    except (ValueError, RecursionError):  # not UTF-8; a number of thousands of digits; thousands of brackets
        problem = Unreadable(f"line {number}", "is not JSON")
    else:
        yield from _whole(document, text)
        return
    lines = text.splitlines()
    if not any(_is_object(line) for line in lines[1:]):
        yield problem
        return
    for offset, line in enumerate(lines):
        if line.strip():
            yield Entry(f"line {number + offset}", line)


def _whole(document: object, text: bytes) -> Iterator[Entry | Unreadable]:
    if isinstance(document, dict):
        yield Entry("event", text)
    elif isinstance(document, list):
        for index, item in enumerate(document, 1):
            where = f"event {index}"
            yield Entry(where, item) if isinstance(item, dict) else Unreadable(where, "is not a JSON object")
        if not document:
            yield Unreadable("input", "is an empty array")
    else:
        yield Unreadable("input", "is neither a JSON object nor an array")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def publish_all(found: Sequence[Entry | Unreadable], *, wait_seconds: float | None, as_json: bool) -> ExitCode:
    """Publish all entries, say what became of them, and return the exit code.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    from configdrive.client.publisher import Publisher
    from workers.config.key_ring import make_sealer

    settings = load_settings()
    mailbox = open_mailbox(settings)
    publisher = Publisher.of(settings, mailbox, make_sealer(settings))
    report = Report(len(found), as_json=as_json, waiting=wait_seconds is not None)
    try:
        _publish_and_wait(found, mailbox, publisher, report, wait_seconds)
    except BaseException:
        report.broken_off()
        raise
    report.finish(_reasons(settings, mailbox, report))
    return report.code


def _reasons(settings: Settings, mailbox: Inspection, report: Report) -> Callable[[EventKey], str]:
    """Return what says why an event has no outcome; as far as this login may know."""
    from redis import RedisError

    from workers.cli.doctor import served_queues
    from workers.cli.waiting import Reasons

    if not (report.waiting and report.open):
        return lambda _key: _UNKNOWN
    try:
        reasons = Reasons(mailbox, served_queues(settings))
    except Exception:  # noqa: BLE001 - a login that may not ask workers, or a Redis that went meanwhile
        return lambda _key: _UNKNOWN

    def why(key: EventKey) -> str:
        try:
            return reasons.why(key)
        except RedisError:
            return _UNKNOWN

    return why


def _publish_and_wait(
    found: Sequence[Entry | Unreadable],
    mailbox: Inspection,
    publisher: Publisher,
    report: Report,
    wait_seconds: float | None,
) -> None:
    # The position is from before anything is published, so that no outcome can come before it.
    since = None if wait_seconds is None else mailbox.end_of_outcomes()
    with report.bar(len(found), "publishing") as advance:
        publish_entries(found, publisher, report, advance)
    if wait_seconds is None or since is None:
        return
    with report.bar(len(report.open), "outcomes  ") as advance:
        for outcome in mailbox.outcomes_of(report.open, since, wait_seconds):
            report.outcome(outcome)
            advance(1)


def publish_entries(
    found: Sequence[Entry | Unreadable], publisher: Publisher, report: Report, advance: Callable[[int], None]
) -> None:
    """Publish the events among the entries; receipts and refusals go to the report."""
    places: list[tuple[str, str | None]] = []
    stored_since = 0

    def counted() -> None:
        # By whole round trips: a bar that counts the first of five hundred, and takes the time of all of them for
        # that one's, promises hours.
        nonlocal stored_since
        advance(stored_since)
        stored_since = 0

    def readable() -> Iterator[bytes | Mapping[str, Any]]:
        for entry in found:
            counted()
            match entry:
                case Unreadable(where, detail, remedy):
                    report.refused(where, PermanentError(PermanentCode.INVALID_EVENT, detail, remedy))
                case Entry(where, event):
                    places.append((where, _vm_of(event) if report.names_vms else None))
                    yield event

    def refused(index: int, error: PermanentError) -> None:
        where, vm_uuid = places[index]
        report.refused(where, error, vm_uuid)

    def stored(index: int, receipt: Receipt) -> None:
        where, vm_uuid = places[index]
        nonlocal stored_since
        report.receipt(where, receipt, vm_uuid)
        stored_since += 1

    publisher.publish_many(readable(), refused=refused, progress=stored)
    counted()


class Report:
    """Says what became of each event, and knows the exit code at the end.

    Args:
        total: how many entries were read.
        as_json: a line of JSON for each.
        waiting: outcomes are waited for, so that an event that is only stored is not worth a line.

    `open` holds the stored events that have no outcome so far, by their keys, with their places in the input
    and their VMs.
    """

    def __init__(self, total: int, *, as_json: bool, waiting: bool) -> None:
        self.code = ExitCode.DONE
        self.open: dict[EventKey, tuple[str, Receipt, str | None]] = {}
        self._single = total == 1
        self.as_json = as_json
        self.waiting = waiting
        self.names_vms = as_json or self._single
        self._with_bar = total >= progress.MANY and not as_json and sys.stderr.isatty()
        self._counts: Counter[str] = Counter()
        self._held_back: list[str] = []

    def refused(self, where: str, error: PermanentError, vm_uuid: str | None = None) -> None:
        """Report an entry that is no event, or is not for this fleet."""
        self._counts["refused"] += 1
        self.code = ExitCode.FAILED
        about = {"code": error.code, "detail": error.detail, "remedy": error.remedy, "vm_uuid": vm_uuid}
        fields = {"where": where, "result": "refused", **about}
        remedy = f"\n  remedy: {error.remedy}" if error.remedy else ""
        text = f"{where}: {coloured('refused')}  {error.code}: {error.detail}{remedy}"
        self._say(fields, text, bad=True)

    def receipt(self, where: str, receipt: Receipt, vm_uuid: str | None = None) -> None:
        """Report an event that is stored, or was stored before."""
        result = "stored" if receipt.accepted else "duplicate"
        self._counts[result] += 1
        fields: dict[str, Any] = {"where": where, "result": result, **_named(receipt, vm_uuid)}
        if receipt.first is None:
            self.open[receipt.key] = (where, receipt, vm_uuid)
        else:
            self._judge(receipt.first)
        if not receipt.accepted:
            first = "it waits or is worked on" if receipt.first is None else outcome_line(receipt.first)
            text = f"{where}: {coloured('duplicate')}  {receipt.event_id} was published before: {first}"
            self._say(fields | {"outcome": as_document(receipt.first)}, text, bad=True)
        elif not self.waiting and (self.as_json or self._single):
            self._say(fields, f"stored  {receipt.event_id}")

    def outcome(self, outcome: Outcome) -> None:
        """Report an outcome that was waited for."""
        self._counts[outcome.status.value] += 1
        self._judge(outcome)
        where, _, vm_uuid = self.open.pop(outcome.key)
        fields = {"where": where, "result": "outcome", **_named(outcome, vm_uuid), "outcome": as_document(outcome)}
        self._say(fields, outcome_line(outcome), bad=code_of(outcome) is not ExitCode.DONE)

    def finish(self, why: Callable[[EventKey], str] = lambda _key: _UNKNOWN) -> None:
        """Report the outcomes that have not come in time, each reason once, and sum up."""
        if self.waiting:
            self._without_outcome(why)
            if self.open and self.code is ExitCode.DONE:
                self.code = ExitCode.TIME_OVER
        for text in self._held_back:
            click.echo(text, err=True)
        if not self._single and not self.as_json:
            click.echo(", ".join(f"{number} {word}" for word, number in self._counts.items()))

    def _without_outcome(self, why: Callable[[EventKey], str]) -> None:
        """Say of which events no outcome came. Of many, the first ones are asked for."""
        asked = list(islice(self.open.values(), _ASKED))
        reasons: dict[str, list[tuple[str, Receipt]]] = {}
        for where, receipt, vm_uuid in asked:
            reason = why(receipt.key)
            reasons.setdefault(reason, []).append((where, receipt))
            if self.as_json:
                fields = {"where": where, "result": "time_over", **_named(receipt, vm_uuid), "reason": reason}
                print_json(fields, lines=True)
        for where, receipt, vm_uuid in islice(self.open.values(), _ASKED, None) if self.as_json else ():
            print_json({"where": where, "result": "time_over", **_named(receipt, vm_uuid)}, lines=True)
        for reason, those in () if self.as_json else reasons.items():
            where, receipt = those[0]
            others = f" and {len(those) - 1} more" if len(those) > 1 else ""
            self._say({"result": ""}, f"{where}{others}: no outcome so far for {receipt.event_id}: {reason}", bad=True)
        more = len(self.open) - len(asked)
        if more and not self.as_json:
            self._say({"result": ""}, f"{more} others have no outcome so far", bad=True)
        self._counts["without outcome"] += len(self.open)

    def broken_off(self) -> None:
        """Report what is stored already, when the rest could not be published or waited for."""
        if self.as_json:
            for where, receipt, vm_uuid in self.open.values() if self.waiting else ():
                print_json({"where": where, "result": "stored", **_named(receipt, vm_uuid)}, lines=True)
        elif self._single:
            for _where, receipt, vm_uuid in self.open.values():
                shown = f"configdrive watch --since 1h{f' --vm {vm_uuid}' if vm_uuid else ''}"
                stored = f"{receipt.event_id} is stored, and goes on without you"
                click.echo(f"{stored}: `{shown}` shows its outcome", err=True)
        else:
            so_far = ", ".join(f"{number} {word}" for word, number in self._counts.items()) or "nothing is stored"
            click.echo(f"so far: {so_far}; to publish all of it again is safe, nothing is done twice", err=True)

    def bar(self, length: int, label: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar where one is wanted; the block calls what it is given with the steps that were made."""
        return progress.bar(label, length, hidden=not self._with_bar)

    def _judge(self, outcome: Outcome) -> None:
        if code_of(outcome) is not ExitCode.DONE:
            self.code = ExitCode.FAILED

    def _say(self, fields: Mapping[str, Any], text: str, *, bad: bool = False) -> None:
        if self.as_json:
            print_json(fields, lines=True)
        elif not self._with_bar:
            click.echo(text, err=bad and fields["result"] != "outcome")
        elif bad:
            self._held_back.append(text)  # a line now would tear the bar


def _named(event: Receipt | Outcome, vm_uuid: str | None) -> dict[str, str | None]:
    return {"event_id": event.event_id, "source": event.source, "vm_uuid": vm_uuid}


def _vm_of(event: bytes | Mapping[str, Any]) -> str | None:
    """Return the VM that an event names, if it can be read."""
    try:
        found = (json.loads(event) if isinstance(event, bytes) else event)["data"]["vm"]["uuid"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return found.lower() if isinstance(found, str) else None
