"""The hypervisors of a process: which drivers are installed, which ones events may name, and their queues."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from configdrive.model import HypervisorName

if TYPE_CHECKING:
    from workers.config.settings import Settings

ENTRY_POINTS = "configdrive.hypervisors"


def installed_hypervisors() -> list[HypervisorName]:
    """Return the names of all drivers that are installed, whether or not their SDK is."""
    return sorted({HypervisorName(point.name) for point in entry_points(group=ENTRY_POINTS)})


def known_hypervisors(settings: Settings) -> list[HypervisorName]:
    """Return the hypervisors that events may name here."""
    return [HypervisorName(name) for name in settings.hypervisors] or installed_hypervisors()


def queues(settings: Settings, *hypervisors: str) -> list[str]:
    """Return the queues of these hypervisors, of each the general one and one for each zone; of all that are known."""
    from tasks.wakeup import queue_name  # noqa: PLC0415 - who asks for names only needs no Celery

    names = hypervisors or known_hypervisors(settings)
    return [queue_name(name, zone) for name in names for zone in (None, *settings.zones)]
