"""The entry point on the broker lets both kinds of message in as they are sent, and nothing that looks like them."""

import copy
import json
from typing import Any

import pytest

from tasks.wakeup import LEFTOVERS_NAME, TASK_NAME
from tests.mailboxes import QUEUE, Store, new_vm
from tests.unit.documents import UUID
from workers.queueing.transport import problem_of

SECRET = "swordfish"
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def wakeup() -> Raw:
    """A wake-up as the scripts push it."""
    store = Store()
    store.put(new_vm())
    return _only_message(store)


@pytest.fixture(scope="module")
def question() -> Raw:
    """The question to a host as the scripts push it."""
    store = Store()
    store.client.zadd(store.key("left", QUEUE), {f"{new_vm()} host-1.example": 0})
    store.mailbox.ask_hosts(QUEUE, 30)
    return _only_message(store)


def _only_message(store: Store) -> Raw:
    texts: Any = store.client.lrange(store.prefix + QUEUE, 0, -1)
    (text,) = texts
    message: Raw = json.loads(text)
    return message


def body(*parts: object) -> str:
    return json.dumps(parts)


def test_what_the_fleet_sends_is_let_in(wakeup: Raw, question: Raw) -> None:
    assert problem_of(wakeup, QUEUE) is None
    assert problem_of(question, QUEUE) is None


def test_what_the_fleet_sends_is_let_in_from_its_own_queue_only(wakeup: Raw) -> None:
    assert problem_of(wakeup, f"{QUEUE}.zone") is not None


def test_a_wake_up_says_which_event_of_which_vm_and_nothing_else(wakeup: Raw) -> None:
    headers = wakeup["headers"]
    arguments, named, embedded = json.loads(wakeup["body"])
    kind, vm, attempt, number = arguments
    assert (headers["task"], kind, attempt, number, named) == ("configdrive.start", "start", 1, 1, {})
    assert not any(embedded.values())
    assert headers["argsrepr"] == f"('start', '{vm}', 1)"
    assert [headers[name] for name in ("eta", "expires", "timelimit")] == [None, None, [None, None]]


def test_the_question_to_a_host_names_the_host_and_nothing_else(question: Raw) -> None:
    arguments, named, _ = json.loads(question["body"])
    assert (question["headers"]["task"], arguments, named) == (LEFTOVERS_NAME, ["host-1.example", 1], {})
    assert [question["headers"][name] for name in ("eta", "expires", "timelimit")] == [None, None, [None, None]]


@pytest.mark.parametrize(
    "forged",
    [
        body([], {}, {}),
        body(["host-1"], {}, {}),
        body(["host-1", "host-2", 1], {}, {}),
        body([5, 1], {}, {}),
        body([None, 1], {}, {}),
        body([["host-1"], 1], {}, {}),
        body(["", 1], {}, {}),
        body(["-o host", 1], {}, {}),
        body(["../etc/passwd", 1], {}, {}),
        body(["host-1\n", 1], {}, {}),
        body(["h" * 129, 1], {}, {}),
        body(["host-1", 1], {"password": SECRET}, {}),
        body(["host-1", 1], {}, {"chain": [{"task": "os.system", "args": [SECRET]}]}),
        body(["host-1", 1], {}, {"errbacks": [{"task": "os.system"}]}),
        body(["host-1", 1], {}, 5),
        body(["host-1", 1], [], {}),
        body({"host-1": SECRET}, {}, {}),
        body("h", {}, {}),
        body([], ["host-1"], {}),
        body([], {"host-1": SECRET}, {}),
        body([], {}, {"chain": "host-1"}),
        body(["host-1", 1], {}, ["callbacks"]),
        body(["host-1", 1], {}, {}, {}),
        body(["start", UUID, 1], {}, {}),
        body([SECRET + " x", 1], {}, {}),
        "no JSON!",
        "W10=",
    ],
)
def test_a_question_that_the_fleet_does_not_ask_is_refused_without_quoting_it(question: Raw, forged: str) -> None:
    problem = problem_of({**question, "body": forged}, QUEUE)
    assert problem is not None
    assert SECRET not in problem


@pytest.mark.parametrize("name", ["eta", "expires", "timelimit", "retries", "id", "task"])
@pytest.mark.parametrize("value", [7.5, [SECRET], {}, "2030-01-01 00:00:00", [0.001, 0.001]])
def test_a_question_in_another_envelope_is_refused(question: Raw, name: str, value: object) -> None:
    message = copy.deepcopy(question)
    message["headers"][name] = value
    if name == "id" and isinstance(value, str):
        value = message["headers"][name] = "../x"
    assert problem_of(message, QUEUE) is not None


@pytest.mark.parametrize("encoding", ["base64", "other"])
def test_a_body_in_another_encoding_is_refused(question: Raw, encoding: str) -> None:
    assert problem_of({**question, "properties": {**question["properties"], "body_encoding": encoding}}, QUEUE)


def test_one_kind_s_content_under_the_other_s_name_is_refused(wakeup: Raw, question: Raw) -> None:
    for message, other in ((question, TASK_NAME), (wakeup, LEFTOVERS_NAME)):
        assert problem_of({**message, "headers": {**message["headers"], "task": other}}, QUEUE) is not None
    strange = {**question, "headers": {**question["headers"], "task": "configdrive.else"}}
    assert problem_of(strange, QUEUE) == "a message for another task"
