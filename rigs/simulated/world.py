"""The simulated world with the verbs that an orchestrator, a guest and fate have.

It refuses what a real hypervisor refuses (`WorldError`) and, like one, lets a file vanish under the VM that uses it.
"""

from dataclasses import replace
from pathlib import Path

from configdrive.model import HostName, ImageName, Place, PowerState, StorageName, VmUuid
from workers.hypervisors.simulated.drives import CD, DISK
from workers.hypervisors.simulated.vms import Drives, Medium, VmRecord
from workers.hypervisors.simulated.world import World, WorldError


class LivelyWorld(World):
    """A world in which something happens; see `World`."""

    # --- VMs, as their orchestrator sees them ---------------------------------------------------------------------

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
