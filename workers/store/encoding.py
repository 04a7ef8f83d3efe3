"""How headers, receipts, endings and times look on Redis: plain functions between `tasks.mailbox` and bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configdrive.contract.outcome import Outcome
from configdrive.lifecycle.packing import pack, unpack
from configdrive.model import EventId, VmUuid
from tasks.mailbox import Again, Ending, Finish, Header, ParkIt, Posting, Receipt, Wake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_END_OF_TIME = 2**53
"""Milliseconds; every time is less, and what a stranger wrote may be any number."""


def ms(seconds: float) -> int:
    """Return milliseconds, the unit of every time on Redis."""
    return round(seconds * 1000)


def seconds(milliseconds: str | float | None) -> float | None:
    """Return seconds; `None` stays `None`."""
    return None if milliseconds is None else float(milliseconds) / 1000


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
    """Read those that are headers. What a stranger wrote between them is buried by the sweep, once at the head."""
    for text in texts:
        try:
            yield decode(text)
        except ValueError:
            continue


def receipt(posting: Posting, answer: list[Any]) -> Receipt:
    """Read what PUT answers."""
    if answer[0] == b"duplicate":
        return Receipt(posting.header.event_id, accepted=False, first=outcome(answer[1]))
    return Receipt(posting.header.event_id, accepted=True, wake=wake(answer))


def wake(answer: list[Any]) -> Wake | None:
    """Read the wake-up that a script asks for, if it does; of what is no header, the sweep takes care."""
    if answer[0] != b"wake":
        return None
    return next((Wake(header, int(answer[2])) for header in readable(answer[1:2])), None)


def swept(answer: list[Any]) -> tuple[list[Wake], list[tuple[VmUuid, bytes]]]:
    """Read what SWEEP answers: wake-ups, and VMs with what only the script could read as a header."""
    wakes: list[Wake] = []
    strange: list[tuple[VmUuid, bytes]] = []
    for uuid, header, attempt in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
        try:
            wakes.append(Wake(decode(header), int(attempt)))
        except ValueError:
            strange.append((VmUuid(uuid.decode()), header))
    return wakes, strange


def outcome(packed: bytes) -> Outcome | None:
    """Read an outcome, packed or not; empty while there is none."""
    return Outcome.from_json(unpack(packed)) if packed else None


def state(text: str | None) -> bytes:
    """Pack a state; empty when there is none."""
    return pack(text.encode()) if text else b""


def state_of(packed: bytes | None) -> str | None:
    """Read a state, packed or not; `None` when there is none.

    What cannot be unpacked is a text that `configdrive.lifecycle.state` refuses to read.
    """
    try:
        return unpack(packed).decode() if packed else None
    except ValueError:
        return "damaged"


def ending(what: Ending) -> tuple[str, str, bytes, float, str]:
    """Return DONE's mode, outcome JSON, state, delay in seconds, and code."""
    match what:
        case Finish(result, known, gone):
            return "gone" if gone else "finish", result.to_json(), state(known), 0, ""
        case Again(delay, code):
            return "again", "", b"", delay, code
        case ParkIt(result):
            return "park", result.to_json(), b"", 0, result.code or "unclassified"
