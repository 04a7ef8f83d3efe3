"""The encoding of headers, receipts, outcomes and times on Redis: plain functions between `postings` and bytes."""

from __future__ import annotations

import json
import re
from typing import Any

from configdrive.client.postings import Header, Posting, Receipt
from configdrive.contract.event_key import KEY_PATTERN, event_key
from configdrive.contract.fields import MAX_SEQUENCE
from configdrive.contract.outcome import Outcome
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import UUID_PATTERN, EventId, EventKey, VmUuid

_FORMS = {
    "key": KEY_PATTERN,
    "id": re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}"),
    "source": re.compile(r"[^\x00-\x1f\x7f]{1,1020}"),
    "type": re.compile(r"[a-z_]{1,64}"),
    "vm": re.compile(UUID_PATTERN),
    "queue": re.compile(r"configdrive\.[A-Za-z0-9._-]{1,188}"),
}
_TRACEPARENT = re.compile(r"[0-9a-fA-F-]{1,64}")


def ms(seconds: float) -> int:
    """Return milliseconds, the unit of every time on Redis."""
    return round(seconds * 1000)


def encode(header: Header) -> str:
    """Write a header."""
    short = {
        "key": header.key,
        "id": header.event_id,
        "source": header.source,
        "type": header.event_type,
        "vm": header.vm_uuid,
        "queue": header.queue,
        "sequence": header.sequence,
    }
    if header.traceparent is not None:
        short["traceparent"] = header.traceparent
    if header.name is not None:
        short["name"] = header.name
    return json.dumps(short, separators=(",", ":"))


def decode(text: bytes) -> Header:
    """Read a header, by the same rules as `is_header` of `lua/common.lua`.

    Raises:
        ValueError: it is none.
    """
    try:
        short = json.loads(text)
    except RecursionError:
        short = None
    if not isinstance(short, dict) or not all(_reads(short.get(name), form) for name, form in _FORMS.items()):
        raise ValueError("not a header")
    sequence, traceparent = short.get("sequence"), short.get("traceparent")
    if type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError("not a header")
    return header(
        VmUuid(short["vm"]),
        short["key"],
        short["id"],
        short["source"],
        short["type"],
        short["queue"],
        sequence,
        traceparent if _reads(traceparent, _TRACEPARENT) else None,
    )


def header(  # noqa: PLR0913, PLR0917 - the fields of a header, in the order in which the scripts answer them
    vm_uuid: VmUuid,
    key: str,
    event_id: str,
    source: str,
    event_type: str,
    queue: str,
    sequence: int,
    traceparent: str | None,
) -> Header:
    """Make a header of what stands on Redis; a key that is not the event's own is kept beside."""
    forged = None if key == event_key(source, event_id) else EventKey(key)
    return Header(EventId(event_id), source, event_type, vm_uuid, queue, sequence, traceparent, forged)


def _reads(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def receipt(posting: Posting, answer: list[Any]) -> Receipt | PermanentError:
    """Read what PUT answers: a receipt, or why the event was refused."""
    header = posting.header
    match answer:
        case [b"conflict", first]:
            return id_conflict(header, first.decode())
        case [b"full", detail, remedy]:
            return PermanentError(PermanentCode.MAILBOX_FULL, detail.decode(), remedy.decode())
        case [b"duplicate", first]:
            return Receipt(header.event_id, header.source, accepted=False, first=outcome(first))
        case _:
            return Receipt(header.event_id, header.source, accepted=True)


def id_conflict(header: Header, first: str) -> PermanentError:
    """Return the refusal of an event whose key is another event's."""
    kind, vm, sequence = first.split(":")
    detail = (
        f"id: {header.event_id!r} of source {header.source!r} is that of {kind} #{sequence} of VM {vm}, "
        f"and this is {header.event_type} #{header.sequence} of VM {header.vm_uuid}"
    )
    remedy = "give each event an id of its own; only the very same event may come again under its id"
    return PermanentError(PermanentCode.ID_CONFLICT, detail, remedy)


def outcome(text: bytes) -> Outcome | None:
    """Read an outcome; `None` of what is empty (there is none yet), or of a newer version's."""
    try:
        return Outcome.from_json(text) if text else None
    except ValueError:  # pydantic's errors are such
        return None
