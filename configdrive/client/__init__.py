"""The one import of an orchestrator: `connect()` to the fleet's Redis, publish events, and see what became of them.

Knows Redis and the message that wakes a worker; needs neither Celery nor any module of `tasks` or `workers`.
"""

from configdrive.client.postings import Receipt
from configdrive.client.publisher import Event, Publisher, connect
from configdrive.client.settings import ClientSettings
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError

__all__ = [
    "ClientSettings",
    "Event",
    "Outcome",
    "PermanentCode",
    "PermanentError",
    "Publisher",
    "Receipt",
    "Status",
    "connect",
]
