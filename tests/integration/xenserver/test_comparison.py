"""The comparison with recorded answers can tell answers apart."""

from __future__ import annotations

import pytest

from tests.integration.xenserver.recordings import Answer, Comparison

ONE, TWO = "OpaqueRef:11111111-1111-1111-1111-111111111111", "OpaqueRef:22222222-2222-2222-2222-222222222222"
OURS, OTHER = "OpaqueRef:aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "OpaqueRef:bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"


def answer(value: str, status: str = "FAIL") -> Answer:
    return Answer(status, "VBD.insert", value)


@pytest.mark.parametrize(
    ("recorded", "played"),
    [
        (f"['VBD_NOT_EMPTY', '{ONE}']", f"['VBD_IS_EMPTY', '{OURS}']"),
        (f"['VBD_NOT_EMPTY', '{ONE}']", "['VBD_NOT_EMPTY']"),
        (f"['VDI_IN_USE', '{ONE}', '{ONE}']", f"['VDI_IN_USE', '{OURS}', '{OTHER}']"),
        (f"['VDI_IN_USE', '{ONE}', '{TWO}']", f"['VDI_IN_USE', '{OURS}', '{OURS}']"),
        ("{'shared': False}", "{'shared': 'False'}"),
        ("{'shared': False}", "{'shared': False, 'type': 'iso'}"),
        ("['attach', 'insert']", "['insert', 'attach']"),
        ("", "None"),
        (ONE, ""),
        ("Running", "Halted"),
        ("{'uuid': '', 'size': '1048576', 'name_la", "{'uuid': '', 'size': 1048576, 'name_label': ''}"),
    ],
)
def test_another_answer_is_seen(recorded: str, played: str) -> None:
    assert not Comparison().same(answer(recorded), answer(played))


def test_another_status_is_seen() -> None:
    assert not Comparison().same(answer("", "OK"), answer("", "FAIL"))


def test_a_reference_stands_for_one_reference_throughout() -> None:
    comparison = Comparison()
    assert comparison.same(answer(ONE), answer(OURS))
    assert not comparison.same(
        answer(f"['HANDLE_INVALID', 'VDI', '{ONE}']"), answer(f"['HANDLE_INVALID', 'VDI', '{OTHER}']")
    )
    assert not comparison.same(answer(TWO), answer(OURS))
    assert comparison.same(
        answer(f"['HANDLE_INVALID', 'VDI', '{ONE}']"), answer(f"['HANDLE_INVALID', 'VDI', '{OURS}']")
    )
