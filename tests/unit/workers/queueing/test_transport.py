"""The door on the broker lets both kinds of message in as they are sent, and nothing that only looks like them."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from configdrive.model import EventId, HostName, VmUuid
from tasks.mailbox import Header, Wake
from tasks.wakeup import LEFTOVERS_NAME, TASK_NAME, WakeUps
from tests.unit.documents import UUID
from workers.queueing.transport import problem_of

QUEUE = "configdrive.memory"
SECRET = "swordfish"
Raw = dict[str, Any]


def wake(wakeups: WakeUps) -> None:
    wakeups.send(Wake(Header(EventId("event-1"), "start", VmUuid(UUID), QUEUE, 1)))


def ask(wakeups: WakeUps) -> None:
    wakeups.ask(QUEUE, HostName("host-1.example"))


@pytest.fixture
def sent() -> Iterator[Callable[[Callable[[WakeUps], None]], Raw]]:
    """Return what takes a message as it lies on the broker."""
    with Celery(broker="memory://", set_as_current=False) as app:
        app.conf.update(task_soft_time_limit=5, task_time_limit=9)

        def taken(send: Callable[[WakeUps], None]) -> Raw:
            send(WakeUps(app))
            with app.connection() as connection:
                raw: Raw = connection.default_channel._get(QUEUE)  # type: ignore[attr-defined]
            return json.loads(json.dumps(raw))  # type: ignore[no-any-return]

        yield taken


def body(*parts: object) -> str:
    return base64.b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize("send", [wake, ask])
def test_what_the_fleet_sends_is_let_in(
    sent: Callable[[Callable[[WakeUps], None]], Raw], send: Callable[[WakeUps], None]
) -> None:
    assert problem_of(sent(send)) is None


def test_the_question_to_a_host_names_the_host_and_nothing_else(
    sent: Callable[[Callable[[WakeUps], None]], Raw],
) -> None:
    message = sent(ask)
    arguments, named, _ = json.loads(base64.b64decode(message["body"]))
    assert (message["headers"]["task"], arguments, named) == (LEFTOVERS_NAME, ["host-1.example"], {})
    assert [message["headers"][name] for name in ("eta", "expires", "timelimit")] == [None, None, [None, None]]


@pytest.mark.parametrize(
    "forged",
    [
        body([], {}, {}),
        body(["host-1", "host-2"], {}, {}),
        body([5], {}, {}),
        body([None], {}, {}),
        body([["host-1"]], {}, {}),
        body([""], {}, {}),
        body(["-o host"], {}, {}),
        body(["../etc/passwd"], {}, {}),
        body(["host-1\n"], {}, {}),
        body(["h" * 129], {}, {}),
        body(["host-1"], {"password": SECRET}, {}),
        body(["host-1"], {}, {"chain": [{"task": "os.system", "args": [SECRET]}]}),
        body(["host-1"], {}, {"errbacks": [{"task": "os.system"}]}),
        body(["host-1"], {}, 5),
        body(["host-1"], [], {}),
        body({"host-1": SECRET}, {}, {}),
        body("h", {}, {}),
        body([], ["host-1"], {}),
        body([], {"host-1": SECRET}, {}),
        body([], {}, {"chain": "host-1"}),
        body(["host-1"], {}, ["callbacks"]),
        body(["host-1"], {}, {}, {}),
        body(["start", UUID, 1], {}, {}),
        body([SECRET + " x"], {}, {}),
        "no base64!",
    ],
)
def test_a_question_that_the_fleet_does_not_ask_is_refused_without_quoting_it(
    sent: Callable[[Callable[[WakeUps], None]], Raw], forged: str
) -> None:
    problem = problem_of({**sent(ask), "body": forged})
    assert problem is not None
    assert SECRET not in problem


@pytest.mark.parametrize("name", ["eta", "expires", "timelimit", "retries", "id", "task"])
@pytest.mark.parametrize("value", [7.5, [SECRET], {}, "2030-01-01 00:00:00", [0.001, 0.001]])
def test_a_question_in_another_envelope_is_refused(
    sent: Callable[[Callable[[WakeUps], None]], Raw], name: str, value: object
) -> None:
    message = copy.deepcopy(sent(ask))
    message["headers"][name] = value
    if name == "id" and isinstance(value, str):
        value = message["headers"][name] = "../x"
    assert problem_of(message) is not None


def test_one_kind_s_content_under_the_other_s_name_is_refused(
    sent: Callable[[Callable[[WakeUps], None]], Raw],
) -> None:
    for send, other in ((ask, TASK_NAME), (wake, LEFTOVERS_NAME)):
        message = sent(send)
        message["headers"]["task"] = other
        assert problem_of(message) is not None
    message = sent(ask)
    message["headers"]["task"] = "configdrive.else"
    assert problem_of(message) == "a message for another task"
