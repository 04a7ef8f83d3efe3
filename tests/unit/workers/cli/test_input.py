from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.cli.input import Entry, Unreadable, entries

EVENTS = [{"id": "a", "text": "ä\n"}, {"id": "b"}, {"id": "c"}]

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3),
    max_size=3,
)


def read(text: str | bytes) -> list[Entry | Unreadable]:
    return list(entries(BytesIO(text.encode() if isinstance(text, str) else text)))


def documents(found: list[Entry | Unreadable]) -> list[Any]:
    assert all(isinstance(entry, Entry) for entry in found)
    events = [entry.event for entry in found if isinstance(entry, Entry)]
    return [json.loads(event) if isinstance(event, bytes) else event for event in events]


def places(found: list[Entry | Unreadable]) -> list[str]:
    return [entry.where for entry in found]


@given(st.lists(json_objects, min_size=1, max_size=5))
def test_events_are_found_in_every_form(events: list[dict[str, Any]]) -> None:
    assert documents(read("\n".join(json.dumps(event) for event in events))) == events
    assert documents(read(json.dumps(events))) == events
    assert documents(read(json.dumps(events, indent=2))) == events
    assert documents(read(json.dumps(events[0], indent=2))) == events[:1]


@given(st.binary(max_size=200))
def test_nothing_makes_reading_fail(content: bytes) -> None:
    assert read(content)


def test_lines_are_counted_and_blank_ones_left_out() -> None:
    text = "\n\n" + json.dumps(EVENTS[0]) + "\r\n   \n" + json.dumps(EVENTS[1]) + "\n"
    found = read(text)

    assert places(found) == ["line 3", "line 5"]
    assert documents(found) == EVENTS[:2]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert documents(read(b"\xef\xbb\xbf" + json.dumps(EVENTS[0]).encode())) == EVENTS[:1]


def test_a_spoilt_line_spoils_no_other() -> None:
    found = read(json.dumps(EVENTS[0]) + '\n{"id": \n' + json.dumps(EVENTS[1]))

    assert places(found) == ["line 1", "line 2", "line 3"]


def test_a_spoilt_first_line_spoils_no_other() -> None:
    found = read('\n{"id": \n' + json.dumps(EVENTS[0]) + "\n\n" + json.dumps(EVENTS[1]))

    assert places(found) == ["line 2", "line 3", "line 5"]
    assert documents(found[1:]) == EVENTS[:2]


def test_an_array_may_hold_what_is_no_object() -> None:
    found = read('[{"id": "a"}, 3]')

    assert places(found) == ["event 1", "event 2"]
    assert found[1] == Unreadable("event 2", "is not a JSON object")


@pytest.mark.parametrize(
    ("text", "where", "detail"),
    [
        ("", "input", "is empty"),
        ("\n \n", "input", "is empty"),
        ("[]", "input", "is an empty array"),
        ("3", "input", "is neither a JSON object nor an array"),
        ('\n{"id": "a",\n "secret": Hunter2}', "line 3, column 12", "is not JSON: Expecting value"),
        ('[{"id": "a"}', "line 1, column 13", "is not JSON: Expecting ',' delimiter"),
        (b'{"id": "\xff"}', "line 1", "is not JSON"),
        ("[" * 100_000, "line 1", "is not JSON"),
        ('[{"id": ' + "1" * 10_000 + "}]", "line 1", "is not JSON"),
    ],
    ids=["empty", "blank", "no event", "number", "object", "array", "not UTF-8", "deep", "long number"],
)
def test_what_cannot_be_read_is_told_with_its_place_and_not_its_text(
    text: str | bytes, where: str, detail: str
) -> None:
    (found,) = read(text)

    assert isinstance(found, Unreadable)
    assert (found.where, found.detail) == (where, detail)
    assert "Hunter2" not in repr(found)
