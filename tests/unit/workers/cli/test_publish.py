from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId
from workers.cli.errors import ExitCode
from workers.cli.publish import Entry, Report, Unreadable, entries, publish_entries

if TYPE_CHECKING:
    from configdrive.client.publisher import Publisher

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
def test_what_cannot_be_read_is_reported_with_its_place_and_not_its_text(
    text: str | bytes, where: str, detail: str
) -> None:
    (found,) = read(text)

    assert isinstance(found, Unreadable)
    assert (found.where, found.detail) == (where, detail)
    assert "Hunter2" not in repr(found)


OUTCOME = Outcome("a", "/tests", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 7, Status.APPLIED, 0.0)
PARKED = replace(OUTCOME, status=Status.PARKED, code="storage_full", detail="pool a is full", remedy="make room")


def reported(tell: Callable[[Report], None], *, total: int = 1, as_json: bool = False, waiting: bool = False) -> Result:
    @click.command()
    def command() -> None:
        report = Report(total, as_json=as_json, waiting=waiting)
        tell(report)
        report.finish(lambda _key: "no worker")
        raise SystemExit(report.code)

    return CliRunner().invoke(command)


def receipt(name: str, *, accepted: bool = True, first: Outcome | None = None) -> Receipt:
    return Receipt(EventId(name), "/tests", accepted=accepted, first=first)


def lines(shown: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_one_stored_event_is_reported() -> None:
    shown = reported(lambda report: report.receipt("event", receipt("a")))

    assert (shown.exit_code, shown.stdout) == (ExitCode.DONE, "stored  a\n")


def test_of_several_only_what_is_not_stored_and_the_sum() -> None:
    def tell(report: Report) -> None:
        report.receipt("line 1", receipt("a"))
        report.receipt("line 2", receipt("b"))
        report.refused("line 3", PermanentError(PermanentCode.INVALID_EVENT, "data.host: is missing", "give it"))

    shown = reported(tell, total=3)

    assert shown.exit_code == ExitCode.FAILED
    assert shown.stdout == "2 stored, 1 refused\n"
    assert shown.stderr == "line 3: refused  invalid_event: data.host: is missing\n  remedy: give it\n"


@pytest.mark.parametrize(
    ("first", "code", "words"),
    [
        (None, ExitCode.DONE, "it waits or is worked on"),
        (OUTCOME, ExitCode.DONE, "applied"),
        (PARKED, ExitCode.FAILED, "storage_full: pool a is full"),
    ],
    ids=["waits", "applied", "parked"],
)
def test_a_duplicate_is_reported_with_the_first_one_s_outcome(
    first: Outcome | None, code: ExitCode, words: str
) -> None:
    shown = reported(lambda report: report.receipt("event", receipt("a", accepted=False, first=first)))

    assert shown.exit_code == code
    assert "a was published before" in shown.stderr
    assert words in shown.stderr


def test_a_duplicate_that_waits_is_waited_for() -> None:
    def tell(report: Report) -> None:
        report.receipt("event", receipt("a", accepted=False))
        assert [receipt.event_id for _, receipt, _ in report.open.values()] == ["a"]
        report.outcome(OUTCOME)
        assert list(report.open) == []

    assert reported(tell, waiting=True).exit_code == ExitCode.DONE


def test_of_many_events_that_wait_for_the_same_the_reason_is_said_once() -> None:
    def late(report: Report) -> None:
        for name in "abc":
            report.receipt(f"line {name}", receipt(name))

    shown = reported(late, total=3, waiting=True)
    assert shown.stderr.splitlines() == ["line a and 2 more: no outcome so far for a: no worker"]
    assert shown.stdout.splitlines()[-1] == "3 stored, 3 without outcome"


def test_an_outcome_that_does_not_come_is_time_over_unless_something_worse_happened() -> None:
    def late(report: Report) -> None:
        report.receipt("line 1", receipt("a"))

    def late_and_refused(report: Report) -> None:
        late(report)
        report.refused("line 2", PermanentError(PermanentCode.INVALID_EVENT, "is wrong", ""))

    assert reported(late).exit_code == ExitCode.DONE
    assert reported(late, waiting=True).exit_code == ExitCode.TIME_OVER
    assert "no outcome so far for a" in reported(late, waiting=True).stderr
    assert reported(late_and_refused, total=2, waiting=True).exit_code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("as_json", "stdout", "stderr"),
    [
        (True, '{"where":"line 1","result":"stored","event_id":"a","source":"/tests","vm_uuid":null}\n', ""),
        (False, "", "so far: 1 stored; to publish all of it again is safe, nothing is done twice\n"),
    ],
    ids=["json", "text"],
)
def test_what_is_stored_is_reported_when_the_rest_cannot_be(as_json: bool, stdout: str, stderr: str) -> None:  # noqa: FBT001 - a parameter of the test
    @click.command()
    def command() -> None:
        report = Report(2, as_json=as_json, waiting=True)
        report.receipt("line 1", receipt("a"))
        report.broken_off()

    shown = CliRunner().invoke(command)

    assert (shown.stdout, shown.stderr) == (stdout, stderr)


class ByTwos:
    """A publisher that stores two events at a time."""

    def publish_many(
        self, events: Iterable[bytes], *, progress: Callable[[int, Receipt], None], **_named: object
    ) -> None:
        numbered = enumerate(events)
        while batch := list(itertools.islice(numbered, 2)):
            for index, _event in batch:
                progress(index, receipt(f"e{index}"))


def test_the_bar_goes_on_by_whole_batches_as_the_first_of_one_takes_no_longer_than_the_others() -> None:
    steps: list[int] = []
    found = [Entry(f"line {number}", b"{}") for number in range(5)]
    publish_entries(found, cast("Publisher", ByTwos()), Report(5, as_json=False, waiting=True), steps.append)

    assert [number for number in steps if number] == [2, 2, 1]


def test_of_one_event_that_is_stored_it_is_said_how_its_outcome_is_seen() -> None:
    @click.command()
    def command() -> None:
        report = Report(1, as_json=False, waiting=True)
        report.receipt("event", receipt("a"), OUTCOME.vm_uuid)
        report.broken_off()

    shown = f"`configdrive watch --since 1h --vm {OUTCOME.vm_uuid}`"
    said = f"a is stored, and goes on without you: {shown} shows its outcome\n"
    assert CliRunner().invoke(command).stderr == said


def test_scripts_get_a_line_of_json_for_each() -> None:
    def tell(report: Report) -> None:
        report.refused("line 1", PermanentError(PermanentCode.INVALID_EVENT, "is wrong", "mend it"))
        report.receipt("line 2", receipt("x", accepted=False, first=PARKED))
        report.receipt("line 3", receipt("a"))
        report.receipt("line 4", receipt("b"))
        report.outcome(OUTCOME)

    shown = reported(tell, total=4, as_json=True, waiting=True)

    assert shown.stderr == ""
    event = {"event_id": "a", "source": "/tests", "vm_uuid": None}
    wrong = {"code": "invalid_event", "detail": "is wrong", "remedy": "mend it", "vm_uuid": None}
    assert lines(shown) == [
        {"where": "line 1", "result": "refused", **wrong},
        {
            "where": "line 2",
            "result": "duplicate",
            **event,
            "event_id": "x",
            "outcome": json.loads(PARKED.to_json()),
        },
        {
            "where": "line 3",
            "result": "outcome",
            **event,
            "outcome": json.loads(OUTCOME.to_json()),
        },
        {"where": "line 4", "result": "time_over", **event, "event_id": "b", "reason": "no worker"},
    ]


def test_without_waiting_scripts_see_what_is_stored() -> None:
    shown = reported(lambda report: report.receipt("line 1", receipt("a")), total=2, as_json=True)

    named = {"event_id": "a", "source": "/tests", "vm_uuid": None}
    assert lines(shown) == [{"where": "line 1", "result": "stored", **named}]
