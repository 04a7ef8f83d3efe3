"""The ingester's loop. What it does to lists and mailboxes: tests/integration/queue/test_intake.py."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from configdrive.client.postings import Header, Posting
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId, VmUuid
from tasks.intake import Ingester, Intake, Refusal, Taken, Unsealed
from tests.unit.fakes.small import FakeClock

UUID = "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"
NAMED: dict[str, Any] = {"id": "e1", "source": "/a"}
POSTING = Posting(Header(EventId("e1"), "/tests", "start", VmUuid(UUID), "configdrive.kvm", 1), b"{}")


class FakeIntake(Intake):
    """Answers with what it was given, and keeps what it was given."""

    def __init__(self, *answers: Taken | float | Exception) -> None:
        self.answers = list(answers)
        self.settled: list[tuple[int, list[Posting | Refusal]]] = []
        self.left = 0
        self.ended = threading.Event()

    @override
    def take(self) -> Taken | float:
        answer = self.answers.pop(0)
        if not self.answers:
            self.ended.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @override
    def settle(self, first: int, judged: Sequence[Posting | Refusal]) -> int | None:
        self.settled.append((first, list(judged)))
        return 0

    @override
    def leave(self) -> None:
        self.left += 1


def ingester(intake: Intake) -> Ingester:
    def check(raw: bytes) -> Posting:
        if raw == b"good":
            return POSTING
        raise PermanentError(PermanentCode.INVALID_EVENT, "event: is bad", "mend it")

    return Ingester(intake, check, FakeClock(), pause=0.01)


def test_it_goes_on_after_trouble_and_hands_over_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    intake = FakeIntake(ConnectionError("redis://:swordfish@redis"), Taken(0, (b"good",)), 0.001, Taken(1, ()))
    ingester(intake).run(intake.ended)
    assert intake.answers == []
    assert intake.settled == [(0, [POSTING])]
    assert intake.left == 1
    assert "nothing taken from the intake: ConnectionError" in caplog.text
    assert "swordfish" not in caplog.text


def test_one_that_stands_by_looks_again_when_the_lease_may_be_over() -> None:
    assert ingester(FakeIntake(0.4)).look() == 0.4
    assert ingester(FakeIntake(3600.0)).look() == 1.0
    assert ingester(FakeIntake(0.0)).look() == 0.01


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (
            {
                "id": "e1",
                "source": "/a",
                "type": "configdrive.vm.stop.v1",
                "data": {"vm": {"uuid": UUID}, "sequence": 3},
            },
            ("e1", "stop", 3),
        ),
        (
            {"id": "e1", "source": "/a", "type": "x", "data": {"vm": {"uuid": UUID.upper()}, "sequence": True}},
            ("e1", "unknown", 0),
        ),
        ({"id": "e1", "source": "/a", "data": {"vm": {"uuid": UUID}, "sequence": 2**53}}, ("e1", "unknown", 0)),
        ({"id": "e1", "source": "a\nb", "data": {"vm": {"uuid": UUID}}}, None),
        ({"id": "e1", "data": {"vm": {"uuid": UUID}}}, None),
        ({"id": "a b", "data": {"vm": {"uuid": UUID}}}, None),
        ({"id": 7, "data": {"vm": {"uuid": UUID}}}, None),
        ({"id": "e1", "source": "/a", "data": {"vm": {"uuid": "x"}}}, None),
        ({"id": "e1", "source": "/a", "data": {"vm": []}}, None),
        ({"id": "e1", "source": "/a", "data": "x"}, None),
        ([], None),
        ("text", None),
    ],
)
def test_a_refusal_has_an_outcome_when_its_event_can_be_named(event: Any, named: tuple[str, str, int] | None) -> None:  # noqa: ANN401 - JSON
    intake = FakeIntake(Taken(0, (json.dumps(event).encode(),)))
    ingester(intake).look()
    ((_first, (refusal,)),) = intake.settled
    assert isinstance(refusal, Refusal)
    assert refusal.letter.reason == "invalid_event: event: is bad (mend it)"
    if named is None:
        assert refusal.outcome is None
        return
    outcome = refusal.outcome
    assert outcome is not None
    assert (outcome.event_id, outcome.event_type, outcome.sequence) == named
    assert (outcome.vm_uuid, outcome.status, outcome.code, outcome.remedy) == (
        UUID,
        "rejected",
        "invalid_event",
        "mend it",
    )


@pytest.mark.parametrize("entry", [b"\xff", b"[" * 100_000, b'{"id":' + b" " * 2**20 + b'"e1"}'])
def test_what_cannot_be_read_is_refused_without_a_name(entry: bytes) -> None:
    intake = FakeIntake(Taken(0, (entry,)))
    ingester(intake).look()
    ((_first, (refusal,)),) = intake.settled
    assert isinstance(refusal, Refusal)
    assert (refusal.letter.event_id, refusal.letter.vm_uuid, refusal.outcome) == (None, None, None)


def test_who_must_not_read_can_neither_seal_nor_open() -> None:
    with pytest.raises(PermanentError, match="stands in the clear"):
        Unsealed().seal(b"swordfish", "context")
    with pytest.raises(PermanentError, match="no key"):
        Unsealed().open("box", "context")
