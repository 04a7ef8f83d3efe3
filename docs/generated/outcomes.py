"""Outcomes and codes, from `configdrive.contract.outcome` and `configdrive.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode, TransientCode
from docs.generated.source import docstrings_below

if TYPE_CHECKING:
    from enum import StrEnum

KINDS: Final = {
    "Tried again": (
        TransientCode,
        """The cause may pass by itself. The event is tried again, after a pause that doubles each time; after
`attempts` tries (12) it is parked with this code.""",
    ),
    "Parked at once": (
        PermanentCode,
        """Only a person, or a new event, can mend the cause. The VM's next events wait, until `configdrive retry` or
`configdrive skip`; a `destroy` goes through.""",
    ),
    "Dropped": (StaleCode, "The event is of the past. Nothing is done, and nothing waits for it."),
}


def markdown() -> str:
    """Return the statuses, and a section for each code: its anchor is the code."""
    text = ["## Statuses", *(_section(status, docstrings_below(Status)) for status in Status)]
    for title, (kind, meaning) in KINDS.items():
        docstrings = docstrings_below(kind)
        text += [f"## {title}", meaning, *(_section(code, docstrings) for code in kind)]
    return "\n\n".join(text)


def _section(word: StrEnum, docstrings: dict[str, str]) -> str:
    return f"### `{word}`\n\n{docstrings[word.name].replace('Remedy:', '**Remedy:**')}"
