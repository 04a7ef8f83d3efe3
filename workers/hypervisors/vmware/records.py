"""The records of what was read of a VM at one moment: the VM itself, and its CD drives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configdrive.model import PowerState
from workers.hypervisors.vmware.paths import image_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import ImageName, VmUuid


@dataclass(frozen=True, slots=True)
class Drive:
    """A CD drive.

    Args:
        device: pyvmomi's object.
        controller: key of the controller that it hangs on.
        unit: number on that one.
        path: of the ISO in it, as a datastore path; `None` when there is none.
        store: managed object id of the ISO's datastore; empty when it is not said.
        empty: nothing is in it, no ISO and no drive of the host.
        connected: the guest has the medium now.
        starts: the guest will have it at its next power-on.
    """

    device: Any = field(compare=False)
    controller: int
    unit: int
    path: str | None
    store: str
    empty: bool
    connected: bool
    starts: bool

    @property
    def image(self) -> ImageName | None:
        """The fleet's image in it, whosever it is."""
        return None if self.path is None else image_at(self.path)


@dataclass(frozen=True, slots=True)
class SeenVm:
    """One VM, read at one moment.

    Args:
        ref: pyvmomi's object.
        uuid: by which it is known: the BIOS's, or the instance's when that one was asked for.
        host: managed object id of its host; empty when it has none.
        version: of its configuration; `None` when the seen says what a change has left, and was not read.
        controllers: key -> (`ide` or `sata`, bus number).
        pci: key of the PCI controller, on which another controller would hang.
        taken: (controller key, unit) of every device.
        drives: its CD drives.
        root: datastore of the disk that it boots from: its managed object id, or its name where there is no id.
        home: the directory with its configuration: the datastore's name, and the path there.
        stores: managed object ids of the datastores that it uses.
        question: what vSphere asks about it.
    """

    ref: Any
    uuid: VmUuid
    name: str
    power: PowerState
    host: str
    version: str | None
    controllers: dict[int, tuple[str, int]]
    pci: int
    taken: frozenset[tuple[int, int]]
    drives: tuple[Drive, ...]
    root: str | None
    home: tuple[str, str] | None
    stores: tuple[str, ...]
    question: Any

    @property
    def running(self) -> bool:
        """Whether a guest runs in it."""
        return self.power is PowerState.RUNNING

    @property
    def changeable(self) -> bool:
        """Whether a change may be decided on it: it was read as it is, and vSphere would take one."""
        return self.version is not None and self.power is not PowerState.SUSPENDED

    @property
    def fleet_drives(self) -> Iterator[tuple[ImageName, Drive]]:
        """Every drive with an image of the fleet in it, whosever it is."""
        return ((image, drive) for drive in self.drives if (image := drive.image) is not None)
