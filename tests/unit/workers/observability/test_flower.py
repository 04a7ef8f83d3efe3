"""Flower's rows in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.documents import UUID
from workers.observability import flower
from workers.observability.flower import format_task


def row(**fields: object) -> Any:  # noqa: ANN401 - as Celery's record of a task
    usual = {"state": "SUCCESS", "args": f"('start', '{UUID}', 2)", "kwargs": "{}"}
    rest = {"result": None, "exception": None, "traceback": None}
    return format_task(SimpleNamespace(**usual | rest | fields))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (f"('start', '{UUID}', 2)", f"start {UUID}"),
        (f"('start', '{UUID}', 2, 'web-1')", f"start web-1 {UUID}"),
        (f"('start', '{UUID}', 2, 'Bob\\'s \\\\o/')", f"start Bob's \\o/ {UUID}"),
        ("('kvm-01',)", "host kvm-01"),
        ("('start', 'x', 'y')", "('start', 'x', 'y')"),
        ("no Python at all", "no Python at all"),
        ("('start', '…", "('start', '…"),
        (None, None),
    ],
)
def test_arguments_say_which_event_of_which_vm(arguments: str | None, words: str | None) -> None:
    assert row(args=arguments).args == words


def test_the_command_that_says_more_is_named() -> None:
    shown = row(args=f"('start', '{UUID}', 1)")
    assert (shown.args, shown.kwargs) == (f"start {UUID}", f"configdrive show {UUID}")


def test_a_result_is_its_text() -> None:
    assert row(result="'applied (attach=inserted)'").result == "applied (attach=inserted)"
    assert row(result="12").result == "12"
    assert row(state="STARTED").result is None


@pytest.mark.parametrize(
    ("exception", "words"),
    [
        ("Parked('parked: vm_busy: it\\'s busy')", "parked: vm_busy: it's busy"),
        ("Waiting('host_unreachable')", "host_unreachable"),
        ("Refused('invalid_event: no')", "invalid_event: no"),
    ],
)
def test_an_end_that_was_decided_on_is_reported_without_a_traceback(exception: str, words: str) -> None:
    shown = row(state="FAILURE", exception=exception, traceback="Traceback ...")
    assert (shown.result, shown.exception, shown.traceback) == (words, None, None)


@pytest.mark.parametrize(
    ("exception", "words"),
    [("KeyError('x')", "KeyError: x"), ("WorkerLostError(...", "WorkerLostError(..."), (None, "")],
)
def test_of_an_accident_all_is_shown(exception: str | None, words: str) -> None:
    shown = row(state="FAILURE", exception=exception, traceback="Traceback ...")
    assert (shown.result, shown.exception, shown.traceback) == (words, exception, "Traceback ...")


def test_every_public_name_is_an_option_of_flower() -> None:
    options = pytest.importorskip("flower.options").default_options
    names = {name for name in vars(flower) if not name.startswith("_")}
    assert names - {"annotations", "ast", "suppress", "TYPE_CHECKING"} <= {name for name in names if name in options}
