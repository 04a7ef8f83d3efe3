import time
from collections.abc import Callable
from dataclasses import replace

import click
from click.testing import CliRunner

from configdrive.contract.outcome import Outcome, Status
from workers.cli.output import ago, clock, coloured, duration, outcome_line, table

OUTCOME = Outcome("e1", "/tests", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 7, Status.APPLIED, 0.0)


def shown(write: Callable[[], object], *, color: bool = False) -> str:
    return CliRunner().invoke(click.Command("show", callback=write), color=color).stdout


def test_durations_and_times_are_shown_in_their_largest_unit() -> None:
    units = {0.04: "0.0 s", 9.96: "10.0 s", 59.4: "59 s", 119: "119 s", 120: "2 min", 7200: "2 h", 172_800: "2 days"}
    assert {seconds: duration(seconds) for seconds in units} == units
    assert ago(time.time() - 30) == "30 s ago"
    assert ago(time.time() + 3600 * 5) == "in 5 h"
    assert clock(time.time()).count(":") == 2
    assert "-" not in clock(time.time())
    assert clock(0).startswith("19"), "of another day"


def test_an_outcome_is_one_line_with_what_was_reached_and_a_parked_one_has_cause_attempts_and_remedy() -> None:
    facts = {"attach": "inserted", "device": "hdd", "path": "/x.iso", "xml": "<disk/>", "password": "on_drive"}
    line = click.unstyle(outcome_line(replace(OUTCOME, facts=facts)))
    cause = replace(OUTCOME, status=Status.PARKED, code="storage_full", detail="pool a is full", remedy="make room")
    parked = click.unstyle(outcome_line(replace(cause, attempts=12)))

    assert "applied" in line
    assert f"start           {OUTCOME.vm_uuid}  #7  attach=inserted device=hdd password=on_drive" in line
    assert "\n" not in line
    assert parked.endswith("storage_full: pool a is full  (attempt 12)\n  remedy: make room")


def test_colours_are_for_terminals_and_a_table_is_aligned() -> None:
    def words() -> None:
        click.echo(coloured("parked") + coloured("FAIL", 6) + coloured("unheard-of"))

    assert shown(words) == "parkedFAIL  unheard-of\n"
    assert "\x1b[31mparked" in shown(words, color=True)
    rows = shown(lambda: table(("key", "boxes"), [("a", "1"), ("longer", "22")]))
    assert rows == "key     boxes\na       1\nlonger  22\n"
