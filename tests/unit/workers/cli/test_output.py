from __future__ import annotations

import time
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from configdrive.contract.outcome import Outcome, Status
from workers.cli.output import ago, clock, coloured, duration, outcome_line, table

OUTCOME = Outcome("e1", "/tests", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 7, Status.APPLIED, 0.0)


def plain(text: str) -> str:
    return click.unstyle(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (172_800, "2 days"),
    ],
)
def test_durations_are_shown_in_their_largest_unit(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_times_are_counted_from_now() -> None:
    assert ago(time.time() - 30) == "30 s ago"
    assert ago(time.time() + 3600 * 5) == "in 5 h"


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock(time.time()).count(":") == 2
    assert "-" not in clock(time.time())
    assert clock(0).startswith("19")


def test_an_outcome_is_one_line_with_what_was_reached() -> None:
    facts = {"attach": "inserted", "device": "hdd", "path": "/x.iso", "xml": "<disk/>", "password": "on_drive"}
    line = plain(outcome_line(replace(OUTCOME, facts=facts)))

    assert "applied" in line
    assert f"start           {OUTCOME.vm_uuid}  #7  attach=inserted device=hdd password=on_drive" in line
    assert "\n" not in line


def test_a_parked_outcome_has_cause_attempts_and_remedy() -> None:
    parked = replace(
        OUTCOME, status=Status.PARKED, code="storage_full", detail="pool a is full", remedy="make room", attempts=12
    )

    assert plain(outcome_line(parked)).endswith("storage_full: pool a is full  (attempt 12)\n  remedy: make room")


def test_colours_are_for_terminals() -> None:
    @click.command()
    def show() -> None:
        click.echo(coloured("parked") + coloured("FAIL", 6) + coloured("unheard-of"))

    assert CliRunner().invoke(show).stdout == "parkedFAIL  unheard-of\n"
    assert "\x1b[31mparked" in CliRunner().invoke(show, color=True).stdout


def test_a_table_is_aligned() -> None:
    @click.command()
    def show() -> None:
        table(("key", "boxes"), [("a", "1"), ("longer", "22")])

    assert CliRunner().invoke(show).stdout == "key     boxes\na       1\nlonger  22\n"
