"""A small simulated cloud for tests of the queue: its inventory, its world, and events for its VMs."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import TYPE_CHECKING, Any

from configdrive.model import HostName, StorageName, VmUuid
from workers.hypervisors.simulated.audit import Entry, read_audit
from workers.hypervisors.simulated.topology import StorageSpec
from workers.hypervisors.simulated.world import World

if TYPE_CHECKING:
    from pathlib import Path

HOST = "h1"
STORAGE = "p1"


class Cloud:
    """One simulated host with one storage, VMs coming into being when they are first observed.

    Args:
        directory: where the world lies.
        audit: whether every change is written down.
    """

    def __init__(self, directory: Path, *, audit: bool = False) -> None:
        self.directory = directory
        self._audit = audit
        self.world = World(directory, {HostName(HOST): {StorageName(STORAGE): StorageSpec()}}, audit=audit)
        self.world.prepare()

    @property
    def inventory(self) -> str:
        """The inventory's text."""
        return (
            "[simulated]\n"
            f"directory = {json.dumps(str(self.directory))}\n"
            "auto_define = true\n"
            f"audit = {json.dumps(self._audit)}\n"
            f"[simulated.hosts.{HOST}]\n"
            f"storages = {{{STORAGE} = {{}}}}\n"
        )

    def images(self, vm: str) -> list[str]:
        """The files of one VM on all storages, half-written ones included."""
        return [path.name for path in self.world.files() if vm in path.name]

    def medium(self, vm: str) -> str | None:
        """The file in the VM's config drive; `None` when there is none, or no VM."""
        record = self.world.vm(VmUuid(vm))
        media = [] if record is None else [medium.file for medium in record.media]
        assert len(set(media)) <= 1, f"VM {vm} has several media: {media}"
        return media[0] if media else None

    def audit(self) -> list[Entry]:
        """All that was ever done, oldest first."""
        return list(read_audit(self.directory))


class VmScript:
    """One VM, and its events in order."""

    def __init__(self, *, uuid_: str | None = None) -> None:
        self.uuid = uuid_ or str(uuid.uuid4())
        self.name = f"i-2-{self.uuid[:4]}-VM"
        self._sequence = itertools.count(1)
        self.last = 0

    def event(self, kind: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an event's data
        """Return the VM's next event."""
        self.last = data.pop("sequence", None) or next(self._sequence)
        return {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": "/tests",
            "type": f"configdrive.vm.{kind}.v1",
            "data": {
                "sequence": self.last,
                "vm": {"uuid": self.uuid, "instance_name": self.name},
                "hypervisor": "simulated",
                "host": HOST,
                **data,
            },
        }

    def image(self, generation: int | None = None) -> str:
        """Return the file name of the VM's image of a generation; of its last event when none is given."""
        return f"{self.name}.{self.uuid}.{self.last if generation is None else generation}.iso"
