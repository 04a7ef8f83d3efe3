"""Claims and ends of attempts, for observers."""

from configdrive.client.postings import Header
from configdrive.contract.outcome import Outcome, Status
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventId, VmUuid
from tasks.mailbox import Claim, Park
from tests.unit.documents import UUID

SECRET = "swordfish"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def claim(
    event_type: str = "start",
    queue: str = "configdrive.kvm",
    *,
    event_id: str = "event-1",
    attempt: int = 1,
    traceparent: str | None = None,
) -> Claim:
    header = Header(EventId(event_id), "/tests", event_type, VmUuid(UUID), queue, 7, traceparent)
    return Claim(header, 3, "owner", attempt, 0, SECRET.encode(), None, ())


def outcome(status: Status, code: str | None = None) -> Outcome:
    return Outcome("event-1", "/tests", "start", UUID, 7, status, 0.0, code, detail=SECRET)


def finish(status: Status = Status.APPLIED, code: str | None = None) -> Settled:
    return Settled(outcome(status, code), state=SECRET)


def park(code: str) -> Park:
    return Park(outcome(Status.PARKED, code))
