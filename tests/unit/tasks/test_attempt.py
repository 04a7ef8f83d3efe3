"""One attempt: from the claim to what is written down, whatever happens in between."""

import logging
from dataclasses import replace

import pytest
from redis import ResponseError

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode, StaleError, TransientCode, TransientError
from configdrive.lifecycle.settled import Settled
from tasks.mailbox import Dropped, NotNow, Park, Retry
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HOST_1, VM
from tests.unit.fakes.queue import QUEUE, OutOfTimeError, Queue

SECRET = "sw0rdfish"


@pytest.fixture
def queue() -> Queue:
    return Queue()


def away() -> TransientError:
    return TransientError(TransientCode.HOST_UNREACHABLE, "host-1 does not answer", "look after it")


def test_a_destroy_finds_what_a_start_brought_that_failed_and_was_given_up(queue: Queue) -> None:
    """The VM is no more; only the intent says where its image lies, with the password."""

    def no_slot(verb: str, at: At) -> None:
        if (verb, at) == ("attach", At.BEFORE):
            raise TransientError(TransientCode.HYPERVISOR_ERROR, "what it did is not known")

    start = queue.put("start", guest={"password": "first"})
    queue.fleet.cloud.hook = no_slot
    assert isinstance(queue.take(start), Retry)
    queue.fleet.cloud.hook = lambda _verb, _at: None
    queue.fleet.cloud.machines.clear()
    assert queue.fleet.generations() == [1]
    queue.fleet.clock.time += 13
    destroy = queue.put("destroy")
    assert queue.ended(start).code is StaleCode.SUPERSEDED
    assert queue.store.client.exists(queue.store.key("intents", VM)), "it was not looked at"
    assert queue.ended(destroy).status is Status.APPLIED
    assert queue.fleet.generations() == []
    assert not queue.store.client.exists(queue.store.key("intents", VM))


def test_a_worker_works_on_what_is_next_whatever_event_its_message_names(queue: Queue) -> None:
    first, second = queue.put("deploy"), queue.put("update")
    named_second = replace(queue.store.wakeup(first), key=second.key)
    ending = queue.attempts.make(named_second)
    assert isinstance(ending, Settled)
    assert ending.outcome.key == first.key
    assert queue.sent == [(second.key, 1)]


def test_an_attempt_is_reported_when_it_begins_and_when_its_end_is_written(queue: Queue) -> None:
    header = queue.put("deploy")
    ending = queue.take(header)
    ((claim, stored),) = queue.observer.ended
    assert queue.observer.started == [claim]
    assert (claim.header, stored) == (header, ending)
    queue.take(header)
    assert len(queue.observer.started) == 1, "nothing was claimed"


def test_of_an_attempt_whose_end_redis_did_not_take_no_end_is_reported(queue: Queue) -> None:
    header = queue.put("start")
    queue.store.client.set(queue.store.key("outcomes"), "no stream")
    with pytest.raises(ResponseError):
        queue.take(header)
    assert [ending for _, ending in queue.observer.ended] == [None]


def test_what_may_pass_is_tried_again_after_a_pause_and_not_before(queue: Queue) -> None:
    header = queue.put("start")
    queue.fleet.cloud.down.add(HOST_1)
    verdict = queue.take(header)
    assert isinstance(verdict, Retry)
    assert 4.0 <= verdict.delay <= 8.0
    assert verdict.code is TransientCode.HOST_UNREACHABLE
    assert queue.stream == []
    assert queue.take(header) == Dropped(NotNow.TOO_EARLY)
    queue.fleet.clock.time += verdict.delay
    assert queue.store.due_now(QUEUE) == [(header.key, 2)]
    queue.fleet.cloud.down.clear()
    outcome = queue.ended(header)
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 2)


def test_what_does_not_pass_is_parked_under_its_code(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    header, behind = queue.put("start"), queue.put("update")
    queue.raising(away)
    for _ in range(2):
        assert isinstance(queue.take(header), Retry)
        queue.fleet.clock.time += 13
    outcome = queue.ended(header)
    assert (outcome.status, outcome.code, outcome.attempts) == (Status.PARKED, TransientCode.HOST_UNREACHABLE, 3)
    assert (outcome.detail, outcome.remedy) == ("host-1 does not answer", "look after it")
    assert (outcome.sequence, outcome.event_type, outcome.at) == (1, "start", queue.fleet.clock.time)
    assert queue.take(header) == Dropped(NotNow.PARKED, outcome)
    assert queue.take(behind) == Dropped(NotNow.PARKED)
    assert [uuid for uuid, _ in queue.mailbox.parked(10)] == [VM]
    parked = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "parked start" in parked[-1].getMessage()
    assert VM in parked[-1].getMessage()


def test_a_start_that_was_parked_because_its_host_was_away_goes_on_by_itself_when_it_is_back(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    header = queue.put("start", guest={"password": "first"})
    queue.fleet.cloud.down.add(HOST_1)
    for _ in range(3):
        queue.take(header)
        queue.fleet.clock.time += 13
    caplog.clear()
    for _ in range(2):
        queue.fleet.clock.time += 30
        assert [one.header for one in queue.mailbox.try_parked(QUEUE, 30)] == [header]
        ending = queue.take(header)
        assert isinstance(ending, Park)
        assert (ending.away, ending.stays) == (f"host {HOST_1}", True)
    assert [outcome.status for outcome in queue.stream] == [Status.PARKED], "it was published once"
    assert [record for record in caplog.records if record.levelno == logging.ERROR] == []
    queue.fleet.cloud.down.clear()
    queue.fleet.clock.time += 30
    queue.mailbox.try_parked(QUEUE, 30)
    assert queue.ended(header).status is Status.APPLIED
    assert queue.fleet.password() == "first"
    assert queue.mailbox.parked(10) == []


@pytest.mark.parametrize("word", ["start", "stop", "destroy"])
def test_an_attempt_whose_time_is_over_is_tried_again_or_ends_and_leaves_what_it_has(queue: Queue, word: str) -> None:
    def slow(_verb: str, _at: At) -> None:
        raise OutOfTimeError

    queue.take(queue.put("deploy", start=True))
    queue.fleet.cloud.hook = slow
    ending = queue.take(queue.put(word))
    if word == "start":
        assert isinstance(ending, Retry)
        assert ending.code is TransientCode.TASK_TIMEOUT
        return
    assert isinstance(ending, Settled)
    assert (ending.outcome.status, ending.outcome.code) == (Status.APPLIED, TransientCode.TASK_TIMEOUT)
    assert queue.mailbox.leftovers(QUEUE) == {HOST_1: [VM]}


def test_what_nobody_foresaw_is_tried_a_few_times_and_then_parked_without_its_text(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise() -> Exception:
        return RuntimeError(SECRET)

    header = queue.put("start", guest={"password": SECRET})
    queue.raising(surprise)
    verdict = queue.take(header)
    assert isinstance(verdict, Retry)
    assert verdict.code is PermanentCode.UNCLASSIFIED
    queue.fleet.clock.time += 13
    outcome = queue.ended(header)
    assert (outcome.status, outcome.code) == (Status.PARKED, PermanentCode.UNCLASSIFIED)
    assert "RuntimeError" in outcome.detail
    assert SECRET not in caplog.text + outcome.to_json() + queue.store.everything()


def test_the_log_says_where_something_unforeseen_happened_and_no_value(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise(verb: str, _at: At) -> None:
        if verb == "upload":
            password = SECRET
            raise ValueError(f"the password is {password}")

    queue.fleet.cloud.hook = surprise
    queue.take(queue.put("start", guest={"password": SECRET, "user_data": {"text": SECRET}}))
    record = next(record for record in caplog.records if record.getMessage().startswith("unforeseen"))
    message = record.getMessage()
    assert record.levelno == logging.ERROR
    assert "ValueError in start of VM" in message
    assert f"test_attempt.py:{surprise.__code__.co_firstlineno + 3} " in message
    assert "MemoryDriver.upload" in message or "MemoryDriver._begin" in message
    assert record.exc_info is None
    assert SECRET not in caplog.text


def test_stale_work_that_the_use_case_meets_is_dropped(queue: Queue) -> None:
    queue.raising(lambda: StaleError(StaleCode.LEASE_LOST, "x"))
    assert queue.take(queue.put("start")) == Dropped(StaleCode.LEASE_LOST)
    assert queue.stream == []
    assert [ending for _, ending in queue.observer.ended] == [None], "no end is reported"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_worker_that_is_asked_to_stop_stops(queue: Queue, error: type[BaseException]) -> None:
    queue.raising(error)
    with pytest.raises(error):
        queue.take(queue.put("start"))
    assert queue.stream == []
