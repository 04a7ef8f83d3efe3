"""One turn: from the claim to what is written down, whatever happens in between."""

from __future__ import annotations

import logging
import threading

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError, StaleCode, StaleError, TransientCode, TransientError
from configdrive.model import EventId, VmUuid
from tasks.attempt import Ended, Later, Nothing
from tasks.mailbox import Claim, Ending, Finish, NotNow, PersonsWord, Wake
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HOST_1, VM
from tests.unit.fakes.queue import OutOfTimeError, Queue

SECRET = "sw0rdfish"


@pytest.fixture
def queue() -> Queue:
    return Queue()


def ended(verdict: object) -> Outcome:
    assert isinstance(verdict, Ended), verdict
    return verdict.outcome


def away() -> TransientError:
    return TransientError(TransientCode.HOST_UNREACHABLE, "host-1 does not answer", "look after it")


# --- the usual way ----------------------------------------------------------------------------------------------------


def test_an_event_is_done_remembered_and_told(queue: Queue) -> None:
    outcome = ended(queue.take(queue.put("deploy", start=True, guest={"password": "first"})))
    assert outcome.status is Status.APPLIED
    assert queue.fleet.password() == "first"
    assert queue.mailbox.stream == [outcome]
    assert queue.mailbox.pending() == {}
    queue.take(queue.put("stop"))
    assert queue.fleet.medium() is None, "the state was remembered"


def test_the_next_event_is_woken_in_order(queue: Queue) -> None:
    first, second, third = queue.put("deploy"), queue.put("update"), queue.put("start")
    assert queue.take(second) == Nothing(NotNow.NOT_HEAD)
    queue.take(first)
    assert queue.sent == [Wake(second, 1)]
    queue.take(second)
    queue.take(third)
    assert queue.sent == [Wake(second, 1), Wake(third, 1)]
    assert [outcome.event_id for outcome in queue.mailbox.stream] == ["event-1", "event-2", "event-3"]


def test_a_wake_up_that_came_twice_finds_nothing_to_do_and_the_outcome(queue: Queue) -> None:
    header = queue.put("deploy")
    outcome = ended(queue.take(header))
    assert queue.take(header) == Nothing(NotNow.EMPTY, outcome)
    assert queue.take(queue.put("start")) is not None
    assert len(queue.mailbox.stream) == 2


def test_a_wake_up_for_a_vm_that_a_worker_is_at_finds_nothing_to_do(queue: Queue) -> None:
    header = queue.put("deploy")
    queue.claim(header)
    assert queue.take(header) == Nothing(NotNow.BUSY)


def test_a_wake_up_for_nobody_finds_nothing_to_do(queue: Queue) -> None:
    assert queue.turns.take(VmUuid(OTHER_UUID), EventId("never-published")) == Nothing(NotNow.EMPTY)


def test_what_waits_behind_an_event_supersedes_it(queue: Queue) -> None:
    start, _stop = queue.put("start"), queue.put("stop")
    assert ended(queue.take(start)).code is StaleCode.SUPERSEDED


def test_a_destroyed_vm_is_told_to_the_store_as_gone(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[bool] = []
    done = queue.mailbox.done

    def told(claim: Claim, ending: Ending) -> Wake | None:
        assert isinstance(ending, Finish)
        gone.append(ending.gone)
        return done(claim, ending)

    monkeypatch.setattr(queue.mailbox, "done", told)
    queue.take(queue.put("deploy"))
    queue.take(queue.put("destroy"))
    assert gone == [False, True]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_what_may_pass_is_tried_again_after_a_pause_and_not_before(queue: Queue) -> None:
    header = queue.put("start")
    queue.fleet.cloud.down.add(HOST_1)
    verdict = queue.take(header)
    assert isinstance(verdict, Later)
    assert 4.0 <= verdict.after <= 8.0
    assert verdict.code is TransientCode.HOST_UNREACHABLE
    assert queue.mailbox.stream == []
    assert queue.take(header) == Nothing(NotNow.TOO_EARLY)
    queue.fleet.clock.time += verdict.after
    assert queue.mailbox.sweep("configdrive.memory", 10) == [Wake(header, 2)]
    queue.fleet.cloud.down.clear()
    outcome = ended(queue.take(header))
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 2)


def test_what_does_not_pass_is_parked_under_its_code(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    header, behind = queue.put("start"), queue.put("update")
    queue.raising(away)
    for _ in range(2):
        assert isinstance(queue.take(header), Later)
        queue.fleet.clock.time += 13
    outcome = ended(queue.take(header))
    assert (outcome.status, outcome.code, outcome.attempts) == (Status.PARKED, TransientCode.HOST_UNREACHABLE, 3)
    assert (outcome.detail, outcome.remedy) == ("host-1 does not answer", "look after it")
    assert (outcome.sequence, outcome.event_type, outcome.at) == (1, "start", queue.fleet.clock.time)
    assert queue.take(header) == Nothing(NotNow.PARKED, outcome)
    assert queue.take(behind) == Nothing(NotNow.NOT_HEAD)
    assert queue.mailbox.parked(10) == [(VM, queue.fleet.clock.time)]
    parked = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "parked start" in parked[-1].getMessage()
    assert VM in parked[-1].getMessage()


def test_a_parked_event_goes_on_when_a_person_says_so(queue: Queue) -> None:
    header = queue.put("start")
    queue.raising(lambda: PermanentError(PermanentCode.ACCESS_DENIED, "no"))
    assert ended(queue.take(header)).status is Status.PARKED
    queue.mended()
    assert queue.mailbox.word(VM, header.event_id, PersonsWord.RETRY, None) == Wake(header, 1)
    assert ended(queue.take(header)).status is Status.APPLIED


def test_a_destroy_goes_through_what_is_parked_before_it(queue: Queue) -> None:
    queue.take(queue.put("deploy", start=True))
    header = queue.put("start")
    queue.raising(lambda: PermanentError(PermanentCode.ACCESS_DENIED, "no"))
    queue.take(header)
    queue.mended()
    destroy = queue.put("destroy")
    assert ended(queue.take(header)).code is StaleCode.SUPERSEDED
    assert ended(queue.take(destroy)).status is Status.APPLIED
    assert queue.fleet.generations() == []


def test_an_attempt_whose_time_is_over_is_tried_again(queue: Queue) -> None:
    def slow(_verb: str, _at: At) -> None:
        raise OutOfTimeError

    queue.fleet.cloud.hook = slow
    verdict = queue.take(queue.put("start"))
    assert isinstance(verdict, Later)
    assert verdict.code is TransientCode.TASK_TIMEOUT


def test_what_nobody_foresaw_is_tried_a_few_times_and_then_parked_without_its_text(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise() -> Exception:
        return RuntimeError(SECRET)

    header = queue.put("start", guest={"password": SECRET})
    queue.raising(surprise)
    verdict = queue.take(header)
    assert isinstance(verdict, Later)
    assert verdict.code is PermanentCode.UNCLASSIFIED
    queue.fleet.clock.time += 13
    outcome = ended(queue.take(header))
    assert (outcome.status, outcome.code) == (Status.PARKED, PermanentCode.UNCLASSIFIED)
    assert "RuntimeError" in outcome.detail
    assert SECRET not in caplog.text + outcome.to_json() + queue.mailbox.everything()


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


def test_a_worker_that_has_lost_its_vm_writes_nothing(queue: Queue) -> None:
    header = queue.put("start")

    def overtaken(verb: str, at: At) -> None:
        if (verb, at) == ("upload", At.AFTER):
            queue.fleet.clock.time += 31
            queue.claim(header)

    queue.fleet.cloud.hook = overtaken
    assert queue.take(header) == Nothing(StaleCode.LEASE_LOST)
    assert queue.fleet.cloud.verbs[-1] == "upload", "the next step was not taken"
    assert queue.mailbox.stream == []
    assert queue.sent == []
    box = queue.mailbox.boxes[VM]
    assert (box.epoch, box.owned, len(box.mail)) == (2, True, 1), "the lease is the other worker's"


def test_a_worker_that_lost_its_vm_at_the_very_end_writes_nothing(queue: Queue) -> None:
    header = queue.put("deploy")

    def overtaken(verb: str, at: At) -> None:
        if (verb, at) == ("upload", At.AFTER):
            queue.fleet.clock.time += 31
            queue.claim(header)

    queue.fleet.cloud.hook = overtaken
    assert queue.take(header) == Nothing(StaleCode.LEASE_LOST)
    assert queue.mailbox.stream == []
    assert queue.mailbox.boxes[VM].state is None


def test_stale_work_that_the_use_case_meets_is_dropped(queue: Queue) -> None:
    queue.raising(lambda: StaleError(StaleCode.LEASE_LOST, "x"))
    assert queue.take(queue.put("start")) == Nothing(StaleCode.LEASE_LOST)
    assert queue.mailbox.stream == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_worker_that_is_told_to_stop_stops(queue: Queue, error: type[BaseException]) -> None:
    queue.raising(error)
    with pytest.raises(error):
        queue.take(queue.put("start"))
    assert queue.mailbox.stream == []


def test_however_many_events_there_are_one_thread_keeps_their_leases(queue: Queue) -> None:
    before = set(threading.enumerate())
    queue.take(queue.put("deploy"))
    queue.take(queue.put("start"))
    queue.raising(away)
    queue.take(queue.put("start"))
    assert len(set(threading.enumerate()) - before) <= 1
