"""The four forms of JSON that CloudStack publishes, each read into one `Notice`. Pure: bytes in, data out.

| form          | known by            | the VM's uuid stands in                              | its time         |
|---------------|---------------------|------------------------------------------------------|------------------|
| action event  | `event`             | `entityuuid`, `VirtualMachine`, `description`        | `eventDateTime`  |
| its short one | `event`, `details`  | `details`                                            |                  |
| job           | `commandEventType`  | `instanceUuid`, `jobResult`, `cmdInfo`, `ctxDetails` |                  |
| state event   | `old-state`         | `id`                                                 | `eventDateTime`  |

The uuid may be null in each of them: then the next place is asked, and a place that names two VMs counts as none.
A job's parameters may hold user data, and its result a password: neither is kept, shown or compared, but for the
password, which is a secret from here on. Present versions of CloudStack mask it in what they publish (`masked`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import SecretStr

from configdrive.model import VmUuid
from workers.cloudstack import json_values
from workers.cloudstack.json_values import Document

VM: Final = "VirtualMachine"
MAX_PAYLOAD_BYTES: Final = 4 * 2**20
"""Bytes of one payload: a job's parameters with the largest user data that CloudStack takes (1 MiB) fit well."""

_TIME: Final = re.compile(r"(?P<day>\d{4}-\d\d-\d\d) (?P<time>\d\d:\d\d:\d\d) (?P<offset>[+-]\d{4})")
"""Java's `yyyy-MM-dd HH:mm:ss Z`, in the time zone of the management server."""

_CONTEXT: Final = "interface com.cloud.vm.VirtualMachine"
_MASK: Final = "**"


class Form(StrEnum):
    """Which of the four."""

    ACTION = "action event"
    SHORT = "short action event"
    JOB = "job"
    STATE = "state event"


@dataclass(frozen=True, slots=True)
class Notice:
    """What CloudStack says has happened.

    Args:
        form: as what it was said.
        resource: what it is about: `VirtualMachine`, or another resource.
        event: `VM.START` and so on; of a state event empty.
        status: `Completed`, `SUCCEEDED`, `postStateTransitionEvent`, ...
        vm: the VM's uuid; `None` when it is nowhere, or not clear.
        at: when, by CloudStack's clock, to the second; `None` when it does not say so.
        old: the state before, of a state event.
        new: the state after.
        expunged: a job that was asked to leave nothing of the VM.
        job: its id.
        password: the guest's new password, when the job's result has one.
        identities: equal in two notices that are the same one, delivered twice.
        digest: of its bytes, for a notice that says neither when it was nor which one it is.
    """

    form: Form
    resource: str
    event: str
    status: str
    vm: VmUuid | None
    at: datetime | None = None
    old: str = ""
    new: str = ""
    expunged: bool = False
    job: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    identities: tuple[str, ...] = ()
    digest: str = ""

    @property
    def words(self) -> str:
        """What it says, for people."""
        return f"{self.old} -> {self.new}" if self.form is Form.STATE else f"{self.event} {self.status}"

    @property
    def masked(self) -> bool:
        """Whether the password was made unreadable by CloudStack."""
        return self.password is not None and _MASK in self.password.get_secret_value()


class UnreadableError(Exception):
    """It is no payload of CloudStack's; the message says why, and nothing of what stands there."""


def read(body: bytes, *, routing_key: str = "", event_id: str | None = None) -> Notice | None:
    """Read one payload; `None` for JSON that is about no event (CloudStack's own trial of a webhook, for one).

    Args:
        body: the JSON, as it was published.
        routing_key: RabbitMQ's, which names the VM too.
        event_id: a webhook's `X-CS-Event-ID`.

    Raises:
        UnreadableError: it is too large, or no JSON object.
    """
    if len(body) > MAX_PAYLOAD_BYTES:
        raise UnreadableError(f"has {len(body)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    found = json_values.loads(body)
    if not isinstance(found, dict):
        raise UnreadableError("is not a JSON object")
    for mark, reader in _READERS.items():
        if mark in found:
            notice = reader(found, json_values.uuid(routing_key.rpartition(".")[2]))
            return replace(notice, identities=_identities(notice, event_id), digest=hashlib.sha256(body).hexdigest())
    return None


def _identities(notice: Notice, event_id: str | None) -> tuple[str, ...]:
    """Name a notice by what it says, when it says when, by its job, and by the webhook's own word for it."""
    form = Form.ACTION if notice.form is Form.SHORT else notice.form
    if notice.job is not None:
        said = f"{form} {notice.job} {notice.status}"
    elif notice.at is not None:
        said = f"{form} {notice.vm} {notice.words} {notice.status} {notice.at.timestamp():.0f}"
    else:
        said = ""
    return tuple(name for name in (said, f"webhook {event_id}" if event_id else "") if name)


def _state(found: Document, addressed: VmUuid | None) -> Notice:
    at = _time(found.get("eventDateTime"))
    old, new, status = (json_values.word(found.get(name)) for name in ("old-state", "new-state", "status"))
    resource = json_values.text(found.get("resource")) or ""
    vm = _agreed([found.get("id")], [addressed])
    return Notice(Form.STATE, resource.rpartition(".")[2], "", status, vm, at, old, new)


def _action(found: Document, addressed: VmUuid | None) -> Notice:
    event, status = (json_values.word(found.get(name)) for name in ("event", "status"))
    at = _time(found.get("eventDateTime"))
    vm = _agreed(
        [found.get("entityuuid")],
        [found.get(VM), addressed],
        json_values.uuids_in(found.get("description")),
        json_values.uuids_in(found.get("details")),
    )
    entity = json_values.text(found.get("entity"))
    resource = entity.rpartition(".")[2] if entity else VM if event.startswith("VM.") else ""
    form = Form.SHORT if "details" in found and "description" not in found else Form.ACTION
    return Notice(form, resource, event, status, vm, at)


def _job(found: Document, addressed: VmUuid | None) -> Notice:
    event, status = (json_values.word(found.get(name)) for name in ("commandEventType", "status"))
    result = json_values.document(found.get("jobResult"))
    result = json_values.document(result.get("virtualmachine")) or result
    command = json_values.document(found.get("cmdInfo"))
    context = json_values.document(command.get("ctxDetails"))
    vm = _agreed(
        [found.get("instanceUuid")],
        [addressed],
        [result.get("id")],
        [command.get("uuid"), command.get("virtualmachineid"), command.get("id"), context.get(_CONTEXT)],
    )
    resource = json_values.text(found.get("instanceType")) or ""
    job = json_values.word(found.get("jobId")) or None
    password = json_values.text(result.get("password"))
    expunged = str(command.get("expunge", "")).lower() == "true" or event == "VM.EXPUNGE"
    return Notice(
        Form.JOB,
        VM if event.startswith("VM.") else resource,
        event,
        status,
        vm,
        expunged=expunged,
        job=job,
        password=None if password is None else SecretStr(password),
    )


_READERS: Final[dict[str, Callable[[Document, VmUuid | None], Notice]]] = {
    "commandEventType": _job,
    "old-state": _state,
    "event": _action,
}
"""The field by which a form is known, first one first."""


def _agreed(*places: Iterable[object]) -> VmUuid | None:
    """Return the uuid that the first place which has one names; a place that has two names none."""
    for place in places:
        found = {uuid for value in place if (uuid := json_values.uuid(value)) is not None}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _time(value: object) -> datetime | None:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        return None if match is None else datetime.fromisoformat(f"{match['day']}T{match['time']}{match['offset']}")
    except ValueError:
        return None
