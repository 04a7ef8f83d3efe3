"""The disposable message: what it says, what it must not say, and what is taken from a broker anybody may write to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId, HostName, VmUuid
from tasks.mailbox import Header, Wake
from tasks.sweep import AT_ONCE, sweep_once
from tasks.wakeup import LEFTOVERS_NAME, TASK_NAME, Wakeup, WakeUps, check, queue, queue_name, read, read_host
from tests.unit import strategies
from tests.unit.documents import OTHER_UUID, UUID
from tests.unit.fakes.queue import QUEUE, Queue


def wake(number: int = 1, attempt: int = 1, name: str = QUEUE) -> Wake:
    return Wake(Header(EventId(f"event-{number}"), "start", VmUuid(UUID), name, number), attempt)


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app on kombu's transport within the process."""
    with Celery(broker="memory://", set_as_current=False) as app:
        app.conf.update(task_soft_time_limit=5, task_time_limit=9)
        yield app


def received(app: Celery, name: str = QUEUE) -> list[tuple[dict[str, Any], Any]]:
    """Headers and body of every message on a queue."""
    found: list[tuple[dict[str, Any], Any]] = []
    with app.connection() as connection, connection.SimpleQueue(name) as inbox:
        while True:
            try:
                message = inbox.get(block=False)
            except inbox.Empty:
                return found
            found.append((message.headers, json.loads(message.body or "")))


def test_a_wake_up_says_which_event_of_which_vm_and_nothing_else(app: Celery) -> None:
    WakeUps(app).send(wake(attempt=3))
    ((headers, body),) = received(app)
    assert (headers["id"], headers["task"]) == ("event-1", TASK_NAME)
    assert body[:2] == [["start", UUID, 3], {}]


def test_a_wake_up_has_neither_a_due_time_nor_a_sender_s_limits(app: Celery) -> None:
    WakeUps(app).send(wake())
    ((headers, _),) = received(app)
    assert [headers[name] for name in ("eta", "expires", "timelimit")] == [None, None, [None, None]]


def test_many_wake_ups_arrive_in_order_each_on_its_queue(app: Celery) -> None:
    WakeUps(app).send_many([wake(number) for number in range(250)] + [wake(999, name="configdrive.memory.z1")])
    assert [headers["id"] for headers, _ in received(app)] == [f"event-{number}" for number in range(250)]
    assert [headers["id"] for headers, _ in received(app, "configdrive.memory.z1")] == ["event-999"]


@pytest.mark.parametrize("how", ["send", "send_many"])
def test_a_wake_up_that_cannot_be_sent_is_no_failure(
    app: Celery, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise ConnectionError("redis://:swordfish@host")

    monkeypatch.setattr(app, "send_task", refuse)
    with caplog.at_level(logging.WARNING):
        WakeUps(app).send(wake()) if how == "send" else WakeUps(app).send_many([wake()])
    assert "ConnectionError" in caplog.text
    assert "swordfish" not in caplog.text


def test_no_wake_ups_are_no_work(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(app), "producer_pool")
    WakeUps(app).send_many([])


def test_the_queue_is_named_for_the_hypervisor_and_the_zone() -> None:
    assert queue_name("kvm") == "configdrive.kvm"
    assert queue_name("kvm", "z1") == "configdrive.kvm.z1"
    assert queue("q").routing_key == "q"


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_what_was_sent_is_read(app: Celery) -> None:
    WakeUps(app).send(wake())
    ((headers, body),) = received(app)
    assert read(headers["id"], body[0]) == Wakeup(EventId("event-1"), VmUuid(UUID))


@pytest.mark.parametrize(
    ("task_id", "arguments"),
    [
        (None, ["start", UUID, 1]),
        (7, ["start", UUID, 1]),
        ("", ["start", UUID, 1]),
        ("../x", ["start", UUID, 1]),
        ("x" * 129, ["start", UUID, 1]),
        ("event-1\n", ["start", UUID, 1]),
        ("event-1", []),
        ("event-1", ["start", UUID]),
        ("event-1", ["start", UUID, 1, 2]),
        ("event-1", ["start", UUID, "1"]),
        ("event-1", [5, UUID, 1]),
        ("event-1", ["start", "swordfish", 1]),
        ("event-1", ["start", UUID.upper(), 1]),
        ("event-1", ["start", f"{UUID}\n", 1]),
        ("event-1", [["start"], {"a": UUID}, 1]),
    ],
)
def test_what_is_no_wake_up_is_refused_without_quoting_it(task_id: object, arguments: list[object]) -> None:
    with pytest.raises(PermanentError) as caught:
        read(task_id, arguments)
    assert caught.value.code is PermanentCode.INVALID_EVENT
    assert "swordfish" not in repr(caught.value)


@given(strategies.json_values, st.lists(strategies.json_values, max_size=4))
def test_reading_never_fails_otherwise(task_id: object, arguments: list[object]) -> None:
    with pytest.raises(PermanentError):
        read(task_id, arguments)


# --- the sweeper ------------------------------------------------------------------------------------------------------


def test_the_sweeper_sends_what_is_due_on_its_queues(app: Celery) -> None:
    world = Queue()
    header = world.put("start")
    world.post("elsewhere", "start", b"{}", uuid=OTHER_UUID)
    assert sweep_once(world.mailbox, WakeUps(app), [QUEUE], pause=30).wakes == ()
    world.fleet.clock.time += 16
    world.mailbox.boxes[VmUuid(OTHER_UUID)].queue = "configdrive.other"
    assert len(sweep_once(world.mailbox, WakeUps(app), [QUEUE, "configdrive.memory.z1"], pause=30).wakes) == 1
    assert [headers["id"] for headers, _ in received(app)] == [header.event_id]
    assert sweep_once(world.mailbox, WakeUps(app), [QUEUE], pause=30).wakes == (), "it is not sent again at once"


def test_the_sweeper_takes_only_so_many_at_once(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Queue()
    limits: list[int] = []

    def sweep(_queue: str, limit: int) -> list[Wake]:
        limits.append(limit)
        return []

    monkeypatch.setattr(world.mailbox, "sweep", sweep)
    sweep_once(world.mailbox, WakeUps(app), ["a", "b"], pause=30)
    assert limits == [AT_ONCE, AT_ONCE]


# --- the question to a host -------------------------------------------------------------------------------------------


def test_a_host_is_asked_on_its_queue_without_a_sender_s_limits(app: Celery) -> None:
    WakeUps(app).ask(QUEUE, HostName("host-1"))
    ((headers, body),) = received(app)
    assert (headers["task"], body[:2]) == (LEFTOVERS_NAME, [["host-1"], {}])
    assert [headers[name] for name in ("eta", "expires", "timelimit")] == [None, None, [None, None]]
    check(headers["task"], headers["id"], body[0])
    assert read_host(headers["id"], body[0]) == "host-1"


def test_a_host_that_cannot_be_asked_now_is_no_failure(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise ConnectionError("redis://:swordfish@host")

    monkeypatch.setattr(app, "send_task", refuse)
    with caplog.at_level(logging.WARNING):
        WakeUps(app).ask(QUEUE, HostName("host-1"))
    assert "ConnectionError" in caplog.text
    assert "swordfish" not in caplog.text


@given(strategies.json_values, strategies.json_values, st.lists(strategies.json_values, max_size=4))
def test_checking_a_message_never_fails_otherwise(task: object, task_id: object, arguments: list[object]) -> None:
    with pytest.raises(PermanentError):
        check(task, task_id, arguments)
    if not (isinstance(task_id, str) and len(arguments) == 1 and isinstance(arguments[0], str)):
        with pytest.raises(PermanentError):
            check(LEFTOVERS_NAME, task_id, arguments)
