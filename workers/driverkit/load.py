"""The loading of a driver: its entry point, and its table of the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Protocol, cast

from configdrive.client.hypervisors import ENTRY_POINTS, installed_hypervisors
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HypervisorName
from configdrive.ports import HypervisorDriver
from workers.config.extras import how_to_install
from workers.config.inventory import Table
from workers.config.settings import Settings


class DriverFactory(Protocol):
    """What an entry point of the group `configdrive.hypervisors` names: usually the driver's class."""

    def from_inventory(
        self,
        section: Mapping[str, object],
        *,
        force_eject: bool,
        call_timeout: float,
    ) -> HypervisorDriver:
        """Make the driver from its table of the inventory.

        Raises:
            PermanentError: `MISCONFIGURED`; names the field and the remedy.
        """


def make_driver(
    settings: Settings, name: HypervisorName, inventory: Mapping[HypervisorName, Table]
) -> HypervisorDriver:
    """Load one driver through its entry point and give it its table of the inventory.

    Raises:
        PermanentError: `UNKNOWN_HYPERVISOR` or `MISCONFIGURED`.
    """
    factory = _factory(name)
    section = inventory.get(name)
    if section is None:
        detail = f"the inventory {settings.inventory} has no table [{name}]"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, f"add at least [{name}.hosts.<name>]")
    return factory.from_inventory(section, force_eject=settings.force_eject, call_timeout=settings.call_seconds)


def _factory(name: HypervisorName) -> DriverFactory:
    points = entry_points(group=ENTRY_POINTS, name=name)
    if not points:
        detail = f"no driver is called {name!r}"
        raise PermanentError(
            PermanentCode.UNKNOWN_HYPERVISOR,
            detail,
            f"installed are: {', '.join(installed_hypervisors())}",
        )
    try:
        return cast("DriverFactory", next(iter(points)).load())
    except ImportError as error:
        detail = f"the driver {name!r} needs the module {error.name!r}, which is not installed"
        remedy = how_to_install(name)
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None
