"""The relevance of notices: which count, and for what. Pure, and a table to check with a finger.

Each of our events has one source, so that the same thing said in three forms leads to one event:

| form          | final status               | and                             | counts for              |
|---------------|----------------------------|---------------------------------|-------------------------|
| state event   | `postStateTransitionEvent` | any state                       | power: a look, edges    |
| action event, | `Completed`                | of `POWER_EVENTS`               | power: a look           |
| short or long |                            | of `CONTENT_EVENTS`             | new content             |
| job           | `SUCCEEDED`                | VM.RESETPASSWORD, or one with a | a new password, a look  |
|               |                            | password in its result          |                         |
|               |                            | of `POWER_EVENTS`               | power: a look           |

All else counts for nothing, with the reason: other resources; what is only scheduled, started or has failed; VM.REBOOT
and the like, which change nothing on the drive. `Completed` of an action event is written after a failure too, which
does no harm: what is done follows from the look. That a start has failed is seen in the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from workers.cloudstack.notices import VM, Form, Notice

IMPORT_EVENT: Final = "VM.IMPORT"
POWER_EVENTS: Final = frozenset(
    {"VM.CREATE", "VM.START", "VM.STOP", "VM.DESTROY", "VM.EXPUNGE", "VM.RECOVER", "VM.MIGRATE"}
    | {IMPORT_EVENT, "VM.UNMANAGE"}
)
CONTENT_EVENTS: Final = frozenset({"VM.UPDATE", "VM.RESETSSHKEY", "VM.RESETUSERDATA", "VM.MOVE"})
PASSWORD_EVENT: Final = "VM.RESETPASSWORD"  # noqa: S105 - a type of event

_FINAL: Final = {
    Form.STATE: "postStateTransitionEvent",
    Form.ACTION: "Completed",
    Form.SHORT: "Completed",
    Form.JOB: "SUCCEEDED",
}


class Relevance(StrEnum):
    """For what a notice counts."""

    POWER = "power"
    CONTENT = "content"
    PASSWORD = "password"  # noqa: S105 - a word of the table above


@dataclass(frozen=True, slots=True)
class Irrelevant:
    """It counts for nothing, and why."""

    reason: str


def relevance_of(notice: Notice) -> Relevance | Irrelevant:
    """Say for what a notice counts."""
    if notice.resource != VM:
        return Irrelevant("is about another resource")
    if notice.status != _FINAL[notice.form]:
        return Irrelevant(f"is not final: only {_FINAL[notice.form]} counts of a {notice.form}")
    counts: Relevance | None = Relevance.POWER
    if notice.form is Form.JOB:
        counts = _job(notice)
    elif notice.form is not Form.STATE:
        counts = _action(notice.event)
    return counts or Irrelevant("changes nothing on a drive, or another notice says the same")


def _action(event: str) -> Relevance | None:
    if event in CONTENT_EVENTS:
        return Relevance.CONTENT
    return Relevance.POWER if event in POWER_EVENTS else None


def _job(notice: Notice) -> Relevance | None:
    if notice.password is not None or notice.event == PASSWORD_EVENT:
        return Relevance.PASSWORD
    return Relevance.POWER if notice.event in POWER_EVENTS else None
