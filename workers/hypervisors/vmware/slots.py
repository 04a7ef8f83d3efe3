"""The choice of the drive that is the config drive: pure decisions on what was read.

The config drive is the drive with an image of a fleet in it: one of this VM's before another's, which a clone has of
the VM that it was made of. A VM without one gets the first of the inventory's places that is an empty CD drive, else
the first that is free; a running one the first that it can take while it runs. A drive with any other medium is never
touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Place
from configdrive.ports import DriveContent, EmptyDrive, Inserted, NoDrive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.hypervisors.vmware.records import Drive, SeenVm

SATA_UNITS: Final = 30
"""Drives that one AHCI controller takes."""

SATA_BUSES: Final = 4
"""AHCI controllers that one VM takes."""

_USERS: Final = ("sata", 0, 0)
"""Where the vSphere client puts the CD drive of a new VM without IDE: users have their own ISOs in it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for the config drive.

    Args:
        kind: `ide` or `sata`.
        bus: number of the controller.
        unit: number on it.
        controller: the controller's key; `None` when the VM does not have it yet.
        drive: what is there now.
    """

    kind: str
    bus: int
    unit: int
    controller: int | None
    drive: Drive | None = None

    @property
    def device(self) -> str:
        """Its name, as in a VM's configuration file."""
        return f"{self.kind}{self.bus}:{self.unit}"


def find_slot(seen: SeenVm, wanted: Sequence[str]) -> Slot:
    """Find the drive that is, or can be made, the config drive now.

    Raises:
        PermanentError: `NO_FREE_SLOT` when all places are taken by something else.
    """
    held = sorted(seen.fleet_drives, key=lambda one: one[0].vm_uuid != seen.uuid)
    if held:
        return slot_of(seen, held[0][1])
    possible = list(_slots(seen, wanted))
    present = [slot for slot in possible if slot.drive is not None]
    free = [slot for slot in possible if slot.drive is None and (slot.kind == "sata" or not seen.running)]
    ordered = [*present, *free]  # an empty drive may be one that a detach has left to the running VM
    if not ordered:
        detail = f"VM {seen.uuid} has no free config drive slot (tried: {', '.join(wanted)})"
        remedy = "power it off first, free one, or name others in the inventory's cd_slots"
        raise PermanentError(PermanentCode.NO_FREE_SLOT, detail, remedy)
    return ordered[0]


def expected_device(wanted: Sequence[str]) -> str:
    """Name the drive that a VM which is not there yet would get."""
    kind, bus, unit = ([*wanted[0].split(":"), "0", "1"])[:3]
    return f"{kind}{bus}:{unit}"


def slot_of(seen: SeenVm, drive: Drive) -> Slot:
    """Say where a drive is."""
    kind, bus = seen.controllers.get(drive.controller, ("cd", drive.controller))
    return Slot(kind, bus, drive.unit, drive.controller, drive)


def _slots(seen: SeenVm, wanted: Sequence[str]) -> Iterator[Slot]:
    """Give every wanted place that is an empty CD drive, or where nothing is."""
    keys = {where: key for key, where in seen.controllers.items()}
    for choice in wanted:
        kind, *numbers = choice.split(":")
        if numbers:
            bus, unit = (int(number) for number in numbers)
            places = [(bus, unit)]
        else:
            buses = [bus for one, bus in keys if one == kind] + [
                bus for bus in range(SATA_BUSES) if (kind, bus) not in keys
            ]
            places = [(bus, unit) for bus in buses for unit in range(SATA_UNITS) if (kind, bus, unit) != _USERS]
        for bus, unit in places:
            controller = keys.get((kind, bus))
            if controller is None:
                if kind == "sata":  # IDE controllers cannot be added; a VM has two from the start, or none
                    yield Slot(kind, bus, unit, None)
                continue
            drive = next((one for one in seen.drives if (one.controller, one.unit) == (controller, unit)), None)
            if drive is not None and drive.empty:
                yield Slot(kind, bus, unit, controller, drive)
            elif (controller, unit) not in seen.taken:
                yield Slot(kind, bus, unit, controller)


def media_of(seen: SeenVm, place_of: Callable[[Drive], Place | None]) -> list[Inserted]:
    """Give every image of a fleet in any drive, with the storage that it lies on."""
    return [Inserted(image, place_of(drive)) for image, drive in seen.fleet_drives]


def content(
    seen: SeenVm, place_of: Callable[[Drive], Place | None], storage: Place | None, wanted: Sequence[str]
) -> DriveContent:
    """Say what is in the config drive: what still has to go is never hidden by what is right.

    Another VM's image is reported first, then one that lies elsewhere than `storage`.
    """
    found = media_of(seen, place_of)
    if found:
        return min(found, key=lambda one: (one.name.vm_uuid == seen.uuid, one.place == storage, str(one.name)))
    present = any(slot.drive is not None for slot in _slots(seen, wanted))
    return EmptyDrive() if present else NoDrive()
