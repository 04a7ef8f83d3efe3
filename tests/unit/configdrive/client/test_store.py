"""Waiting for the outcomes of some events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from configdrive.client.store import EventStore
from configdrive.contract.event_key import event_key
from configdrive.contract.outcome import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTCOME = Outcome("e1", "/tests", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 1, Status.APPLIED, 0.0)


class Stream(EventStore):
    """A store whose outcome stream is a list."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.entries = list(enumerate(outcomes, 1))
        self.asked: list[str] = []

    @override
    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome | None]]:
        assert block_seconds <= 0.25
        self.asked.append(after)
        yield from ((str(position), outcome) for position, outcome in self.entries if position > int(after))


def wait_for(stream: Stream, *wanted: str, since: str = "0", seconds: float = 0.05) -> list[str]:
    return [
        outcome.event_id
        for outcome in stream.outcomes_of([event_key("/tests", name) for name in wanted], since, seconds)
    ]


def test_only_the_wanted_outcomes_come_each_once() -> None:
    stream = Stream(*(replace(OUTCOME, event_id=name) for name in ("x", "a", "a", "b")))

    assert wait_for(stream, "a", "b") == ["a", "b"]
    assert stream.asked == ["0"]


def test_what_came_before_is_not_looked_at() -> None:
    stream = Stream(*(replace(OUTCOME, event_id=name) for name in ("a", "b")))

    assert wait_for(stream, "a", "b", since="1") == ["b"]


def test_the_stream_is_followed_from_where_it_was_left() -> None:
    stream = Stream(replace(OUTCOME, event_id="x"))

    assert wait_for(stream, "a") == []
    assert stream.asked[:2] == ["0", "1"]
