"""The topology of a pool: hosts, storages (SRs), and which host reaches which (PBDs); read at one moment.

Where the images of a primary storage lie follows from its type:

| primary storage          | its ISO SR                                                        | who sees it |
|--------------------------|-------------------------------------------------------------------|-------------|
| `nfs`                    | `nfs_iso`, in the folder `configdrive` of the SR's own directory  | all hosts   |
| `ext`, `file` (local)    | legacy mode, in the folder `configdrive` of the SR's directory    | its host    |
| `lvm`, and all shared    | legacy mode, in the cache directory of dom0, a folder for each SR | each host   |
| ones but `nfs`           |                                                                   | its own     |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Place, StorageName
from workers.hypervisors.xenserver.names import HOST_MARK, POINTER, STORAGE_MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.model import HostName
    from workers.hypervisors.xenserver.api import Xapi
    from workers.hypervisors.xenserver.inventory import PoolTable
    from workers.hypervisors.xenserver.records import HostRecord, MetricsRecord, PbdRecord, Ref, SrRecord

MOUNTS: Final = PurePosixPath("/run/sr-mount")
"""Where dom0 mounts each SR that has files, under its uuid (sm, `SR.MOUNT_BASE`)."""

_NO_STORAGE: Final = frozenset({"iso", "udev"})
"""SR types on which no root disk lies: ISO libraries and removable devices."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the ISO SR of a primary storage lies.

    Args:
        shared: whether it is one SR for all hosts.
        directory: the images', in dom0 of every host that has the SR.
        config: the PBDs' device_config.
    """

    shared: bool
    directory: PurePosixPath
    config: Mapping[str, str]


@dataclass(frozen=True)
class Topology:
    """The hosts, SRs and PBDs of a pool, by reference."""

    hosts: Mapping[Ref, HostRecord]
    storages: Mapping[Ref, SrRecord]
    pbds: Mapping[Ref, PbdRecord]
    metrics: Mapping[Ref, MetricsRecord]

    @classmethod
    def read(cls, xapi: Xapi) -> Topology:
        """Ask the pool: four calls."""
        return cls(xapi.hosts(), xapi.storages(), xapi.pbds(), xapi.host_metrics())

    def host(self, label_or_uuid: str) -> HostRecord | None:
        """Return the one host of this name label, or with this uuid."""
        found = [host for host in self.hosts.values() if label_or_uuid in {host.uuid, host.name_label}]
        return found[0] if len(found) == 1 else None

    def is_live(self, host: HostRecord) -> bool:
        """Say whether the pool hears of a host. Of one that died XAPI still has everything that it knew."""
        metrics = self.metrics.get(host.metrics)
        return metrics is None or metrics.live

    def pbd(self, sr: Ref, host: Ref) -> PbdRecord | None:
        """Return how a host reaches an SR; `None` when it does not know the SR."""
        return self._pbds.get((sr, host))

    def attached(self, sr: Ref, host: Ref) -> bool:
        """Say whether a host has an SR attached."""
        pbd = self.pbd(sr, host)
        return pbd is not None and pbd.currently_attached

    def primary(self, host: Ref) -> list[SrRecord]:
        """Return the storages of a host on which root disks may lie."""
        known = {pbd.sr for pbd in self.pbds.values() if pbd.host == host}
        return [sr for ref, sr in self.storages.items() if ref in known and sr.kind not in _NO_STORAGE]

    def find(self, host: Ref, name: str) -> SrRecord | None:
        """Return a host's storage by its uuid, or by its name label.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND` when several have this label.
        """
        storages = self.primary(host)
        called = [sr for sr in storages if sr.uuid == name] or [sr for sr in storages if sr.name_label == name]
        if len(called) > 1:
            detail = f"{len(called)} storages of the host are called {name!r}"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "name it by its uuid, or rename the others")
        return called[0] if called else None

    def name_of(self, storage: SrRecord, host: Ref) -> StorageName:
        """Return what a storage is called on a host: its name label, or its uuid when another has that label too."""
        label = storage.name_label
        alone = sum(other.name_label == label for other in self.primary(host)) <= 1
        return StorageName(label if label and alone else storage.uuid)

    def place_of(self, storage: SrRecord, host: HostRecord, host_name: HostName | None) -> Place:
        """Return where the images of a storage lie; of a storage whose hosts have their own, the host's.

        Its identity is the SR's uuid, and the host's where it matters.
        """
        shared = is_shared(storage)
        identity = storage.uuid if shared else f"{storage.uuid}/{host.uuid}"
        return Place(self.name_of(storage, host.ref), None if shared else host_name, identity)

    def by_uuid(self, uuid: str) -> SrRecord | None:
        """Return an SR by its uuid."""
        return next((sr for sr in self.storages.values() if sr.uuid == uuid), None)

    def sr_of(self, vdi: Ref) -> Ref | None:
        """Return the SR of a VDI that was there when the pool was read."""
        return self._sr_by_vdi.get(vdi)

    def site(self, storage: SrRecord, host: Ref, table: PoolTable) -> Site:
        """Say where the ISO SR of a storage lies on a host; see the module's table.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND` when the host has not the storage.
        """
        pbd = self.pbd(storage.ref, host)
        if pbd is None:
            detail = f"the host does not have the storage {storage.name_label!r}"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail)
        inside = MOUNTS / storage.uuid / table.folder
        if is_shared(storage):
            location = _export(storage, pbd, table.folder)
            version = {key: value for key, value in pbd.device_config.items() if key == "nfsversion"}
            return Site(shared=True, directory=inside, config={"location": location, "type": "nfs_iso", **version})
        directory = inside if storage.kind in {"ext", "file"} else PurePosixPath(table.cache_directory) / storage.uuid
        return Site(shared=False, directory=directory, config={"location": str(directory), "legacy_mode": "true"})

    def iso_sr(self, storage: SrRecord, host: HostRecord) -> SrRecord | None:
        """Return the ISO SR of a storage, as far as it was made and published."""
        uuid = storage.other_config.get(pointer(storage, host))
        return None if uuid is None else self.by_uuid(uuid)

    def iso_srs(self, host: Ref) -> list[tuple[SrRecord, SrRecord]]:
        """Return every ISO SR of the fleet that a host knows, with the storage whose images it holds."""
        found = []
        for pbd in self.pbds.values():
            sr = self.storages.get(pbd.sr)
            storage = None if sr is None else self.storage_of(sr)
            if pbd.host == host and sr is not None and storage is not None:
                found.append((sr, storage))
        return found

    def storage_of(self, iso_sr: SrRecord) -> SrRecord | None:
        """Return the primary storage whose images an SR holds; `None` for an SR that is not the fleet's."""
        marked = iso_sr.other_config.get(STORAGE_MARK)
        return None if marked is None else self.by_uuid(marked)

    def host_of(self, iso_sr: SrRecord) -> HostRecord | None:
        """Return the host whose ISO SR this is; `None` for one that all hosts share."""
        marked = iso_sr.other_config.get(HOST_MARK)
        return next((host for host in self.hosts.values() if host.uuid == marked), None)

    @cached_property
    def _pbds(self) -> dict[tuple[Ref, Ref], PbdRecord]:
        return {(pbd.sr, pbd.host): pbd for pbd in self.pbds.values()}

    @cached_property
    def _sr_by_vdi(self) -> dict[Ref, Ref]:
        return {vdi: ref for ref, sr in self.storages.items() for vdi in sr.vdis}


def is_shared(storage: SrRecord) -> bool:
    """Say whether all hosts see the same images of this storage."""
    return storage.kind == "nfs"


def pointer(storage: SrRecord, host: HostRecord) -> str:
    """Return the key under which a storage names its ISO SR: one for all hosts, or one for each."""
    return POINTER if is_shared(storage) else f"{POINTER}-{host.uuid}"


def _export(storage: SrRecord, pbd: PbdRecord, folder: str) -> str:
    """Return the folder in the SR's own directory of its export, as an NFS location."""
    flat = "true" in {storage.sm_config.get("nosubdir"), pbd.device_config.get("nosubdir")}
    server, path = pbd.device_config.get("server", ""), PurePosixPath(pbd.device_config.get("serverpath", "/"))
    server = f"[{server}]" if ":" in server and not server.startswith("[") else server
    return f"{server}:{path / folder if flat else path / storage.uuid / folder}"
