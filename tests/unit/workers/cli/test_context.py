from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from configdrive.contract.outcome import Outcome, Status
from workers.cli.context import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.mailbox import Mailbox

OUTCOME = Outcome("e1", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 1, Status.APPLIED, 0.0)


class Stream:
    """The outcome stream of a mailbox, as a list."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.entries = list(enumerate(outcomes, 1))
        self.asked: list[str] = []

    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        assert block_seconds <= 1
        self.asked.append(after)
        yield from ((str(position), outcome) for position, outcome in self.entries if position > int(after))


def wait_for(stream: Stream, *wanted: str, since: str = "0", seconds: float = 0.05) -> list[str]:
    mailbox: Mailbox = stream  # type: ignore[assignment]  # only `outcomes` is asked for
    return [outcome.event_id for outcome in outcomes_of(mailbox, wanted, since, seconds)]


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
