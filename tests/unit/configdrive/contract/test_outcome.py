"""The record of what became of an event."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contract.outcome import Outcome, Status
from tests.unit.documents import UUID

OUTCOME = Outcome("event-1", "/tests", "start", UUID, 7, Status.APPLIED, 1_773_126_780.25)


@given(
    st.builds(
        Outcome,
        status=st.sampled_from(Status),
        at=st.floats(0, 4e9),
        code=st.none() | st.text(),
        facts=st.dictionaries(st.text(), st.text()),
    )
)
def test_comes_back_as_it_was(outcome: Outcome) -> None:
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert Outcome.from_json(outcome.to_json().encode()) == outcome


def test_is_one_line_with_what_is_known() -> None:
    text = OUTCOME.to_json()
    assert "\n" not in text
    assert json.loads(text) == {
        "event_id": "event-1",
        "source": "/tests",
        "event_type": "start",
        "vm_uuid": UUID,
        "sequence": 7,
        "status": "applied",
        "at": 1_773_126_780.25,
        "detail": "",
        "remedy": "",
        "attempts": 1,
        "facts": {},
    }
    assert {field.name for field in fields(Outcome)} == json.loads(text).keys() | {"code"}


@pytest.mark.parametrize("status", Status)
def test_only_a_parked_event_may_still_come_to_something_else(status: Status) -> None:
    assert Outcome("e", "/tests", "start", UUID, 1, status, 0.0).final is (status is not Status.PARKED)
