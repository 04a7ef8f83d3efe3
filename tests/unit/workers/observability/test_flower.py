"""Flower's rows in words."""

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
def test_arguments_say_which_event_of_which_vm_and_the_command_that_says_more(
    arguments: str | None, words: str | None
) -> None:
    shown = row(args=arguments)
    assert shown.args == words
    assert shown.kwargs == (f"configdrive show {UUID}" if UUID in str(words) else "")


@pytest.mark.parametrize(
    ("state", "result", "words"),
    [
        ("SUCCESS", "'applied (attach=inserted)'", "applied (attach=inserted)"),
        ("SUCCESS", "12", "12"),
        ("STARTED", None, None),
    ],
)
def test_a_result_is_its_text(state: str, result: str | None, words: str | None) -> None:
    assert row(state=state, result=result).result == words


@pytest.mark.parametrize(
    ("exception", "words", "accident"),
    [
        ("Parked('parked: vm_busy: it\\'s busy')", "parked: vm_busy: it's busy", False),
        ("Waiting('host_unreachable')", "host_unreachable", False),
        ("Refused('invalid_event: no')", "invalid_event: no", False),
        ("KeyError('x')", "KeyError: x", True),
        ("WorkerLostError(...", "WorkerLostError(...", True),
        (None, "", True),
    ],
)
def test_an_accident_is_shown_with_its_traceback_and_an_end_that_was_decided_on_without(
    exception: str | None, words: str, *, accident: bool
) -> None:
    shown = row(state="FAILURE", exception=exception, traceback="Traceback ...")
    rest = (exception, "Traceback ...") if accident else (None, None)
    assert (shown.result, (shown.exception, shown.traceback)) == (words, rest)


def test_every_public_name_is_an_option_of_flower() -> None:
    options = pytest.importorskip("flower.options").default_options
    names = {name for name in vars(flower) if not name.startswith("_")}
    assert names - {"annotations", "ast", "suppress", "TYPE_CHECKING"} <= {name for name in names if name in options}
