"""Where images lie on a KVM host: its storage pools that hold files, and the host's cache directory for all others.

Decision: the folder `configdrive` of a pool is a second libvirt pool.
libvirt's directory pools are flat: a volume's name has no slash. So the folder `<target>/configdrive` of a pool (dir,
fs or netfs) gets a pool of type dir of its own, `configdrive-<pool>`. It is transient (virStoragePoolCreateXML with
build): one call makes the folder, starts the pool and loses a race against another worker cleanly; nothing stays in the
host's configuration, and after a reboot the next use makes it anew. It is never made unless the pool around it is
active, so nothing is written below the mount point of an export that is not mounted. The image lies on the same primary
storage as the root disk, and drives name it by path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import libvirt

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import IMAGE_FOLDER, HostName, Place, StorageName
from workers.hypervisors.kvm.domain_xml import read_xml
from workers.hypervisors.kvm.image_folder import SftpFolder, VolumeFolder
from workers.hypervisors.kvm.inventory import StorageRoute
from workers.hypervisors.kvm.vms import lies_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.kvm.domain_xml import Definition, Source
    from workers.hypervisors.kvm.image_folder import ImageFolder
    from workers.hypervisors.kvm.inventory import HostTable
    from workers.hypervisors.kvm.sessions import Link

HOST_CACHE: Final = StorageName("host-cache")
"""The name of a host's cache directory among its storages; a pool of that name cannot be used."""

_FILE_POOLS: Final = frozenset({"dir", "fs", "netfs"})
_OURS: Final = f"{IMAGE_FOLDER}-"


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool of the host.

    Args:
        kind: libvirt's type, such as `dir` or `rbd`.
        target: the directory in which it appears on the host; `None` when it has none.
        active: whether it is started (of a netfs pool: mounted).
    """

    name: StorageName
    kind: str
    target: PurePosixPath | None
    active: bool

    @property
    def holds_files(self) -> bool:
        """Whether an image file can lie on it."""
        return self.kind in _FILE_POOLS and self.target is not None


def read_pools(link: Link, cache: PurePosixPath) -> tuple[Pool, ...]:
    """Read all pools of a host but the fleet's own: those of its folders, and that of the directory `cache`."""
    connection = link.connection
    up = libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
    active = {one.name() for one in link.call(connection.listAllStoragePools, up)}
    found = {one.name(): one for one in link.call(connection.listAllStoragePools, 0)}
    others = [one for name, one in found.items() if not (name.startswith(_OURS) and name.removeprefix(_OURS) in found)]
    pools = [_pool(link.call(one.XMLDesc, 0), active=one.name() in active) for one in others]
    return tuple(pool for pool in pools if pool.name != IMAGE_FOLDER or pool.target != cache)


def _pool(text: str, *, active: bool) -> Pool:
    xml = read_xml(text)
    path = xml.findtext("target/path")
    return Pool(
        StorageName(xml.findtext("name", "")), xml.get("type", ""), PurePosixPath(path) if path else None, active
    )


class Storages:
    """The storages of one host, as they are at this moment.

    Args:
        host: its name.
        table: its part of the inventory.
        link: to its libvirtd.
        sftp: to the same machine, when the inventory has it.
    """

    def __init__(self, host: HostName, table: HostTable, link: Link, sftp: Sftp | None) -> None:
        self._host = host
        self._table = table
        self._link = link
        self._sftp = sftp

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """The host's pools, read once for the length of a verb."""
        return read_pools(self._link, self._cache_directory)

    @property
    def cache(self) -> Place:
        """The host's cache directory."""
        return Place(HOST_CACHE, self._host)

    @property
    def of_files(self) -> Iterator[Place]:
        """Every storage that can hold images, also one that is not active now."""
        yield from (self._place(pool) for pool in self.pools if pool.holds_files)
        yield self.cache

    def is_shared(self, pool: Pool) -> bool:
        """Whether other hosts see the same files: as the inventory says, else what is mounted from the network."""
        declared = self._table.pools.get(pool.name)
        if declared is None or declared.shared is None:
            return pool.kind == "netfs"
        return declared.shared

    def named(self, name: StorageName) -> Place:
        """Where images of a VM on this storage lie: there, or in the host's cache when it holds no files.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
        """
        return self.cache if name == HOST_CACHE else self._place(self._find(name))

    def of_root_disk(self, definition: Definition) -> Place | None:
        """Where images of this VM belong: on the pool of its root disk, else in the host's cache.

        `None` for a VM without any disk of its own.
        """
        disk = definition.root_disk
        if disk is None or disk.source is None:
            return None
        pool = self._around(disk.source)
        return self.cache if pool is None else self._place(pool)

    def place_of(self, source: Source) -> Place | None:
        """Which storage's folder a medium lies in; `None` when in none."""
        if lies_in(source, self._cache_directory, IMAGE_FOLDER):
            return self.cache
        for pool in self.pools:
            if pool.holds_files and lies_in(source, self._directory(pool), _OURS + pool.name):
                return self._place(pool)
        return None

    def folder(self, place: Place) -> ImageFolder:
        """Give the folder with the images of a storage.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`, also for a pool that other hosts share but this one does not.
            TransientError: `STORAGE_UNAVAILABLE` when the pool is not active.
        """
        if place.storage == HOST_CACHE:
            if self._sftp is not None:
                return SftpFolder(self._sftp, self._cache_directory, IMAGE_FOLDER, with_parents=True)
            return VolumeFolder(self._link, self._cache_directory, IMAGE_FOLDER)
        pool = self._find(place.storage)
        if self._place(pool) != place:
            detail = (
                f"host {self._host} has no storage {place.storage!r} that is the one of {place.host or 'all hosts'}"
            )
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "see 'shared' of the pool in the inventory")
        if not pool.active:
            detail = f"storage pool {pool.name!r} on host {self._host} is not active"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, f"virsh pool-start {pool.name}")
        directory, own_pool = self._directory(pool), _OURS + pool.name
        if self._sftp is not None and self._by_sftp(pool):
            return SftpFolder(self._sftp, directory, own_pool, with_parents=False)
        return VolumeFolder(self._link, directory, own_pool)

    @property
    def _cache_directory(self) -> PurePosixPath:
        return PurePosixPath(self._table.cache_directory)

    def _by_sftp(self, pool: Pool) -> bool:
        if self._table.storage_route is StorageRoute.AUTO:
            return self.is_shared(pool)
        return self._table.storage_route is StorageRoute.SFTP

    def _place(self, pool: Pool) -> Place:
        if not pool.holds_files:
            return self.cache
        return Place(pool.name, None if self.is_shared(pool) else self._host)

    def _directory(self, pool: Pool) -> PurePosixPath:
        assert pool.target is not None  # noqa: S101  # it holds files
        return pool.target / IMAGE_FOLDER

    def _find(self, name: StorageName) -> Pool:
        for pool in self.pools:
            if pool.name == name:
                return pool
        detail = f"host {self._host} has no storage pool {name!r}"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "correct the event, or define the pool")

    def _around(self, source: Source) -> Pool | None:
        """The pool that a disk lies on: the one that it names, else the one with the innermost directory around it."""
        if source.pool is not None:
            return self._find(StorageName(source.pool))
        if source.path is None:
            return None
        path = PurePosixPath(source.path)
        around = [pool for pool in self.pools if pool.target is not None and path.is_relative_to(pool.target)]
        return max(around, key=lambda pool: len(pool.target.parts) if pool.target else 0, default=None)
