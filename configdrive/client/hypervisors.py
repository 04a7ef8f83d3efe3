"""The hypervisors that events may name: those of the settings, or every driver that is installed."""

from __future__ import annotations

from importlib.metadata import entry_points

from configdrive.client.settings import ClientSettings
from configdrive.model import HypervisorName

ENTRY_POINTS = "configdrive.hypervisors"


def installed_hypervisors() -> list[HypervisorName]:
    """Return the names of all drivers that are installed, whether or not their SDK is."""
    return sorted(HypervisorName(point.name) for point in entry_points(group=ENTRY_POINTS))


def known_hypervisors(settings: ClientSettings) -> list[HypervisorName]:
    """Return the hypervisors that events may name here."""
    return [HypervisorName(name) for name in settings.hypervisors] or installed_hypervisors()
