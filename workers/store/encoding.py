"""The encoding of states, endings and times on Redis, beside what publishers write (`configdrive.client.encoding`)."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from configdrive.client.encoding import decode
from configdrive.client.encoding import header as made_header
from configdrive.client.postings import Header, queue_name
from configdrive.lifecycle.settled import Settled
from configdrive.model import Intent, VmUuid
from configdrive.printable import printable
from tasks.mailbox import DeadLetter, Ending, Park, Retry, Sent, SweepCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from configdrive.lifecycle.state import Leftover

FIELDS = 7
"""How many strings the scripts answer of a header."""

_END_OF_TIME = 2**47
"""Milliseconds; every time is less (the year 6429), and what a stranger wrote may be any number."""

_DIGITS = 18


def seconds(milliseconds: str | float | None) -> float | None:
    """Return seconds; `None` stays `None`."""
    return None if milliseconds is None else float(milliseconds) / 1000


def text_of(raw: bytes) -> str:
    """Read what a stranger may have written, to be shown: whatever it is, it is printable text then."""
    return printable(raw.decode("utf-8", "replace"))


def number_of(raw: bytes | None) -> int | None:
    """Read a number of the fleet's; `None` of what is none."""
    text = b"" if raw is None else raw.strip()
    return int(text) if text.removeprefix(b"-").isdigit() and len(text) <= _DIGITS else None


_LETTER: TypeAdapter[DeadLetter] = TypeAdapter(DeadLetter)


def dead_letter(text: bytes) -> DeadLetter:
    """Read a dead letter; of what is none, one that says so. Fields that are not known are passed over."""
    try:
        letter = _LETTER.validate_json(text)
    except ValueError:  # pydantic's errors are such
        return DeadLetter(0.0, "unknown", "an entry that the fleet has not written")
    return replace(
        letter,
        at=letter.at if 0 <= letter.at < _END_OF_TIME / 1000 else 0.0,  # of no calendar
        origin=printable(letter.origin),
        reason=printable(letter.reason),
        event_id=letter.event_id and printable(letter.event_id),
        vm_uuid=letter.vm_uuid and printable(letter.vm_uuid),
        source=letter.source and printable(letter.source),
    )


def posted_at(header: bytes | None) -> float | None:
    """Return when a header was posted, in seconds since 1970 UTC by Redis' clock; `None` of what is no header."""
    try:
        short = json.loads(header or b"")
    except (ValueError, RecursionError):
        return None
    match short:
        case {"at": int(at)} if 0 <= at < _END_OF_TIME:
            return at / 1000
        case _:
            return None


def readable(texts: Iterable[bytes]) -> Iterator[Header]:
    """Read those that are headers. What a stranger wrote between them is a dead letter once it comes to the head."""
    for text in texts:
        try:
            yield decode(text)
        except ValueError:
            continue


def sent(answer: list[Any]) -> list[Sent]:
    """Read what WAKEUP answers."""
    return [
        Sent(header(VmUuid(answer[start].decode()), answer[start + 2 : start + 2 + FIELDS]), int(answer[start + 1]))
        for start in range(0, len(answer), 2 + FIELDS)
    ]


def header(vm_uuid: VmUuid, fields: Sequence[bytes]) -> Header:
    """Make a header of what a script has read (`fields_of` of `lua/common.lua`)."""
    # A stranger's source may be no text; then the key is not that of what is made of it.
    key, event_id, source, event_type, queue, sequence, trace = (field.decode("utf-8", "replace") for field in fields)
    return made_header(vm_uuid, key, event_id, source, event_type, queue, int(sequence), trace or None)


def state_of(text: bytes | None) -> str | None:
    """Read a state; `None` when there is none. What is no text is one that the lifecycle refuses to read."""
    try:
        return text.decode() if text else None
    except ValueError:
        return "damaged"


_INTENT: TypeAdapter[Intent] = TypeAdapter(Intent)


def intent(one: Intent) -> bytes:
    """Return an intent as it is kept."""
    return _INTENT.dump_json(one)


def intents(members: Iterable[bytes]) -> tuple[Intent, ...]:
    """Read what is kept of intents, in a steady order; what a stranger wrote is passed over."""
    found = []
    for member in sorted(members):
        with suppress(ValueError):  # pydantic's errors are some
            found.append(_INTENT.validate_json(member))
    return tuple(found)


def left_by(left: Iterable[Leftover], queue: str) -> list[str]:
    """Return the hosts that are to be asked again, each behind the queue whose workers ask it.

    One whose zone is not known is asked by those of `queue`, if they are its hypervisor's.
    """
    found = []
    for one in left:
        theirs = queue_name(one.hypervisor)
        near = one.zone is None and queue.startswith(f"{theirs}.")
        found.append((queue if near else queue_name(one.hypervisor, one.zone), one.host))
    return [part for pair in dict.fromkeys(found) for part in pair]


def ending(what: Ending) -> tuple[str, str, str, float, str]:
    """Return DONE's mode, outcome JSON, state, delay in seconds, and code."""
    match what:
        case Settled(result, known, gone):
            return "gone" if gone else "finish", result.to_json(), known or "", 0, result.code or ""
        case Retry(delay, code, counted):
            return "retry" if counted else "defer", "", "", delay, code
        case Park(result, _, stays):
            return "stay" if stays else "park", result.to_json(), "", 0, result.code or "unclassified"


def sweep_counts(stored: bytes | None) -> SweepCounts | None:
    """Read what is noted of sweeps; `None` when there is nothing, or nothing of ours."""
    try:
        return None if stored is None else SweepCounts(**json.loads(stored))
    except (ValueError, TypeError):
        return None
