"""The gate's questions: what it publishes for each, what it answers, and what the adapter makes of it at Running."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from configdrive.client.postings import Receipt
from configdrive.contract.events import StartEvent
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import AttachBy, DefinedDisk, EventId, VmDefinition
from tests.unit.workers.cloudstack.cloud import Cloud
from tests.unit.workers.cloudstack.recorded import UUID, action, short, state
from workers.cloudstack.gate import Gate, Question, Verdict
from workers.cloudstack.gate_tokens import GateTokens, new_token
from workers.config.cloudstack import DrivesFor

QUESTION = Question(UUID, "h1", VmDefinition("pc", disks=(DefinedDisk("vda", "virtio"),)))
XML = "<disk device='cdrom'><source file='/p/x.iso' startupPolicy='optional'/></disk>"
APPLIED = (Status.APPLIED, {"attach": "orchestrator", "device": "hdd", "xml": XML})


@dataclass
class Waiting:
    """Publishes as usual; the fleet answers what the test says, and what fails first fails once."""

    cloud: Cloud
    answer: tuple[Status, dict[str, str]] | None = APPLIED
    failures: list[Exception] = field(default_factory=list)

    def publish(self, event: Mapping[str, Any]) -> Receipt:
        if self.failures:
            raise self.failures.pop()
        return self.cloud.publisher.publish(event)

    def wait(self, event: Mapping[str, Any], timeout: float) -> Outcome | None:
        assert 0 < timeout <= 5
        if self.answer is None:
            return None
        status, facts = self.answer
        identity = EventId(event["id"])
        return Outcome(identity, event["source"], "start", UUID, 1, status, 0.0, None, "why", facts=facts)


@pytest.fixture
def cloud() -> Cloud:
    cloud = Cloud()
    cloud.now("Starting", "h1")
    return cloud


def gate(cloud: Cloud, waiting: Waiting | None = None, seconds: float = 5, **more: Any) -> Gate:  # noqa: ANN401
    return Gate(
        directory=cloud.directory,
        memory=cloud.memory,
        publisher=waiting or Waiting(cloud),
        clock=cloud.clock,
        hosts={"h1": "kvm-01"},
        drives_for=DrivesFor.OFFERING,
        seconds=seconds,
        **more,
    )


def test_a_start_is_published_as_the_host_is_about_to_define_the_vm(cloud: Cloud) -> None:
    answer = gate(cloud).ask(QUESTION)
    assert (answer.verdict, answer.elements) == (Verdict.DRIVE, (XML,))
    (event,) = cloud.events
    assert isinstance(event, StartEvent)
    data = event.data
    assert (data.attach, data.host, data.primary_storage) == (AttachBy.ORCHESTRATOR, "kvm-01", "primary-1")
    assert data.definition == QUESTION.definition


def test_asked_again_it_publishes_nothing_more(cloud: Cloud) -> None:
    assert gate(cloud).ask(QUESTION) == gate(cloud).ask(QUESTION)
    assert cloud.types == ["start"]


def test_asked_by_the_next_host_or_much_later_it_publishes_a_new_start(cloud: Cloud) -> None:
    gate(cloud).ask(QUESTION)
    cloud.now("Starting", "h2")
    gate(cloud).ask(replace(QUESTION, host="h2"))
    cloud.clock.time += 121
    gate(cloud).ask(replace(QUESTION, host="h2"))
    assert cloud.types == ["start", "start", "start"]


def test_a_vm_of_which_no_stop_was_heard_was_off_before_it_starts(cloud: Cloud) -> None:
    cloud.now("Running", "h1")
    cloud.take(state("Starting", "Running", 10))
    cloud.now("Starting", "h1")
    gate(cloud).ask(QUESTION)
    assert cloud.types == ["start", "stop", "start"]


def test_at_running_the_adapter_makes_sure_of_the_gate_s_drive_once(cloud: Cloud) -> None:
    gate(cloud).ask(QUESTION)
    cloud.now("Running", "h1")
    cloud.take(state("Stopping", "Stopped", 11))  # late: of a life before
    cloud.take(state("Stopped", "Starting", 12))
    cloud.take(state("Starting", "Running", 13))
    cloud.take(short("VM.START"))
    first, second = cloud.events
    assert isinstance(second, StartEvent)
    assert (second.data.ensure, second.data.attach) == (first.data.sequence, AttachBy.FLEET)


def test_running_elsewhere_it_gets_a_drive_of_its_own_there(cloud: Cloud) -> None:
    gate(cloud).ask(QUESTION)
    cloud.now("Running", "h2")
    cloud.take(state("Starting", "Running", 13))
    last = cloud.events[-1]
    assert isinstance(last, StartEvent)
    assert (last.data.ensure, last.data.host) == (None, "h2")


@pytest.mark.parametrize("late", [state("Starting", "Stopped", 13), action("VM.START", 13)])
def test_a_start_that_fails_keeps_its_password(cloud: Cloud, late: bytes) -> None:
    gate(cloud).ask(QUESTION)
    cloud.now("Stopped")
    cloud.take(late)
    assert cloud.types == ["start", "stop unbooted"]


@pytest.mark.parametrize(
    ("now", "verdict"),
    [(("Stopped", None), Verdict.NONE), ((None, None), Verdict.NONE), (("Starting", "h2"), Verdict.NOT_YOURS)],
)
def test_nothing_is_published_about_what_does_not_start_there(
    cloud: Cloud, now: tuple[str | None, str | None], verdict: Verdict
) -> None:
    cloud.now(*now)
    assert gate(cloud).ask(QUESTION).verdict is verdict
    assert cloud.types == []


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((Status.NOT_APPLICABLE, {}), Verdict.NONE),
        ((Status.PARKED, {}), Verdict.FAILED),
        ((Status.APPLIED, {}), Verdict.FAILED),
        (None, Verdict.LATE),
    ],
)
def test_what_becomes_of_the_start_is_the_answer(
    cloud: Cloud, answer: tuple[Status, dict[str, str]] | None, verdict: Verdict
) -> None:
    assert gate(cloud, Waiting(cloud, answer)).ask(QUESTION).verdict is verdict


def test_what_has_waited_for_a_thread_has_waited(cloud: Cloud) -> None:
    asked = gate(cloud).ask(QUESTION, time.monotonic() - 6)
    assert (asked.verdict, cloud.types) == (Verdict.LATE, [])


def test_what_passes_is_waited_for_and_what_does_not_is_said(cloud: Cloud) -> None:
    away = TransientError(TransientCode.VM_BUSY, "another adapter")
    assert gate(cloud, Waiting(cloud, failures=[away, redis.ConnectionError()])).ask(QUESTION).verdict is Verdict.DRIVE
    refused = PermanentError(PermanentCode.MAILBOX_FULL, "too much waits")
    cloud.clock.time += 121
    answer = gate(cloud, Waiting(cloud, failures=[refused])).ask(QUESTION)
    assert (answer.verdict, answer.reason) == (Verdict.FAILED, "mailbox_full: too much waits")


@pytest.mark.parametrize(
    ("failure", "away"),
    [(redis.ConnectionError(), True), (TransientError(TransientCode.VM_BUSY, "another adapter is at it"), False)],
)
def test_an_answer_that_comes_too_late_says_whether_the_next_vm_s_would(
    cloud: Cloud, failure: Exception, *, away: bool
) -> None:
    answer = gate(cloud, Waiting(cloud, failures=[failure] * 9), seconds=0.5).ask(QUESTION)
    assert (answer.verdict, answer.away) == (Verdict.LATE, away)


def test_a_drive_of_cloudstack_s_own_is_the_only_one(cloud: Cloud) -> None:
    gate(cloud).ask(replace(QUESTION, foreign=True))
    cloud.now("Running", "h1")
    cloud.take(state("Starting", "Running", 13))
    assert [json.loads(event.model_dump_json())["data"]["network_offering"]["services"] for event in cloud.events] == [
        {},
        {},
    ]


def test_the_two_newest_tokens_of_a_host_are_valid_and_no_token_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    other = new_token(path, "h2")
    tokens = GateTokens(path)
    made = [new_token(path, "h1") for _ in range(3)]
    assert [tokens.host_of(token) for token in (*made, other, "")] == [None, "h1", "h1", "h2", None]
    assert not any(token in path.read_text() for token in (*made, other))


def test_tokens_that_are_made_at_the_same_time_are_all_valid(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    hosts = [f"h{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda host: new_token(path, host), hosts))
    assert [*map(GateTokens(path).host_of, made)] == hosts


def test_a_file_of_tokens_that_cannot_be_read_any_more_is_logged_once_and_what_was_read_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    token = new_token(path, "h1")
    tokens = GateTokens(path)
    path.write_text(f"h1 {token}\n")  # a token in the place of its hash
    assert [tokens.host_of(token) for _ in range(2)] == ["h1", "h1"]
    (record,) = caplog.records
    assert "has a line that is no host and hash" in record.message
    assert token not in record.message


def test_hashes_may_be_read_by_anybody_and_written_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = new_token(path, "h1")
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o664)
    for refused in (lambda: GateTokens(path), lambda: new_token(path, "h1")):
        with pytest.raises(PermanentError, match="can be changed by others") as caught:
            refused()
        assert caught.value.remedy == f"chmod 644 {path}"
    path.chmod(0o644)
    assert GateTokens(path).host_of(token) == "h1"


def test_each_answer_is_counted_also_one_that_nobody_foresaw(cloud: Cloud) -> None:
    counted: list[Verdict] = []
    asked = gate(cloud, watch=lambda verdict, seconds: counted.append(verdict) if seconds < 5 else None)
    asked.ask(QUESTION)
    asked.refuse()
    cloud.directory.fails = ZeroDivisionError("sw0rdfish")
    cloud.clock.time += 121
    answer = asked.ask(QUESTION)
    assert counted == [Verdict.DRIVE, Verdict.REFUSED, Verdict.FAILED]
    assert answer.reason == "unforeseen ZeroDivisionError: please report it"
