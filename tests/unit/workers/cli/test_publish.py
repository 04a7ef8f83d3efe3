import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from configdrive.client.postings import Receipt
from configdrive.client.publisher import Publisher
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId
from workers.cli.errors import ExitCode
from workers.cli.publish import Entry, Report, Unreadable, entries, publish_entries

EVENTS = [{"id": "a", "text": "ä\n"}, {"id": "b"}]

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


@given(st.lists(json_objects, min_size=1, max_size=5))
def test_events_are_found_in_every_form(events: list[dict[str, Any]]) -> None:
    assert documents(read("\n".join(json.dumps(event) for event in events))) == events
    assert documents(read(json.dumps(events))) == events
    assert documents(read(json.dumps(events, indent=2))) == events
    assert documents(read(json.dumps(events[0], indent=2))) == events[:1]


@given(st.binary(max_size=200))
def test_nothing_makes_reading_fail(content: bytes) -> None:
    assert read(content)


ONE, OTHER = map(json.dumps, EVENTS)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"\n\n{ONE}\r\n   \n{OTHER}\n", ["line 3", "line 5"]),
        (f"\ufeff{ONE}\n{OTHER}", ["line 1", "line 2"]),
        (f'{ONE}\n{{"id": \n{OTHER}', ["line 1", "line 2", "line 3"]),
        (f'\n{{"id": \n{ONE}\n\n{OTHER}', ["line 2", "line 3", "line 5"]),
        (f"[{ONE}, 3, {OTHER}]", ["event 1", "event 2", "event 3"]),
    ],
    ids=["blank lines", "byte order mark", "spoilt line", "spoilt first line", "no object"],
)
def test_each_event_has_its_place_and_what_is_spoilt_spoils_no_other(text: str, where: list[str]) -> None:
    found = read(text)
    assert [entry.where for entry in found] == where
    spoilt: tuple[object, ...] = (b'{"id": ', b'{"id": \n')
    assert documents([one for one in found if isinstance(one, Entry) and one.event not in spoilt]) == EVENTS
    assert {one.detail for one in found if isinstance(one, Unreadable)} <= {"is not a JSON object"}


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


WRONG = PermanentError(PermanentCode.INVALID_EVENT, "data.host: is missing", "give it")


def receipt(name: str, *, accepted: bool = True, first: Outcome | None = None) -> Receipt:
    return Receipt(EventId(name), "/tests", accepted=accepted, first=first)


def reported(
    *happened: Receipt | PermanentError | Outcome,
    total: int | None = None,
    broken_off: bool = False,
    vm: str | None = None,
    as_json: bool = False,
    waiting: bool = False,
) -> Result:
    """Report what became of events, of which there are more when a total is given."""

    @click.command()
    def command() -> None:
        report = Report(total or len(happened), as_json=as_json, waiting=waiting)
        for number, one in enumerate(happened, 1):
            match one:
                case Receipt():
                    report.receipt(f"line {number}", one, vm)
                case Outcome():
                    report.outcome(one)
                case _:
                    report.refused(f"line {number}", one)
        report.broken_off() if broken_off else report.finish(lambda _key: "no worker")
        raise SystemExit(report.code)

    return CliRunner().invoke(command)


@pytest.mark.parametrize(
    ("happened", "waiting", "code", "stdout", "stderr"),
    [
        ([receipt("a")], False, ExitCode.DONE, "stored  a\n", ""),
        (
            [receipt("a"), receipt("b"), WRONG],
            False,
            ExitCode.FAILED,
            "2 stored, 1 refused\n",
            "line 3: refused  invalid_event: data.host: is missing\n  remedy: give it\n",
        ),
        ([receipt("a", accepted=False), OUTCOME], True, ExitCode.DONE, "applied", "a was published before"),
        ([receipt("a")], True, ExitCode.TIME_OVER, "", "line 1: no outcome so far for a: no worker\n"),
        ([receipt("a"), WRONG], True, ExitCode.FAILED, "1 refused", "no outcome so far for a"),
        (
            [receipt("a"), receipt("b"), receipt("c")],
            True,
            ExitCode.TIME_OVER,
            "3 stored, 3 without outcome\n",
            "line 1 and 2 more: no outcome so far for a: no worker\n",
        ),
    ],
)
def test_what_became_of_events_is_said_and_decides_on_the_exit_code(
    happened: list[Receipt | PermanentError | Outcome], *, waiting: bool, code: ExitCode, stdout: str, stderr: str
) -> None:
    shown = reported(*happened, waiting=waiting)
    assert shown.exit_code == code, shown.output
    for said, wanted in ((shown.stdout, stdout), (shown.stderr, stderr)):
        assert said == wanted if wanted.endswith("\n") else wanted in said


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
    shown = reported(receipt("a", accepted=False, first=first))

    assert shown.exit_code == code
    assert "a was published before" in shown.stderr
    assert words in shown.stderr


STORED = '{"where":"line 1","result":"stored","event_id":"a","source":"/tests","vm_uuid":null}\n'
WATCH = f"`configdrive watch --since 1h --vm {OUTCOME.vm_uuid}`"
BROKEN_OFF: dict[str, Any] = {"broken_off": True, "waiting": True}


@pytest.mark.parametrize(
    ("options", "stdout", "stderr"),
    [
        ({**BROKEN_OFF, "total": 2, "as_json": True}, STORED, ""),
        (
            {**BROKEN_OFF, "total": 2},
            "",
            "so far: 1 stored; to publish all of it again is safe, nothing is done twice\n",
        ),
        (
            {**BROKEN_OFF, "vm": OUTCOME.vm_uuid},
            "",
            f"a is stored, and goes on without you: {WATCH} shows its outcome\n",
        ),
        ({"total": 2, "as_json": True}, STORED, ""),
    ],
    ids=["json", "text", "one", "json, not broken off"],
)
def test_what_is_stored_is_reported_also_when_the_rest_cannot_be(
    options: dict[str, Any], stdout: str, stderr: str
) -> None:
    shown = reported(receipt("a"), **options)
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


def test_scripts_get_a_line_of_json_for_each() -> None:
    again = receipt("x", accepted=False, first=PARKED)
    shown = reported(WRONG, again, receipt("a"), receipt("b"), OUTCOME, as_json=True, waiting=True)

    assert shown.stderr == ""
    event = {"event_id": "a", "source": "/tests", "vm_uuid": None}
    wrong = {"code": "invalid_event", "detail": "data.host: is missing", "remedy": "give it", "vm_uuid": None}
    first, outcome = (json.loads(one.to_json()) for one in (PARKED, OUTCOME))
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [
        {"where": "line 1", "result": "refused", **wrong},
        {"where": "line 2", "result": "duplicate", **event, "event_id": "x", "outcome": first},
        {"where": "line 3", "result": "outcome", **event, "outcome": outcome},
        {"where": "line 4", "result": "time_over", **event, "event_id": "b", "reason": "no worker"},
    ]
