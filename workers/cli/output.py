"""The forms of output: outcomes, tables, times, JSON. Colours show on a terminal only; click strips them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from configdrive.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from configdrive.contract.outcome import Outcome
    from configdrive.model import Place

_COLOURS = {
    "applied": "green",
    "not_applicable": "green",
    "dropped": "yellow",
    "skipped": "yellow",
    "rejected": "red",
    "parked": "red",
    "refused": "red",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "skip": "yellow",
}
_FACTS = ("attach", "device", "storage", "password", "left_behind")


def coloured(word: str, width: int = 0) -> str:
    """Return a status word in its colour, padded to `width`."""
    return click.style(word.ljust(width), fg=_COLOURS.get(word.strip().lower()))


def print_json(value: object, *, lines: bool = False) -> None:
    """Print one JSON document, or with `lines` one line of a stream of them."""
    click.echo(json.dumps(value, indent=None if lines else 2, separators=(",", ":") if lines else None))


def say_nothing(text: str, *, as_json: bool, **about: object) -> None:
    """Say on standard error that there is nothing to show or to do, and for scripts on standard output too."""
    click.echo(text, err=True)
    if as_json:
        print_json({"found": False, "reason": text, **about}, lines=True)


def as_document(outcome: Outcome | None) -> dict[str, Any] | None:
    """Return an outcome as it stands on the stream."""
    return None if outcome is None else json.loads(outcome.to_json())


def outcome_line(outcome: Outcome) -> str:
    """Return an outcome for people: what, when, to which VM, and what it came to; the remedy on a line of its own."""
    facts = printable(" ".join(f"{name}={outcome.facts[name]}" for name in _FACTS if name in outcome.facts))
    cause = ": ".join(part for part in (outcome.code, outcome.detail) if part)
    parts = (
        clock(outcome.at),
        coloured(outcome.status.value, 14),
        printable(outcome.event_type).ljust(14),
        printable(outcome.vm_uuid),
        f"#{outcome.sequence}",
        printable(cause),
        facts,
        f"(attempt {outcome.attempts})" if outcome.attempts > 1 else "",
    )
    line = "  ".join(part for part in parts if part)
    return f"{line}\n  remedy: {printable(outcome.remedy)}" if outcome.remedy else line


def clock(at: float) -> str:
    """Return a time (seconds since 1970 UTC) as local time of day, with the date when it was not today."""
    try:
        moment = datetime.fromtimestamp(at, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return "at no time"
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M:%S")


def ago(at: float) -> str:
    """Return how long a time (seconds since 1970 UTC) is past, or how far it is ahead."""
    seconds = time.time() - at
    word = duration(abs(seconds))
    return f"{word} ago" if seconds >= 0 else f"in {word}"


def duration(seconds: float) -> str:
    """Return a duration in its largest fitting unit."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - below, a tenth matters


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns with a line of titles."""
    everything = [tuple(titles), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(titles))]
    for number, row in enumerate(everything):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def where(place: Place) -> str:
    """Return a storage in words."""
    return f"{place.storage}@{place.host or 'shared'}"
