"""Events as they come in files and pipes: a JSON object, a JSON array, or JSON Lines. One bad entry spoils no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BOM = b"\xef\xbb\xbf"
_ONE_PER_LINE = "give one JSON object, an array of them, or one object per line (jq -c)"


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
