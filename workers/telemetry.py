"""What the fleet tells of itself while it works: one log line per step. Nothing here ever sees a drive's content."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

from typing_extensions import override

from configdrive.ports import Clock, Observer, StepRecord

_steps = logging.getLogger("configdrive.steps")


class SystemClock(Clock):
    """The machine's clock."""

    @override
    def now(self) -> float:
        return time.time()


class LoggingObserver(Observer):
    """Writes each step as one line, correlated by event id and VM uuid."""

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


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and a step's fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        step = getattr(record, "record", None)
        if isinstance(step, StepRecord):
            line |= {
                "step": step.step,
                "event_id": step.event_id,
                "event_type": step.event_type,
                "vm_uuid": step.vm_uuid,
                "hypervisor": step.hypervisor,
                "seconds": round(step.seconds, 6),
                "error": step.error,
            }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)


def set_up_logging(log_format: str, level: int = logging.INFO) -> None:
    """Send all logs to standard error, one line each, for people (`console`) or machines (`json`)."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
