"""Refused events: how the parser told it, and how to plant a value anywhere in an event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from configdrive.contract.events import parse
from configdrive.errors import PermanentCode, PermanentError
from tests.unit.documents import Json

Path = tuple[str | int, ...]


def refusal(raw: str | bytes | Json) -> PermanentError | None:
    """Parse; anything but an event or a `PermanentError` fails the test."""
    refused: PermanentError | None = None
    try:
        parse(json.dumps(raw) if isinstance(raw, dict) else raw)
    except PermanentError as error:
        refused = error
    # The cause of a refusal would quote what was sent.
    assert refused is None or (refused.__cause__, refused.__context__) == (None, None)
    return refused


def refused(raw: str | bytes | Json) -> PermanentError:
    """Parse what is no event; returns why it is none."""
    error = refusal(raw)
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    return error


def text_of(error: PermanentError) -> str:
    return f"{error} {error!r} {error.args} {error.detail} {error.remedy}"


def paths(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - any JSON
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def planted(whole: Json, path: Path, value: object) -> Any:  # noqa: ANN401 - any JSON
    if not path:
        return value
    copy = deepcopy(whole)
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy
