"""What Flower shows of an event, and of a question to a host: its row's state and sentence, and no secret."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task, states

from configdrive.client.postings import Header
from configdrive.client.scripts import source
from configdrive.errors import PermanentCode, PermanentError
from tasks.attempt import Attempts
from tasks.celery_tasks import register
from tasks.leftovers import Leftovers
from tasks.leftovers import register as register_questions
from tasks.wakeup import LEFTOVERS_NAME, TASK_NAME, TASK_NAMES
from tests.unit.documents import OTHER_UUID, UUID, WORDS
from tests.unit.fakes.fleet import HOST_1
from tests.unit.fakes.queue import QUEUE
from tests.unit.tasks.left import World

SECRET = "sw0rdfish"


class Worker:
    """The tasks in a Celery app, with what they work on."""

    def __init__(self, app: Celery) -> None:
        self.world = World()
        self.queue = self.world.queue
        self.made = 0
        self.task: Task[Any, Any] = register(app, self._attempts, self.queue.mailbox)
        self.tasks: dict[str, Task[Any, Any]] = {
            TASK_NAME: self.task,
            LEFTOVERS_NAME: register_questions(app, self._leftovers, self.queue.mailbox),
        }

    def _attempts(self) -> Attempts:
        self.made += 1
        return self.queue.attempts

    def _leftovers(self) -> Leftovers:
        self.made += 1
        return self.world.leftovers

    def run(self, header: Header) -> tuple[str, Any]:
        """Let the message for a VM arrive."""
        wakeup = self.queue.store.wakeup(header)
        return self.message(TASK_NAME, wakeup.key, [header.event_type, wakeup.vm_uuid, 1, wakeup.number])

    def message(
        self,
        task: str,
        task_id: str,
        arguments: list[object],
        named: dict[str, object] | None = None,
        queue: str = QUEUE,
    ) -> tuple[str, Any]:
        """Let a message arrive; returns the row's state and its result."""
        done = self.tasks[task].apply(
            args=tuple(arguments), kwargs=named, task_id=task_id, throw=False, routing_key=queue
        )
        assert SECRET not in f"{done.result!r} {done.traceback}"
        return done.state, done.result


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Celery(broker="memory://", set_as_current=False) as app:
        yield Worker(app)


def test_an_applied_event_is_a_success_that_says_what_was_reached(worker: Worker) -> None:
    header = worker.queue.put("deploy", start=True, guest={"password": SECRET, "user_data": {"text": SECRET}})
    state, sentence = worker.run(header)
    assert (state, sentence) == (states.SUCCESS, "applied (attach=inserted, device=cd, password=on_drive)")


def test_a_wake_up_that_came_twice_shows_the_outcome_again(worker: Worker) -> None:
    header = worker.queue.put("deploy")
    first = worker.run(header)
    assert worker.run(header) == first


def test_a_dropped_event_is_a_success_that_says_why(worker: Worker) -> None:
    header, _ = worker.queue.put("start"), worker.queue.put("stop")
    assert worker.run(header) == (states.SUCCESS, "dropped: superseded: a stop event waits behind it")


def test_a_back_off_is_a_retry_that_nobody_sends(worker: Worker) -> None:
    header = worker.queue.put("start")
    worker.queue.fleet.cloud.down.add(HOST_1)
    state, retry = worker.run(header)
    assert state == states.RETRY
    assert "host_unreachable" in repr(retry)
    assert HOST_1 in repr(retry), "it says which host"
    assert worker.run(header)[0] == states.RETRY, "it came too early"
    assert worker.queue.stream == []


def test_a_parked_event_is_a_failure_with_its_code(worker: Worker) -> None:
    header = worker.queue.put("start", guest={"password": SECRET})
    worker.queue.raising(lambda: PermanentError(PermanentCode.NO_FREE_SLOT, "no slot is free"))
    state, error = worker.run(header)
    assert state == states.FAILURE
    assert str(error) == "parked: no_free_slot: no slot is free"
    assert worker.run(header)[0] == states.FAILURE, "a double shows the same"
    assert error.__context__ is None


def test_what_nobody_foresaw_shows_neither_its_text_nor_its_traceback(worker: Worker) -> None:
    header = worker.queue.put("start", guest={"password": SECRET})
    worker.queue.raising(lambda: ValueError(SECRET))
    assert worker.run(header)[0] == states.RETRY
    worker.queue.fleet.clock.time += 13
    state, error = worker.run(header)
    assert state == states.FAILURE
    assert "unclassified" in str(error)


def test_an_event_whose_next_queue_is_another_is_left_to_its_workers(worker: Worker) -> None:
    header = worker.queue.put("deploy")
    arguments = ["deploy", header.vm_uuid, 1, 0]
    assert worker.message(TASK_NAME, header.key, arguments, queue="configdrive.other")[0] == states.RETRY


def test_a_row_that_is_another_worker_s_is_left_alone(worker: Worker) -> None:
    header = worker.queue.put("deploy")
    worker.queue.claim(header)
    assert worker.run(header)[0] == states.IGNORED


def test_a_stale_wake_up_is_no_success(worker: Worker) -> None:
    assert worker.message(TASK_NAME, "k" * 22, ["start", OTHER_UUID, 1, 1])[0] == states.IGNORED


def test_the_row_of_a_question_says_what_came_of_it(worker: Worker) -> None:
    worker.world.leave()
    worker.world.cloud.down.clear()
    said = (states.SUCCESS, "host host-1: 1 VMs finished, 0 wait")
    assert worker.message(LEFTOVERS_NAME, "1", ["host-1", 1]) == said


@pytest.mark.parametrize(
    ("task", "task_id", "arguments", "named"),
    [
        (TASK_NAME, "../etc", ["start", UUID, 1, 1], {}),
        (TASK_NAME, "k" * 22, [SECRET], {}),
        (TASK_NAME, "k" * 22, [], {"password": SECRET}),
        (TASK_NAME, "k" * 22, ["start", {"uuid": SECRET}, 1, 1], {}),
        (LEFTOVERS_NAME, "../etc", ["host-1", 1], {}),
        (LEFTOVERS_NAME, "1", [], {}),
        (LEFTOVERS_NAME, "1", [], {"password": SECRET}),
        (LEFTOVERS_NAME, "1", [["host-1"], 1], {}),
        (LEFTOVERS_NAME, "1", [SECRET, SECRET], {}),
        (LEFTOVERS_NAME, "1", [f"{SECRET} x", 1], {}),
        (LEFTOVERS_NAME, "1", ["start", UUID, 1], {}),
    ],
)
def test_a_message_that_is_none_of_the_fleet_s_goes_to_the_dead_letters(
    worker: Worker, task: str, task_id: str, arguments: list[object], named: dict[str, object]
) -> None:
    state, error = worker.message(task, task_id, arguments, named)
    assert state == states.FAILURE
    assert "publish" not in str(error)
    (letter,) = worker.queue.mailbox.dead_letters(10)
    assert (letter.origin, letter.event_id, letter.vm_uuid) == ("broker", None, None)
    assert letter.reason.startswith("invalid_event: ")
    assert SECRET not in repr(letter)
    assert worker.made == 0, "no driver was made for it"


def test_each_type_of_event_has_a_task_of_its_name_that_is_acknowledged_early_and_keeps_no_result(
    worker: Worker,
) -> None:
    ours = {LEFTOVERS_NAME, *TASK_NAMES}
    tasks = {name: task for name, task in worker.task.app.tasks.items() if name in ours}
    assert set(tasks) == {LEFTOVERS_NAME, TASK_NAME, *(f"configdrive.{word}" for word in WORDS)}
    assert {(task.ignore_result, task.acks_late) for task in tasks.values()} == {(True, False)}
    types = re.search(r"local TYPES = {(.*?)}", source("common"))
    assert types is not None
    assert set(re.findall(r"(\w+) = 1", types[1])) == set(WORDS), "the script names the same"
