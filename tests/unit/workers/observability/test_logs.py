"""One log line per step, for people or machines, and never the text of a foreign exception in the latter."""

import json
import logging
from collections.abc import Iterator

import pytest

from configdrive.model import HypervisorName, VmUuid
from configdrive.ports import StepRecord
from tests.unit.documents import UUID
from tests.unit.workers.observability.watching import SECRET, TRACEPARENT, claim, finish, park
from workers.observability.logs import JsonFormatter, LoggingObserver, set_up_logging

STEP = StepRecord("upload", "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 0.012345678)
FAILED = StepRecord("attach", "event-1", "start", VmUuid(UUID), HypervisorName("kvm"), 2.0, "drive_locked")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave pytest its own handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "standard output is for results"
    return captured.err.splitlines()


def test_machines_get_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    LoggingObserver().step(STEP)
    LoggingObserver().step(FAILED)
    done, failed = (json.loads(line) for line in lines(capsys))
    assert done.pop("time").endswith("+00:00")
    assert done == {
        "level": "info",
        "logger": "configdrive.steps",
        "message": f"start upload in 12.3 ms event=event-1 vm={UUID} hypervisor=kvm",
        "step": "upload",
        "event_id": "event-1",
        "event_type": "start",
        "vm_uuid": UUID,
        "hypervisor": "kvm",
        "seconds": 0.012346,
        "error": None,
    }
    assert (failed["level"], failed["error"]) == ("warning", "drive_locked")
    assert failed["message"].startswith("start attach in 2000.0 ms failed: drive_locked event=event-1 ")


def test_a_line_without_a_step_has_no_step_s_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    logging.getLogger("somewhere").warning("two\nlines of %s", "text")
    (line,) = (json.loads(line) for line in lines(capsys))
    assert line.keys() == {"time", "level", "logger", "message"}
    assert line["message"] == "two\nlines of text"


def test_machines_get_an_exception_s_type_only_and_take_nothing_for_a_step_that_is_none() -> None:
    raised = (ValueError, ValueError("swordfish"), None)
    record = logging.LogRecord("x", logging.ERROR, "file", 1, "it failed", (), raised)
    record.record = {"step": "swordfish"}
    line = JsonFormatter().format(record)
    assert json.loads(line)["exception"] == "ValueError"
    assert "swordfish" not in line


def test_people_get_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("console")
    LoggingObserver().step(STEP)
    (line,) = lines(capsys)
    assert line.endswith(f"INFO    configdrive.steps: start upload in 12.3 ms event=event-1 vm={UUID} hypervisor=kvm")


def test_what_a_stranger_s_words_bring_steers_no_terminal_and_ends_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("console", "json"):
        set_up_logging(form)
        logging.getLogger("x").warning("a name: %s", "\x1b[2J\x9b31m\r\nforged line")
        (line,) = lines(capsys)
        assert line.isprintable()
        assert "forged line" in line


def test_an_attempt_s_end_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    LoggingObserver().attempt_ended(claim(attempt=2, traceparent=TRACEPARENT), park("access_denied"), 0.25)
    LoggingObserver().attempt_ended(claim(), finish(), 0.25)
    parked, applied = (json.loads(line) for line in lines(capsys))
    assert parked.pop("time")
    assert parked == {
        "level": "warning",
        "logger": "configdrive.contract.events",
        "message": f"start parked (access_denied) in 250.0 ms, attempt 2 event=event-1 vm={UUID} hypervisor=kvm",
        "event_id": "event-1",
        "event_type": "start",
        "vm_uuid": UUID,
        "hypervisor": "kvm",
        "attempt": 2,
        "traceparent": TRACEPARENT,
        "end": "parked",
        "code": "access_denied",
        "seconds": 0.25,
    }
    assert (applied["level"], applied["end"], applied["code"]) == ("info", "applied", None)
    assert SECRET not in json.dumps([parked, applied])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_whatever_is_said_during_an_attempt_names_its_event_and_vm(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    set_up_logging(log_format)
    LoggingObserver().attempt_started(claim())
    logging.getLogger("a.driver").warning("the host is slow")
    LoggingObserver().step(STEP)
    said, step = lines(capsys)
    assert "the host is slow" in said
    for line in (said, step):
        if log_format == "json":
            found = json.loads(line)
            assert (found["event_id"], found["vm_uuid"], found["attempt"]) == ("event-1", UUID, 1)
        else:
            assert line.count(f"event=event-1 vm={UUID}") == 1
    LoggingObserver().attempt_ended(claim(), finish(), 0.1)
    logging.getLogger("a.driver").warning("nothing is in work")
    assert "event-1" not in lines(capsys)[-1]


def test_setting_up_again_replaces_what_was_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("console")
    set_up_logging("json", logging.WARNING)
    LoggingObserver().step(STEP)
    LoggingObserver().step(FAILED)
    (line,) = lines(capsys)
    assert json.loads(line)["error"] == "drive_locked"
