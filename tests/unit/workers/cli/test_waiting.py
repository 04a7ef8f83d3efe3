from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import StaleCode
from workers.cli.exits import ExitCode
from workers.cli.waiting import WAIT_SECONDS, WaitCommand, code_of, outcomes_of, wait_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.mailbox import Mailbox

OUTCOME = Outcome("e1", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 1, Status.APPLIED, 0.0)


@click.command(cls=WaitCommand)
@click.argument("file", required=False)
@wait_option
@click.option("--json", "as_json", is_flag=True)
def waiting(file: str | None, wait_seconds: float | None, *, as_json: bool) -> None:
    click.echo(f"{file} {wait_seconds} {as_json}")


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ([], "None None False"),
        (["f"], "f None False"),
        (["--wait", "f"], f"f {WAIT_SECONDS} False"),
        (["f", "--wait"], f"f {WAIT_SECONDS} False"),
        (["f", "--wait", "5"], "f 5.0 False"),
        (["--wait=2.5", "f"], "f 2.5 False"),
        (["--wait", "-"], f"- {WAIT_SECONDS} False"),
        (["--wait", "--json", "f"], f"f {WAIT_SECONDS} True"),
    ],
)
def test_seconds_may_be_left_out(args: list[str], shown: str) -> None:
    assert CliRunner().invoke(waiting, args).stdout.strip() == shown


@pytest.mark.parametrize("seconds", ["0", "-3"])
def test_no_time_is_no_waiting(seconds: str) -> None:
    assert CliRunner().invoke(waiting, [f"--wait={seconds}"]).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (Status.APPLIED, None, ExitCode.DONE),
        (Status.NOT_APPLICABLE, None, ExitCode.DONE),
        (Status.DROPPED, StaleCode.SUPERSEDED, ExitCode.DONE),
        (Status.DROPPED, StaleCode.STALE_SEQUENCE, ExitCode.FAILED),
        (Status.DROPPED, StaleCode.VM_GONE, ExitCode.FAILED),
        (Status.SKIPPED, None, ExitCode.FAILED),
        (Status.REJECTED, "invalid_event", ExitCode.FAILED),
        (Status.PARKED, "storage_full", ExitCode.FAILED),
    ],
)
def test_an_outcome_decides_on_the_exit_code(status: Status, code: str | None, exit_code: ExitCode) -> None:
    assert code_of(replace(OUTCOME, status=status, code=code)) is exit_code


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
