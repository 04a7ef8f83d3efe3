"""The storages of a KVM host, where images lie: its pools that hold files, and its cache directory for all others.

A storage is known by the id file in its folder, whatever the pool around it is called and whichever host sees it; where
nobody has made one yet, by the pool's name and the host.

Decision: the folder `configdrive` of a pool is a second libvirt pool, and so is each folder in it.
libvirt's directory pools are flat: a volume's name has no slash. So the folder `<target>/configdrive` of a pool (dir,
fs or netfs) gets a pool of type dir of its own, `configdrive-<pool>`, and so do the 32 within, in which images lie
(ADR 0047): `configdrive.<folder>-<pool>`. They are transient (virStoragePoolCreateXML with build): one call makes the
folder, starts the pool and loses a race against another worker cleanly; nothing stays in the host's configuration, and
after a reboot the next use makes it anew. They are never made unless the pool around them is active, so nothing is
written below the mount point of an export that is not mounted. The image lies on the same primary storage as the root
disk, and drives name it by path.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import asyncssh
import libvirt

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import IMAGE_FOLDER, HostName, Place, StorageName
from configdrive.places import at
from workers.hypervisors.kvm.access import access_of, capabilities, pool_mode, pool_owner
from workers.hypervisors.kvm.domain_xml import read_xml
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.image_folder import SftpFolder, VolumeFolder, shard_of
from workers.hypervisors.kvm.inventory import StorageRoute
from workers.hypervisors.kvm.records import Pool
from workers.hypervisors.kvm.sessions import ANY_POOL, LinkBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from configdrive.model import ImageName
    from workers.driverkit.cache import Cache
    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.kvm.domain_xml import Definition, Source
    from workers.hypervisors.kvm.image_folder import ImageFolder
    from workers.hypervisors.kvm.inventory import HostTable
    from workers.hypervisors.kvm.sessions import Link

HOST_CACHE: Final = StorageName("host-cache")
"""The name of a host's cache directory among its storages; a pool of that name cannot be used."""

_OURS: Final = f"{IMAGE_FOLDER}-"
_OUR_POOL: Final = re.compile(rf"{IMAGE_FOLDER}(?:\.[0-9a-f]{{2}})?(?:-(?P<around>.+))?")
"""What the fleet's own pools are called: of a storage's folder, of those within, and of the cache directory's."""


def not_found(host: HostName, name: StorageName) -> PermanentError:
    """Make the error of a host that does not have this storage."""
    detail = f"host {host} has no storage pool {name!r}"
    return PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "correct the event, or define the pool")


class Storages:
    """The storages of one host, as they are at this moment.

    Args:
        host: its name.
        table: its part of the inventory.
        link: to its libvirtd.
        sftp: to the same machine, when the inventory has it.
        identities: those that this process has read not long ago, by directory.
    """

    def __init__(
        self,
        host: HostName,
        table: HostTable,
        link: Link,
        sftp: Sftp | None,
        identities: Cache[PurePosixPath, str],
    ) -> None:
        self._host = host
        self._table = table
        self._link = link
        self._sftp = sftp
        self._identities = identities

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """All pools of the host but the fleet's own: those of its folders, and that of the cache directory."""
        connection = self._link.connection
        up = libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        active = {one.UUID() for one in self._link.call_into(ANY_POOL, connection.listAllStoragePools, up)}
        found = {one.name(): one for one in self._link.call_into(ANY_POOL, connection.listAllStoragePools, 0)}
        others = [one for name, one in found.items() if _around_ours(name) not in found]
        # Of a pool that is no more the folder's own pool says where it was last: it comes after those within, some of
        # which may be of an earlier directory.
        others.sort(key=lambda one: one.name().startswith(f"{IMAGE_FOLDER}-"))
        pools = {pool.name: pool for pool in (self._read(one, active=one.UUID() in active) for one in others)}
        return tuple(pool for pool in pools.values() if not self._is_of_cache(pool))

    def _is_of_cache(self, pool: Pool) -> bool:
        ours, target = _OUR_POOL.fullmatch(pool.name), pool.target
        return ours is not None and target is not None and self._cache_directory in {target, target.parent}

    @property
    def cache(self) -> Place:
        """The host's cache directory."""
        return self._placed(Place(HOST_CACHE, self._host), self._cache_folder)

    @property
    def of_files(self) -> Iterator[Place]:
        """Every storage that can hold images, also one that is not active now, or whose pool was undefined."""
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
        return self.cache if name == HOST_CACHE else self._place(self._require(name))

    def here(self, place: Place) -> Place:
        """What a storage of another host's is called on this one, where its pool has another name.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
        """
        return self._place(self._that_is(place))

    def around(self, directory: PurePosixPath, name: StorageName) -> Place:
        """The storage whose images lie in this folder here.

        Args:
            directory: the folder.
            name: of the storage elsewhere, for the error.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
        """
        pool = self._at(directory.parent)
        if pool is None or pool.is_left or not pool.holds_files:
            raise not_found(self._host, name)
        return self._place(pool)

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
        pool: Pool | None
        if source.path is not None:
            folder = PurePosixPath(source.path).parent.parent
            if folder == self._cache_directory:
                return self.cache
            if folder.name != IMAGE_FOLDER:
                return None
            pool = self._at(folder.parent) or self._first(lambda one: one.target == folder.parent)
        else:
            ours = _OUR_POOL.fullmatch(source.pool or "")
            if ours is not None and ours["around"] is None:
                return self.cache
            pool = self._named(StorageName((source.pool or "") if ours is None else ours["around"]))
        return None if pool is None or not pool.holds_files else self._place(pool)

    def images(self, place: Place) -> Iterator[ImageName]:
        """Name every image on a storage.

        Raises:
            PermanentError, TransientError: as `folder`.
        """
        for shard in self.folder(place).shards():
            names = self.folder(place, shard).names()
            yield from (name for name in names if shard_of(name.vm_uuid) == shard)

    def folder(self, place: Place, shard: str = "") -> ImageFolder:
        """Give the folder of a storage's images, or the one within for which `shard_of` gives the name.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`, also for a pool that other hosts share but this one does not.
            TransientError: `STORAGE_UNAVAILABLE` when the pool is not active.
        """
        if place.storage == HOST_CACHE and (place.host == self._host or place == self.cache):
            return self._folder(self._cache_directory, "", shard, shared=False, owner=None)
        pool = self._that_is(place)
        if not pool.active:
            detail = f"storage pool {pool.name!r} on host {self._host} is not active"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, f"virsh pool-start {pool.name}")
        return self._folder_of(pool, shard)

    def identified(self, place: Place, *, make: bool) -> Place:
        """Return the place with its identity; without one when nobody has made it, and it is not to be made now.

        Raises:
            PermanentError, TransientError: as `folder`.
        """
        if place.identity is not None:
            return place
        return replace(place, identity=self._identity(self.folder(place), make=make))

    @property
    def _cache_directory(self) -> PurePosixPath:
        return PurePosixPath(self._table.cache_directory)

    @property
    def _cache_folder(self) -> ImageFolder:
        return self._folder(self._cache_directory, "", shared=False, owner=None)

    def _folder_of(self, pool: Pool, shard: str = "") -> ImageFolder:
        assert pool.target is not None  # noqa: S101  # it holds files
        directory = pool.target / IMAGE_FOLDER
        return self._folder(directory, f"-{pool.name}", shard, shared=self.is_shared(pool), owner=pool.owner)

    def _folder(
        self,
        directory: PurePosixPath,
        around: str,
        shard: str = "",
        *,
        shared: bool,
        owner: tuple[int, int] | None,
    ) -> ImageFolder:
        route, is_cache = self._table.storage_route, directory == self._cache_directory
        by_sftp = is_cache or route is StorageRoute.SFTP or (route is StorageRoute.AUTO and shared)
        access = access_of(self._table, owner, capabilities(self._link))
        pool, within = IMAGE_FOLDER + around, None
        volumes = VolumeFolder(self._link, directory, pool, shared=shared, access=access)
        if shard:
            directory, within, pool = directory / shard, directory, f"{IMAGE_FOLDER}.{shard}{around}"
            volumes = VolumeFolder(self._link, directory, pool, shared=shared, access=access, within=volumes)
        if self._sftp is None or not by_sftp:
            return volumes
        return SftpFolder(
            self._sftp, directory, pool, with_parents=is_cache, access=access, through=volumes, within=within
        )

    def _place(self, pool: Pool) -> Place:
        if not pool.holds_files:
            return self.cache
        place = Place(pool.name, None if self.is_shared(pool) else self._host)
        return self._placed(place, self._folder_of(pool)) if pool.active else place

    def _placed(self, place: Place, folder: ImageFolder) -> Place:
        """Add the identity, if it can be read: a storage that hangs is known to do so, and has none meanwhile."""
        try:
            with at(place):
                return replace(place, identity=self._identity(folder, make=False))
        except TransientError as error:
            if error.code is not TransientCode.DEFERRED or self._link.is_given_up:
                raise
            return place

    def _identity(self, folder: ImageFolder, *, make: bool) -> str | None:
        """Return a folder's identity, read once in a while; `None` when there is none, or it cannot be read now."""
        kept = self._identities.get(folder.directory)
        if kept is not None or (self._link.known.nameless.get(folder.directory) and not make):
            return kept
        identity = None
        try:
            with translated(f"folder {folder.directory}"):
                identity = folder.identity(make=make)
        except FleetError as error:
            # An event remembers the storage by it: who cannot make it just now tries again.
            if isinstance(error, LinkBrokenError) or (make and isinstance(error, TransientError)):
                raise
        if identity is None:
            self._link.known.nameless.keep(folder.directory, value=True)
            return None
        self._link.known.nameless.forget(folder.directory)
        return self._identities.keep(folder.directory, identity)

    # --- pools: the one that is meant is asked for, all are listed only when it is not found ------------------------

    def _that_is(self, place: Place) -> Pool:
        """Find the pool of a storage: by its name, and by its identity when the name means another one here."""
        pool = self._named(place.storage)
        if pool is not None and pool.holds_files and self._is(pool, place):
            return pool
        if place.identity is not None:
            found = self._first(lambda one: one.holds_files and self._place(one).identity == place.identity)
            if found is not None:
                return found
        if pool is None:
            raise not_found(self._host, place.storage)
        detail = f"host {self._host} has no storage {place.storage!r} that is the one of {place.host or 'all hosts'}"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "see 'shared' of the pool in the inventory")

    def _is(self, pool: Pool, place: Place) -> bool:
        """Whether a pool is this storage; one that is not active now is taken by its name."""
        here = self._place(pool)
        if place.identity not in {None, here.identity} and here.identity is not None:
            self._identities.forget(self._folder_of(pool).directory)  # the folder may have been exchanged
            here = self._place(pool)
        if None in {here.identity, place.identity}:
            return (here.storage, here.host) == (place.storage, place.host)
        return here.identity == place.identity

    def _require(self, name: StorageName) -> Pool:
        pool = self._named(name)
        if pool is None:
            raise not_found(self._host, name)
        return pool

    def _named(self, name: StorageName) -> Pool | None:
        """Find a pool by its name."""
        kept = self._link.known.pools.get(name)
        if kept is not None:
            return kept
        handle = self._looked_up(name) or self._looked_up(_OURS + name)
        if handle is None:
            return None
        return self._read(handle, active=bool(self._link.call_into(_words(handle.name()), handle.isActive)))

    def _at(self, directory: PurePosixPath) -> Pool | None:
        """Find the active pool of this very directory.

        While one hangs libvirt finds none by its directory: then it is the one that was there at the last look.
        """
        kept = self._link.known.pools_at.get(directory)
        name = self._link.looked.names.get(directory) if kept is None and self._link.hangs() else None
        if name is not None:
            pool = self._named(StorageName(name))
            kept = pool if pool is not None and pool.active and pool.target == directory else None
        if kept is None:
            handle = self._looked_up(str(directory), by_directory=True)
            kept = None if handle is None else self._read(handle, active=True)
            if handle is not None and kept is not None and kept.target != directory:  # it was given another one
                self._link.known.pool_definitions.forget(handle.UUIDString())
                kept = self._read(handle, active=True)
        return kept

    def _looked_up(self, argument: str, *, by_directory: bool = False) -> libvirt.virStoragePool | None:
        connection = self._link.connection
        try:
            if by_directory:
                return self._link.call_into(ANY_POOL, connection.storagePoolLookupByTargetPath, argument)
            return self._link.call_into(_words(argument), connection.storagePoolLookupByName, argument)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return None

    def _read(self, handle: libvirt.virStoragePool, *, active: bool) -> Pool:
        """Read a pool's definition, once in a while."""
        known, uuid = self._link.known, handle.UUIDString()
        pool = known.pool_definitions.get(uuid)
        if pool is None:
            xml = read_xml(self._link.call_into(_words(handle.name()), handle.XMLDesc, 0))
            path = xml.findtext("target/path")
            name, kind, target = handle.name(), xml.get("type", ""), PurePosixPath(path) if path else None
            around, is_left = _around_ours(name), False
            folder = next((one for one in (target, target and target.parent) if one and one.name == IMAGE_FOLDER), None)
            if around is not None and folder is not None:
                name, target, is_left = around, folder.parent, True  # all that is left of a pool that was undefined
            owner, mode = pool_owner(xml), pool_mode(xml)
            pool = known.pool_definitions.keep(
                uuid, Pool(StorageName(name), kind, target, active=True, owner=owner, is_left=is_left, mode=mode)
            )
        pool = known.pools.keep(pool.name, replace(pool, active=active))
        if active and pool.target is not None:
            known.pools_at.keep(pool.target, pool)
            self._link.looked.names.keep(pool.target, pool.name)
        return pool

    def _first(self, fits: Callable[[Pool], bool]) -> Pool | None:
        return next((pool for pool in self.pools if fits(pool)), None)

    def _around(self, source: Source) -> Pool | None:
        """The pool that a disk lies on: the one that it names, else the one with the innermost directory around it."""
        if source.pool is not None:
            return self._require(StorageName(source.pool))
        if source.path is None:
            return None
        path = PurePosixPath(source.path)
        innermost = self._at(path.parent)
        if innermost is not None:
            return innermost
        found = _innermost(path, [(pool, pool.target) for pool in self.pools if pool.target is not None])
        return self._around_real(path) if found is None else found

    def _around_real(self, path: PurePosixPath) -> Pool | None:
        """The pool around a path that leads through symbolic links, as far as SFTP tells where they lead."""
        sftp, targets = self._sftp, [pool.target for pool in self.pools if pool.target is not None and pool.holds_files]
        if sftp is None or not targets:
            return None
        known = self._link.known.real
        asked = [one for one in (path.parent, *targets) if known.get(one) is None]

        async def work(client: asyncssh.SFTPClient) -> list[str]:
            return [str(await client.realpath(str(one))) for one in asked]

        with contextlib.suppress(asyncssh.SFTPError, FleetError):
            for one, real in zip(asked, sftp.run(work), strict=True):
                known.keep(one, PurePosixPath(real))
        real_path = known.get(path.parent)
        if real_path is None:
            return None
        pools = [(pool, known.get(pool.target)) for pool in self.pools if pool.target is not None]
        return _innermost(real_path / path.name, [(pool, target) for pool, target in pools if target is not None])


def _words(pool: str) -> str:
    return f"storage pool {pool!r}"


def _around_ours(name: str) -> str | None:
    """Name the pool around a folder of the fleet's, by the name of the folder's pool."""
    ours = _OUR_POOL.fullmatch(name)
    return None if ours is None else ours["around"]


def _innermost(path: PurePosixPath, pools: list[tuple[Pool, PurePosixPath]]) -> Pool | None:
    around = [(pool, target) for pool, target in pools if path.is_relative_to(target)]
    return max(around, key=lambda one: len(one[1].parts), default=(None, path))[0]
