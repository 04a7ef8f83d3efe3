"""Events on their way into a mailbox, and the answer to each."""

from __future__ import annotations

from dataclasses import dataclass, field

from configdrive.contract.event_key import event_key
from configdrive.contract.outcome import Outcome
from configdrive.model import EventId, EventKey, HypervisorName, VmUuid


def queue_name(hypervisor: HypervisorName | str, zone: str | None = None) -> str:
    """Return the name of the Celery queue for a hypervisor, optionally of one zone."""
    return f"configdrive.{hypervisor}" + (f".{zone}" if zone else "")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the clear of an event: enough to wake a worker and to decide on what waits.

    `event_type` is the short word (`deploy`), `queue` the Celery queue's name, `traceparent` the publisher's W3C trace.
    `forged_key` is what a stranger has written in the place of the event's own key: the entry lies under it. `name` is
    the VM's instance name, which a wake-up shows to people, and by which nothing goes.
    """

    event_id: EventId
    source: str
    event_type: str
    vm_uuid: VmUuid
    queue: str
    sequence: int
    traceparent: str | None = None
    forged_key: EventKey | None = None
    name: str | None = field(default=None, compare=False)

    @property
    def key(self) -> EventKey:
        """What everything that is kept of the event goes by."""
        return self.forged_key or event_key(self.source, self.event_id)


@dataclass(frozen=True, slots=True)
class Posting:
    """An event on its way into a mailbox. `body` is its JSON, secrets sealed."""

    header: Header
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a posting.

    `accepted` is false for an event that is known already; `first` is then its outcome so far (`None` while it waits).
    """

    event_id: EventId
    source: str
    accepted: bool
    first: Outcome | None = None

    @property
    def key(self) -> EventKey:
        """The event's key: what `Publisher.wait` goes by, and the task's id in Flower."""
        return event_key(self.source, self.event_id)
