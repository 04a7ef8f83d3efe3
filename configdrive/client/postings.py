"""Events on their way into a mailbox, and the answer to each."""

from __future__ import annotations

from dataclasses import dataclass

from configdrive.contract.outcome import Outcome
from configdrive.model import EventId, HypervisorName, VmUuid


def queue_name(hypervisor: HypervisorName | str, zone: str | None = None) -> str:
    """Return the name of the Celery queue for a hypervisor, optionally of one zone."""
    return f"configdrive.{hypervisor}" + (f".{zone}" if zone else "")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the clear of an event: enough to wake a worker and to decide on what waits.

    `event_type` is the short word (`deploy`), `queue` the Celery queue's name, `traceparent` the publisher's W3C trace.
    """

    event_id: EventId
    event_type: str
    vm_uuid: VmUuid
    queue: str
    sequence: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """An event on its way into a mailbox. `body` is its JSON, secrets sealed."""

    header: Header
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a posting.

    `accepted` is false for an event id that is known already; `first` is then the first one's outcome so far (`None`
    while it waits).
    """

    event_id: EventId
    accepted: bool
    first: Outcome | None = None
