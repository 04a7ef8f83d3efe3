"""The log of the fleet's work: a line for each step and each attempt. Nothing here sees a drive's content."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from typing_extensions import override

from configdrive.lifecycle.settled import Settled
from configdrive.ports import StepRecord
from configdrive.printable import printable
from tasks.mailbox import Claim, Ending
from workers.observability.observers import WorkObserver, hypervisor_of, what_became

_steps = logging.getLogger("configdrive.steps")
_events = logging.getLogger("configdrive.contract.events")


_in_work: ContextVar[Claim | None] = ContextVar("claim in work", default=None)
"""What this thread works on: whatever is logged meanwhile, by whom ever, names its event and VM."""


class LoggingObserver(WorkObserver):
    """Writes each step and each end of an attempt as one line, correlated by event id and VM uuid."""

    @override
    def attempt_started(self, claim: Claim) -> None:
        _in_work.set(claim)

    @override
    def step(self, record: StepRecord) -> None:
        _steps.log(
            logging.WARNING if record.error else logging.INFO,
            "%s %s in %.1f ms%s event=%s vm=%s hypervisor=%s",
            record.event_type,
            record.step,
            record.seconds * 1000,
            f" failed: {record.error}" if record.error else "",
            record.event_id,
            record.vm_uuid,
            record.hypervisor,
            extra={"record": record},
        )

    @override
    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        _in_work.set(None)
        end, code = what_became(ending)
        summary = Summary(claim, end, code, seconds)
        _events.log(
            logging.INFO if isinstance(ending, Settled) else logging.WARNING,
            "%s %s%s in %.1f ms, attempt %d event=%s vm=%s hypervisor=%s",
            claim.header.event_type,
            end,
            f" ({code})" if code else "",
            seconds * 1000,
            claim.attempt,
            claim.header.event_id,
            claim.header.vm_uuid,
            hypervisor_of(claim.header.queue),
            extra={"record": summary},
        )

    @override
    def leftover_removed(self, queue: str) -> None:
        """`tasks.leftovers` says which host and VM it was."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One attempt, for a log line: how it ended (a status, `retry` or `lost`), with which code, after how long."""

    claim: Claim
    end: str
    code: str
    seconds: float


class ConsoleFormatter(logging.Formatter):
    """One line for people. What is said during an attempt names its event and VM, whoever says it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        line, claim = printable(super().formatMessage(record)), _in_work.get()
        if claim is None or isinstance(getattr(record, "record", None), StepRecord | Summary):
            return line
        return f"{line} event={claim.header.event_id} vm={claim.header.vm_uuid}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message; the event, when one is in work; what is known of it."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        claim = _in_work.get()
        if claim is not None:
            line |= _of_claim(claim)
        match getattr(record, "record", None):
            case StepRecord() as step:
                line |= _of_step(step)
            case Summary() as summary:
                line |= _of_claim(summary.claim) | {
                    "end": summary.end,
                    "code": summary.code or None,
                    "seconds": round(summary.seconds, 6),
                }
            case _:
                pass
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)


def _of_claim(claim: Claim) -> dict[str, object]:
    header = claim.header
    about: dict[str, object] = {
        "event_id": header.event_id,
        "event_type": header.event_type,
        "vm_uuid": header.vm_uuid,
        "hypervisor": hypervisor_of(header.queue),
        "attempt": claim.attempt,
    }
    return about if header.traceparent is None else about | {"traceparent": header.traceparent}


def _of_step(step: StepRecord) -> dict[str, object]:
    return {
        "step": step.step,
        "event_id": step.event_id,
        "event_type": step.event_type,
        "vm_uuid": step.vm_uuid,
        "hypervisor": step.hypervisor,
        "seconds": round(step.seconds, 6),
        "error": step.error,
    }


def set_up_logging(log_format: str, level: int = logging.INFO) -> None:
    """Send all logs to standard error, one line each, for people (`console`) or machines (`json`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
