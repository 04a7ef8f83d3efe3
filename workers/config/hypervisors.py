"""The queues of the hypervisors that events may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.client.hypervisors import known_hypervisors
from configdrive.client.postings import queue_name

if TYPE_CHECKING:
    from workers.config.settings import Settings


def queues(settings: Settings, *hypervisors: str) -> list[str]:
    """Return the queues of these hypervisors, of each the general one and one for each zone; of all that are known."""
    names = hypervisors or known_hypervisors(settings)
    return [queue_name(name, zone) for name in names for zone in (None, *settings.zones)]
