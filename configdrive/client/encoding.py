"""How headers, receipts, outcomes and times look on Redis: plain functions between `postings` and bytes."""

from __future__ import annotations

import json
from typing import Any

from configdrive.client.postings import Header, Posting, Receipt
from configdrive.contract.outcome import Outcome
from configdrive.model import EventId, VmUuid


def ms(seconds: float) -> int:
    """Return milliseconds, the unit of every time on Redis."""
    return round(seconds * 1000)


def encode(header: Header) -> str:
    """Write a header."""
    short = {
        "id": header.event_id,
        "type": header.event_type,
        "vm": header.vm_uuid,
        "queue": header.queue,
        "sequence": header.sequence,
    }
    if header.traceparent is not None:
        short["traceparent"] = header.traceparent
    return json.dumps(short, separators=(",", ":"))


def decode(text: bytes) -> Header:
    """Read a header.

    Raises:
        ValueError: it is none.
    """
    try:
        short = json.loads(text)
    except RecursionError:
        short = None
    match short:
        case {"id": str(event), "type": str(kind), "vm": str(vm), "queue": str(queue), "sequence": int(sequence)}:
            traceparent = short.get("traceparent")
            return Header(
                EventId(event), kind, VmUuid(vm), queue, sequence, traceparent if isinstance(traceparent, str) else None
            )
        case _:
            raise ValueError("not a header")


def receipt(posting: Posting, answer: list[Any]) -> Receipt:
    """Read what PUT answers."""
    if answer[0] == b"duplicate":
        return Receipt(posting.header.event_id, accepted=False, first=outcome(answer[1]))
    return Receipt(posting.header.event_id, accepted=True)


def outcome(text: bytes) -> Outcome | None:
    """Read an outcome; `None` of what is empty (there is none yet), or of a newer version's."""
    try:
        return Outcome.from_json(text) if text else None
    except ValueError:  # pydantic's errors are such
        return None
