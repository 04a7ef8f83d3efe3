"""The world that the simulated driver works on: hosts, storages and VMs in a directory, and how a VM comes into it.

What an orchestrator, a guest and fate do to it stands beside the tests (`rigs.simulated.world`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from configdrive.model import HostName, InstanceName, PowerState, StorageName, VmUuid
from workers.hypervisors.simulated.topology import Hosts, Topology
from workers.hypervisors.simulated.vms import Drives, Records, VmRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_SECONDS: Final = 30.0


class WorldError(Exception):
    """The hypervisor refuses what the orchestrator asked for, as a real one would."""


class World:
    """One simulated cloud in one directory; any number of processes may work on it at once.

    Args:
        directory: where it lies; `prepare` makes it.
        hosts: the inventory's hosts and their storages.
    """

    def __init__(self, directory: Path, hosts: Hosts) -> None:
        self.directory = directory
        self.topology = Topology(directory, hosts)
        self.records = Records(directory)

    def prepare(self) -> None:
        """Make what is missing of the directory, readable for its owner only: images hold passwords."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.topology.prepare()
        self.records.prepare()

    def define_vm(  # noqa: PLR0913  # a VM's properties
        self,
        uuid: VmUuid,
        instance_name: InstanceName,
        host: HostName,
        *,
        root_storage: StorageName | None = None,
        power: PowerState = PowerState.HALTED,
        persistent: bool = True,
        hot_add: bool = True,
        drives: Drives | None = None,
    ) -> VmRecord:
        """Create a VM; its root disk lies on `root_storage`, by default the host's first. Defined already: as it is.

        Args:
            uuid: in the orchestrator and on the host.
            instance_name: its name on the host.
            host: where it is.
            root_storage: where its root disk lies.
            power: its first power state.
            persistent: whether its definition outlives its running.
            hot_add: whether a drive can be added while it runs.
            drives: what its definition has beside the root disk, e.g. `{USER_CD: None}`.
        """
        storages = [storage.place.storage for storage in self.topology.of(host)]
        root = storages[0] if root_storage is None else root_storage
        self.topology.storage(host, root)
        if not persistent and power is PowerState.HALTED:
            raise WorldError("a transient VM exists only while it runs")
        with self._change("define_vm", uuid) as before:
            if before is not None:
                return before
            record = VmRecord(
                uuid,
                instance_name,
                host,
                root,
                power,
                persistent=persistent,
                hot_add=hot_add,
                live=dict(drives or {}) if power is not PowerState.HALTED else {},
                config=dict(drives or {}) if persistent else {},
            )
            self.records.put(record)
            return record

    @contextmanager
    def change(self, _verb: str, uuid: VmUuid, timeout: float) -> Iterator[VmRecord | None]:
        """Hold a VM's lock while it is changed by a verb, and give its record as it was.

        Raises:
            TransientError: `VM_BUSY` when somebody else has held the lock for `timeout` seconds.
        """
        with self.records.lock(uuid, timeout):
            yield self.records.get(uuid)

    def _change(self, verb: str, uuid: VmUuid) -> AbstractContextManager[VmRecord | None]:
        return self.change(f"world.{verb}", uuid, _LOCK_SECONDS)
