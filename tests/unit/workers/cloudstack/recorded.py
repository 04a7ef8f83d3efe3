"""The recorded payloads, and those of a whole life in the same forms."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from configdrive.model import VmUuid

FOLDER = Path(__file__).parents[3] / "data" / "cloudstack"
UUID = VmUuid("991558d9-5dfe-4272-85aa-98cbf7c10830")
PASSWORD = "Hg7kq2mWpz"
NEW_PASSWORD = "N3w-of-reset"
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def body(name: str) -> bytes:
    """Return a recorded payload."""
    return (FOLDER / f"{name}.json").read_bytes()


def at(second: float) -> str:
    """Return a time as CloudStack writes it, so many seconds after the begin."""
    return (BEGIN + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S %z")


def state(old: str, new: str, second: float, *, post: bool = True, vm: str | None = UUID) -> bytes:
    """Return a state event."""
    status = "postStateTransitionEvent" if post else "preStateTransitionEvent"
    return _json(
        {
            "resource": "VirtualMachine",
            "id": vm,
            "old-state": old,
            "new-state": new,
            "status": status,
            "eventDateTime": at(second),
        }
    )


def action(event: str, second: float, *, status: str = "Completed", vm: str = UUID) -> bytes:
    """Return an action event."""
    return _json(
        {
            "eventDateTime": at(second),
            "entityuuid": vm,
            "description": f"Vm Id: {vm}",
            "event": event,
            "entity": "com.cloud.vm.VirtualMachine",
            "status": status,
        }
    )


def short(event: str) -> bytes:
    """Return a short action event."""
    return _json({"details": f"Vm Id: {UUID}", "event": event, "status": "Completed"})


def job(event: str, job_id: str, result: dict[str, Any] | None = None, **command: str) -> bytes:
    """Return a job that has succeeded."""
    return _json(
        {
            "jobId": job_id,
            "commandEventType": event,
            "cmdInfo": {"id": UUID, **command},
            "instanceType": "VirtualMachine",
            "jobResult": {"id": UUID, **(result or {})},
            "instanceUuid": UUID,
            "status": "SUCCEEDED",
        }
    )


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
