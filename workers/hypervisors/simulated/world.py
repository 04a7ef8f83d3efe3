"""The world that the simulated driver works on, with the verbs that an orchestrator, a guest and fate have.

It refuses what a real hypervisor refuses (`WorldError`) and, like one, lets a file vanish under the VM that uses it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from configdrive.model import HostName, ImageName, InstanceName, Place, PowerState, StorageName, VmUuid
from workers.hypervisors.simulated.drives import CD, DISK
from workers.hypervisors.simulated.topology import Hosts, Topology
from workers.hypervisors.simulated.vms import Drives, Medium, Records, VmRecord

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

    # --- VMs, as their orchestrator sees them ---------------------------------------------------------------------

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

    def start_vm(self, uuid: VmUuid) -> None:
        """Power a VM on.

        Raises:
            WorldError: no such VM, it is on already, or a medium of its definition cannot be read on its host.
        """
        with self._change("start_vm", uuid) as before:
            record = _defined(before, uuid)
            if record.active:
                raise WorldError(f"VM {uuid} is {record.power}")
            self._require_media(record.config, record.host)
            self.records.put(replace(record, power=PowerState.RUNNING, live=record.config))

    def stop_vm(self, uuid: VmUuid) -> None:
        """Power a VM off; a transient one is gone then. Off already: as it is."""
        with self._change("stop_vm", uuid) as before:
            record = _defined(before, uuid)
            if record.persistent:
                self.records.put(replace(record, power=PowerState.HALTED, live={}, tray_locked=False))
            else:
                self.records.remove(uuid)

    def migrate_vm(self, uuid: VmUuid, host: HostName, root_storage: StorageName | None = None) -> None:
        """Move a VM to another host; a running one needs its media there under the same storage and name.

        Args:
            uuid: the VM.
            host: where it goes.
            root_storage: where its root disk lies then, when it moves too.

        Raises:
            WorldError: no such VM, or what it needs cannot be read on the destination.
        """
        with self._change("migrate_vm", uuid) as before:
            record = _defined(before, uuid)
            root = root_storage or record.root_storage
            if self.topology.find(host, root) is None:
                raise WorldError(f"host {host} has no storage {root} for the root disk of VM {uuid}")
            self._require_media(record.live, host)
            self.records.put(replace(record, host=host, root_storage=root))

    def destroy_vm(self, uuid: VmUuid) -> None:
        """Remove a VM and its definition; gone already: as it is."""
        with self._change("destroy_vm", uuid):
            self.records.remove(uuid)

    def insert(self, uuid: VmUuid, storage: StorageName, file: str, device: str = CD) -> None:
        """Put any file into any drive behind the fleet's back, whosever it is, now and in the definition."""
        with self._change("insert", uuid) as before:
            record = _defined(before, uuid)
            drive = {device: Medium(storage, file)}
            self.records.put(
                replace(
                    record,
                    live={**record.live, **drive} if record.active else record.live,
                    config={**record.config, **drive} if record.persistent else record.config,
                )
            )

    # --- the guest ------------------------------------------------------------------------------------------------

    def lock_tray(self, uuid: VmUuid, *, locked: bool = True) -> None:
        """Let the guest lock its drives (it mounted one), or unlock them."""
        with self._change("lock_tray", uuid) as before:
            self.records.put(replace(_defined(before, uuid), tray_locked=locked))

    def medium(self, uuid: VmUuid) -> bytes | None:
        """Return the bytes in the config drive: of the running VM, else what its next boot would find.

        Raises:
            WorldError: no such VM, or the file has vanished under it.
        """
        record = _defined(self.records.get(uuid), uuid)
        drives = record.live if record.active else record.config
        medium = drives.get(CD) or drives.get(DISK)
        return None if medium is None else self._file(record.host, medium).read_bytes()

    # --- fate -----------------------------------------------------------------------------------------------------

    def set_host_up(self, host: HostName, *, up: bool) -> None:
        """Take a host off the network, or bring it back."""
        self.topology.set_up(host, up=up)

    def set_storage_up(self, place: Place, *, up: bool) -> None:
        """Take a storage off the network, or bring it back."""
        self.topology.set_storage_up(place, up=up)

    # --- what lies around -----------------------------------------------------------------------------------------

    def vm(self, uuid: VmUuid) -> VmRecord | None:
        """Return the VM's record, or `None`."""
        return self.records.get(uuid)

    def image_path(self, name: ImageName, place: Place) -> Path:
        """Where an image lies, or would lie."""
        host = place.host or next(iter(self.topology.hosts))
        return self.topology.reach(place, host).path(name)

    def files(self) -> list[Path]:
        """Every file in every image folder of every storage, half-written ones included."""
        folders = {storage.folder for host in self.topology.hosts for storage in self.topology.of(host)}
        return sorted(path for folder in folders for path in folder.iterdir())

    # --- inside ---------------------------------------------------------------------------------------------------

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

    def _file(self, host: HostName, medium: Medium) -> Path:
        storage = self.topology.find(host, medium.storage)
        path = None if storage is None else storage.folder / medium.file
        if path is None or not path.exists():
            raise WorldError(f"host {host} cannot read {medium.storage}/{medium.file}")
        return path

    def _require_media(self, drives: Drives, host: HostName) -> None:
        for medium in drives.values():
            if medium is not None and medium.image is not None:
                self._file(host, medium)


def _defined(record: VmRecord | None, uuid: VmUuid) -> VmRecord:
    if record is None:
        raise WorldError(f"there is no VM {uuid}")
    return record
