"""The folder with the fleet's images on one storage: as volumes of a libvirt pool, or as files over SFTP.

Volumes need nothing on the host but libvirtd. A volume cannot be renamed, so a file is visible under its name while it
is written; what the upload of a killed worker leaves is known by its content and replaced. libvirt knows of a file what
it saw at its last look (`refresh`).

SFTP is for hosts whose pools hold no files, and for pools that many hosts share. libvirt need not know of a file:
drives name an image by its path.

The file is long since both ways keep one promise (`ImageFolder`): they are read side by side and changed together.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
import stat
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Final, ParamSpec, Protocol, TypeVar
from xml.etree import ElementTree as ET

import asyncssh
import libvirt

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName
from workers.driverkit.ssh import (
    MOST,
    clear_parts,
    is_file,
    list_directory,
    look_at,
    not_a_folder,
    open_folder,
    part_of,
    read_file,
    unlink,
    write_file,
    write_new_file,
)
from workers.driverkit.storage_routes import Files
from workers.hypervisors.kvm.access import PRIVATE, Access
from workers.hypervisors.kvm.domain_xml import read_xml
from workers.hypervisors.kvm.records import Volume
from workers.hypervisors.kvm.sessions import ANY_POOL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import PurePosixPath

    from configdrive.model import VmUuid
    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.kvm.sessions import Link

P = ParamSpec("P")
R = TypeVar("R")

PASSABLE: Final = 0o711
"""The folder's mode: QEMU's user may reach a file by its name, nobody but the owner may list them. A folder that was
there with another mode is given this one."""

WRITABLE: Final = 0o022
"""Bits of a folder's mode with which others may put files, and links, in the place of images."""

_SHARDS: Final = 32
_SHARD: Final = re.compile(r"[01][0-9a-f]")

ID_FILE: Final = "storage.id"
"""The file that says which storage a folder is, whatever hosts and pools call it: 32 hexadecimal digits, made once."""

_ID: Final = re.compile(rb"[0-9a-f]{32}\n")
_HALF_ID_SECONDS: Final = 5.0
"""How long an id file that is empty may be somebody's who is just writing it."""

_PROBE: Final = "configdrive-probe"
"""How the name of a file begins that is there for a moment only; no image's. Each has its own: others look, too."""

CHUNK: Final = 256 * 1024 - 64
"""Bytes per message: what fits into one of libvirt's stream packets."""

AT_ONE_GO: Final = 1024 * 1024
"""Bytes up to which a file is sent, or read, as one call with one limit of time: every image but those with much user
data. Each call passes from one thread to another and back."""

_WAIT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02
_BUSY: Final = (libvirt.VIR_FROM_STORAGE, libvirt.VIR_ERR_INTERNAL_ERROR)
"""How libvirt refuses to look at, or to stop, a pool in which somebody is just making a volume."""

_ALLOCATED: Final = "being allocated"
"""How libvirt refuses to read a volume that it is just making for somebody."""

_IN_USE: Final = "is still in use"
"""How libvirt refuses to write or delete a volume at the moment in which somebody begins to read it."""

_NOT_ACTIVE: Final = "is not active"
_RACED: Final = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_FAILED,  # made meanwhile
        libvirt.VIR_ERR_OPERATION_INVALID,  # started meanwhile
        libvirt.VIR_ERR_NO_STORAGE_POOL,  # seen while somebody else tried to make it, in vain
        None,  # the same, when libvirt 9.0 forgets to say so
    }
)
"""What libvirt answers when several workers look for a pool and make it at once."""


_NOBODY_S: Final = Access()


def shard_of(vm: VmUuid) -> str:
    """Name the folder within a storage's folder in which a VM's images lie.

    After each upload libvirt looks at every file beside it, 28 µs of its CPU for each: so there are many folders.
    """
    return f"{zlib.crc32(vm.encode()) % _SHARDS:02x}"


class ImageFolder(Files, Protocol):
    """One folder of images. Every method has the same effect twice as once."""

    @property
    def directory(self) -> PurePosixPath:
        """Where it lies, as the host sees it."""

    @property
    def pool(self) -> str:
        """The libvirt pool of this folder (it need not exist), by which a drive may name a file in it."""

    def identity(self, *, make: bool) -> str | None:
        """Return which storage this is; `None` when nobody has said yet, and it is not to be said now."""

    def shards(self) -> tuple[str, ...]:
        """Name the folders within, in which images lie; none of a folder that is not there."""

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; what a killed upload has left half-written is deleted.

        A folder that is not there has none.
        """

    def find(self, names: Collection[ImageName]) -> tuple[ImageName, ...]:
        """Say which of these files are there, without listing any other; half-written ones of that name are deleted."""

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""

    def probe(self) -> Access:
        """Write a file as an image would be written, and take it away; returns who might have read it."""


class VolumeFolder:
    """The images in a directory, through a libvirt pool of type dir that is made when it is needed.

    Args:
        link: to the host.
        directory: the images'.
        pool: the libvirt pool's name.
        shared: whether other hosts write there past this libvirt.
        access: who may read the images.
        within: the storage's folder, of one that lies in it.
    """

    def __init__(  # noqa: PLR0913  # all by name but the first
        self,
        link: Link,
        directory: PurePosixPath,
        pool: str,
        *,
        shared: bool,
        access: Access = _NOBODY_S,
        within: VolumeFolder | None = None,
    ) -> None:
        self._link = link
        self.directory = directory
        self.pool = pool
        self._shared = shared
        self._access = access
        self._within = within
        self._storage = f"the folder {directory if within is None else within.directory}"

    def _call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._link.call_into(self._storage, function, *args, **kwargs)

    def identity(self, *, make: bool) -> str | None:
        """Return which storage this is. A volume is made at once but filled afterwards: an empty one is waited for."""
        deadline = time.monotonic() + _HALF_ID_SECONDS
        while True:
            volume = self._find(ID_FILE, expected=make)
            content = None if volume is None else self._downloaded_unless_new(volume)
            if content is not None and _ID.fullmatch(content):
                return content.decode().strip()
            if not make:
                return None
            if volume is None:
                try:
                    self._create(ID_FILE, _new_id(), _NOBODY_S)
                except (libvirt.libvirtError, TransientError):
                    if self._find(ID_FILE, expected=True) is None:
                        raise  # otherwise another worker was faster
            elif time.monotonic() > deadline:  # who made it has died
                self._upload(volume, _new_id())
            else:
                time.sleep(_PAUSE_SECONDS)

    def shards(self) -> tuple[str, ...]:
        """Name the folders within, in which images lie."""
        return tuple(sorted(name for name in self._listed() if _SHARD.fullmatch(name)))

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all."""
        found = (ImageName.parse(name) for name in self._listed())
        return tuple(name for name in found if name is not None and vm in {None, name.vm_uuid})

    def _listed(self) -> list[str]:
        def listed(pool: libvirt.virStoragePool) -> list[str]:
            self._refresh(pool)
            return list(self._call(pool.listVolumes))

        return self._on_pool(listed) or []

    def find(self, names: Collection[ImageName]) -> tuple[ImageName, ...]:
        """Say which of these files are there, as far as libvirt knows."""
        return tuple(name for name in names if self._find(str(name), expected=self._shared) is not None)

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""
        known = self._link.known.files.get(self.directory / str(name))
        if known is not None and known.written:
            return True
        volume = self._find(str(name), expected=True)
        if volume is None:
            return False
        try:
            self._call(volume.info)  # looks at the file, where libvirt may only remember it
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            self._on_pool(self._refresh)  # so that the next look finds it gone
            return False
        return True

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""
        volume = self._find(str(name), expected=False)
        return None if volume is None else self._download(volume)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back."""
        volume = self._create(str(name), content, self._access)
        if self._download(volume) != content:
            self._drop(volume)
            detail = f"volume {name} reads back otherwise than written"
            raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)
        self._link.known.files.keep(self.directory / str(name), Volume(volume, written=True))

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""
        volume = self._find(str(name), expected=True)
        self._link.known.files.forget(self.directory / str(name))
        if volume is None:
            return
        try:
            self._delete(volume)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:  # another worker was faster
                raise

    def probe(self) -> Access:
        """Write a file as an image would be written, and take it away; returns who might have read it."""
        name = probe_name()
        volume = self._create(name, b"probe", self._access)
        self._on_pool(self._refresh)  # what libvirt remembers of it is what it was told
        try:
            found = read_xml(self._call(volume.XMLDesc, 0)).find("target/permissions")
        finally:
            self._drop(volume)
            self._link.known.files.forget(self.directory / name)
        if found is None:
            return _NOBODY_S
        owner, group = (int(found.findtext(name, "-1")) for name in ("owner", "group"))
        return Access(owner, group, int(found.findtext("mode", "0"), 8))

    def _create(self, name: str, content: bytes, access: Access) -> libvirt.virStorageVol:
        """Make a new file and fill it."""
        self._link.known.files.forget(self.directory / name)
        if self._within is not None:
            self._within.make()

        def create(pool: libvirt.virStoragePool) -> libvirt.virStorageVol:
            return self._call(self._private(pool).createXML, _volume_xml(name, len(content), access), 0)

        try:
            volume = self._on_pool(create, make=True)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:  # a file that libvirt does not know yet
                self._on_pool(self._refresh)
                detail = f"file {name} came into {self.directory} just now"
                raise TransientError(TransientCode.UPLOAD_CORRUPT, detail) from error
            raise
        assert volume is not None  # noqa: S101  # its pool was made
        try:
            self._upload(volume, content)
        except BaseException:
            self._drop(volume)
            raise
        return volume

    def make(self) -> None:
        """Make the folder, or see that it is nobody else's."""
        if not self._link.known.private.get(self.directory):
            self._on_pool(self._private, make=True)

    def _drop(self, volume: libvirt.virStorageVol) -> None:
        with contextlib.suppress(libvirt.libvirtError, TransientError):
            self._delete(volume)

    def _delete(self, volume: libvirt.virStorageVol) -> None:
        _once_unused(lambda: self._call(volume.delete, 0))

    def _find(self, name: str, *, expected: bool) -> libvirt.virStorageVol | None:
        """Find a file.

        Args:
            name: the file's.
            expected: also one that came past libvirt since its last look. libvirt looks at all files of the folder
                whenever it is told to, and after every upload; a folder that only this host sees has no others.
        """
        path, known = self.directory / name, self._link.known
        seen = known.files.get(path)
        if seen is not None and (seen.handle is not None or not expected):
            return seen.handle

        def look(pool: libvirt.virStoragePool) -> libvirt.virStorageVol | None:
            volume = self._lookup(pool, name)
            if volume is None and (expected or known.listed.get(self.directory) is None):
                self._refresh(pool)
                volume = self._lookup(pool, name)
            return volume

        return known.files.keep(path, Volume(self._on_pool(look))).handle

    def _lookup(self, pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
        try:
            return self._call(pool.storageVolLookupByName, name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    def _refresh(self, pool: libvirt.virStoragePool) -> None:
        """Look at the directory; another worker's file that is just being made puts it off."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._call(pool.refresh, 0)
            except libvirt.libvirtError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                self._link.known.listed.keep(self.directory, value=True)
                self._link.known.files.clear()
                return

    def _on_pool(self, work: Callable[[libvirt.virStoragePool], R], *, make: bool = False) -> R | None:
        """Do something with the pool of this folder, started; `None` when there is no folder and none is to be made."""
        known = self._link.known.folders
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            kept = known.get(self.directory)
            pool = self._start(make=make) if kept is None else kept
            if pool is None:
                return None
            try:
                return work(known.keep(self.directory, pool))
            except libvirt.libvirtError as error:
                if not _is_gone(error) or time.monotonic() > deadline:
                    raise
                known.forget(self.directory)  # it was stopped meanwhile; or another worker makes it again, as `_again`
                time.sleep(_PAUSE_SECONDS)

    def _start(self, *, make: bool) -> libvirt.virStoragePool | None:
        flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD if make else 0
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                return self._active() or self._activated(flags)
            except libvirt.libvirtError as error:
                if not make and error.get_int1() == errno.ENOENT:
                    return None
                if error.get_int1() in {errno.ENOTDIR, errno.EEXIST}:
                    raise not_a_folder(self.directory) from error
                # Another worker was faster, or is at it.
                if error.get_error_code() not in _RACED or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _active(self) -> libvirt.virStoragePool | None:
        """Find the active pool of this directory, whatever it is called: libvirt allows one only.

        While a pool hangs, libvirt finds none by its directory: then it is found by the name that ours has.
        """
        connection = self._link.connection
        if self._link.hangs():
            pool = self._known(connection.storagePoolLookupByName, self.pool)
            if pool is not None and self._is_here(pool) and self._call(pool.isActive):
                return pool
        return self._known(connection.storagePoolLookupByTargetPath, str(self.directory), ANY_POOL)

    def _is_here(self, pool: libvirt.virStoragePool) -> bool:
        return read_xml(self._call(pool.XMLDesc, 0)).findtext("target/path") == str(self.directory)

    def _activated(self, flags: int) -> libvirt.virStoragePool:
        """Start the pool of our name, or make it."""
        call, connection = self._call, self._link.connection
        pool = self._known(connection.storagePoolLookupByName, self.pool)
        if pool is None:
            return call(connection.storagePoolCreateXML, self._pool_xml(), flags)
        if self._is_here(pool):
            call(pool.create, flags)
            return pool
        if call(pool.isPersistent):
            detail = f"the libvirt pool {self.pool!r} is not the directory {self.directory}"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, "rename that pool: the fleet needs this name")
        call(pool.destroy)  # we made it when the pool around it lay elsewhere; its files stay
        return call(connection.storagePoolCreateXML, self._pool_xml(), flags)

    def _known(
        self, lookup: Callable[[str], libvirt.virStoragePool], argument: str, into: str = ""
    ) -> libvirt.virStoragePool | None:
        try:
            return self._link.call_into(into or self._storage, lookup, argument)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return None

    def _private(self, pool: libvirt.virStoragePool) -> libvirt.virStoragePool:
        """Take a folder that was there before from others: libvirt sets its mode when it makes the pool.

        Raises:
            PermanentError: `ACCESS_DENIED` when others may write into it, and the pool is not ours to make again.
        """
        if self._link.known.private.get(self.directory):
            return pool
        call = self._call
        mode = int(read_xml(call(pool.XMLDesc, 0)).findtext("target/permissions/mode", "0"), 8)
        if mode != PASSABLE and not call(pool.isPersistent):
            pool = self._link.known.folders.keep(self.directory, self._again(pool))
        elif mode & WRITABLE:
            detail = f"others may write into {self.directory} (mode {mode:o})"
            raise PermanentError(PermanentCode.ACCESS_DENIED, detail, f"chmod {PASSABLE:o} {self.directory}")
        self._link.known.private.keep(self.directory, value=True)
        return pool

    def _again(self, pool: libvirt.virStoragePool) -> libvirt.virStoragePool:
        """Make our pool again, with a mode that is ours; another worker may do the same, or make a file there."""
        flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._call(pool.destroy)
            except libvirt.libvirtError as error:
                if _is_busy(error) and time.monotonic() < deadline:
                    time.sleep(_PAUSE_SECONDS)
                    continue
                if not _is_gone(error):
                    raise
            try:
                return self._call(self._link.connection.storagePoolCreateXML, self._pool_xml(), flags)
            except libvirt.libvirtError as error:
                made = self._active() if error.get_error_code() in _RACED else None
                if made is None:
                    raise
                return made

    def _pool_xml(self) -> str:
        pool = ET.Element("pool", type="dir")
        ET.SubElement(pool, "name").text = self.pool
        target = ET.SubElement(pool, "target")
        ET.SubElement(target, "path").text = str(self.directory)
        ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = f"{PASSABLE:04o}"
        return ET.tostring(pool, encoding="unicode")

    def _upload(self, volume: libvirt.virStorageVol, content: bytes) -> None:
        _once_unused(lambda: self._upload_now(volume, content))

    def _upload_now(self, volume: libvirt.virStorageVol, content: bytes) -> None:
        call, stream = self._call, self._link.connection.newStream(0)
        try:
            if len(content) <= AT_ONE_GO:
                call(_send, volume, stream, content)
                return
            call(volume.upload, stream, 0, len(content), 0)
            sent = 0
            while sent < len(content):
                sent += call(stream.send, content[sent : sent + CHUNK])
            call(stream.finish)
        except BaseException:
            _abort(self._link, stream)
            raise

    def _downloaded_unless_new(self, volume: libvirt.virStorageVol) -> bytes | None:
        """Read a file; `None` while another worker is just making it."""
        try:
            return self._download(volume)
        except libvirt.libvirtError as error:
            if _ALLOCATED not in (error.get_error_message() or ""):
                raise
            return None

    def _download(self, volume: libvirt.virStorageVol) -> bytes:
        call, stream = self._call, self._link.connection.newStream(0)
        try:
            chunks = call(_receive, volume, stream)
            if chunks[-1]:
                while chunk := call(stream.recv, CHUNK):
                    chunks.append(chunk)
                call(stream.finish)
        except BaseException:
            _abort(self._link, stream)
            raise
        return b"".join(chunks)


class SftpFolder:
    """The images in a directory of a host.

    Links are not followed: neither one in the place of the folder nor one under an image's name.

    Args:
        sftp: to the host.
        directory: the images'.
        pool: the libvirt pool of that directory, if there is one.
        with_parents: make the directories above as well; not so below a pool, whose own must be there.
        access: who may read the images.
        through: the same folder through libvirt: it reads a file that is QEMU's user's by now, where ours is not root.
        within: the storage's folder, of one that lies in it.
    """

    def __init__(  # noqa: PLR0913  # all by name but the first
        self,
        sftp: Sftp,
        directory: PurePosixPath,
        pool: str,
        *,
        with_parents: bool,
        access: Access,
        through: VolumeFolder,
        within: PurePosixPath | None = None,
    ) -> None:
        self._sftp = sftp
        self.directory = directory
        self.pool = pool
        self._with_parents = with_parents
        self._access = access
        self._through = through
        self._within = within

    def identity(self, *, make: bool) -> str | None:
        """Return which storage this is."""
        path = self.directory / ID_FILE

        async def work(client: asyncssh.SFTPClient) -> str | None:
            if not await self._open(client, make=make):
                return None
            content = await read_file(client, path)
            if content is None and make:
                await write_new_file(client, path, _new_id())
                content = await read_file(client, path)
            return content.decode().strip() if content is not None and _ID.fullmatch(content) else None

        return self._sftp.run(work)

    def shards(self) -> tuple[str, ...]:
        """Name the folders within, in which images lie."""

        async def work(client: asyncssh.SFTPClient) -> tuple[str, ...]:
            found = await list_directory(client, self.directory) if await self._open(client) else ()
            return tuple(sorted(name for name in map(str, found) if _SHARD.fullmatch(name)))

        return self._sftp.run(work)

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; what a killed upload has left is deleted."""

        async def work(client: asyncssh.SFTPClient) -> tuple[ImageName, ...]:
            if not await self._open(client):
                return ()
            files = await list_directory(client, self.directory)
            await clear_parts(client, self.directory, files, ImageName.parse, vm)
            names = (ImageName.parse(file) for file in files)
            return tuple(name for name in names if name is not None and vm in {None, name.vm_uuid})

        return self._sftp.run(work)

    def find(self, names: Collection[ImageName]) -> tuple[ImageName, ...]:
        """Say which of these files are there; what a killed upload has left of them is deleted."""

        async def look(client: asyncssh.SFTPClient, name: ImageName) -> bool:
            path = self.directory / str(name)
            await unlink(client, part_of(path))
            return await look_at(client, path) is not None

        async def work(client: asyncssh.SFTPClient) -> tuple[ImageName, ...]:
            if not await self._open(client):
                return ()
            found = await asyncio.gather(*(look(client, name) for name in names))
            return tuple(name for name, there in zip(names, found, strict=True) if there)

        return self._sftp.run(work)

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""

        async def work(client: asyncssh.SFTPClient) -> bool:
            return await self._open(client) and await is_file(client, self.directory / str(name))

        return self._sftp.run(work)

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""

        async def work(client: asyncssh.SFTPClient) -> bytes | None:
            return await read_file(client, self.directory / str(name)) if await self._open(client) else None

        try:
            return self._sftp.run(work, transfer=MOST)
        except asyncssh.SFTPPermissionDenied:
            return self._through.read(name)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back before it has its name."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await self._open(client, make=True)
            await write_file(client, self.directory / str(name), content, self._give_away)

        self._sftp.run(work, transfer=2 * len(content))

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""

        async def work(client: asyncssh.SFTPClient) -> None:
            if await self._open(client):
                path = self.directory / str(name)
                await asyncio.gather(unlink(client, path), unlink(client, part_of(path)))

        self._sftp.run(work)

    def probe(self) -> Access:
        """Write a file as an image would be written, and take it away; returns who might have read it."""
        path = self.directory / probe_name()

        async def work(client: asyncssh.SFTPClient) -> asyncssh.SFTPAttrs:
            await self._open(client, make=True)
            try:
                await write_file(client, path, b"probe", self._give_away)
                return await client.lstat(str(path))
            finally:
                await unlink(client, path)

        found = self._sftp.run(work)
        return Access(found.uid, found.gid, stat.S_IMODE(found.permissions or 0))

    async def _give_away(self, client: asyncssh.SFTPClient, path: PurePosixPath) -> None:
        """Give a file to who is to read it. What the host refuses, `doctor` says: a user that is not root may not."""
        access, seen = self._access, await client.lstat(str(path))
        if access.mode != PRIVATE:
            await client.chmod(str(path), access.mode)
        owner = seen.uid if access.owner is None else access.owner
        group = seen.gid if access.group is None else access.group
        if owner is not None and group is not None and (owner, group) != (seen.uid, seen.gid):
            with contextlib.suppress(asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure):
                await client.chown(str(path), owner, group)

    async def _open(self, client: asyncssh.SFTPClient, *, make: bool = False) -> bool:
        """Say whether the folder is there, and see that it is nobody else's; make it if need be.

        Raises:
            PermanentError: `ACCESS_DENIED` when it is a link, which would lead the fleet's user anywhere.
        """
        within = self._within
        if within is not None and not await open_folder(
            client, within, PASSABLE, make=make, parents=self._with_parents
        ):
            return False
        parents = self._with_parents and within is None
        return await open_folder(client, self.directory, PASSABLE, make=make, parents=parents)


def probe_name() -> str:
    """Return a name for a file by which is found out whether one can be written."""
    return f"{_PROBE}-{secrets.token_hex(4)}"


def _is_busy(error: libvirt.libvirtError) -> bool:
    return (error.get_error_domain(), error.get_error_code()) == _BUSY


def _is_gone(error: libvirt.libvirtError) -> bool:
    """Whether a pool that was there is not there, or not started, any more."""
    gone = error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL
    return gone or _NOT_ACTIVE in (error.get_error_message() or "")


def _once_unused(work: Callable[[], object]) -> None:
    """Write or delete a volume, once whoever just begins to read it has begun."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            work()
        except libvirt.libvirtError as error:
            if _IN_USE not in (error.get_error_message() or "") or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _send(volume: libvirt.virStorageVol, stream: libvirt.virStream, content: bytes) -> None:
    volume.upload(stream, 0, len(content), 0)
    sent = 0
    while sent < len(content):
        sent += stream.send(content[sent : sent + CHUNK])
    stream.finish()


def _receive(volume: libvirt.virStorageVol, stream: libvirt.virStream) -> list[bytes]:
    """Begin to read a file; the last of the chunks is empty when that was all."""
    volume.download(stream, 0, 0, 0)
    chunks = [stream.recv(CHUNK)]
    while chunks[-1] and sum(map(len, chunks)) <= AT_ONE_GO:
        chunks.append(stream.recv(CHUNK))
    if not chunks[-1]:
        stream.finish()
    return chunks


def _abort(link: Link, stream: libvirt.virStream) -> None:
    with contextlib.suppress(libvirt.libvirtError, TransientError):
        link.call(stream.abort)


def _volume_xml(name: str, size: int, access: Access) -> str:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    for amount in ("capacity", "allocation"):
        ET.SubElement(volume, amount, unit="bytes").text = str(size)
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type="raw")
    permissions = ET.SubElement(target, "permissions")
    ET.SubElement(permissions, "mode").text = f"{access.mode:04o}"
    for name_, number in (("owner", access.owner), ("group", access.group)):
        if number is not None:
            ET.SubElement(permissions, name_).text = str(number)
    return ET.tostring(volume, encoding="unicode")


def _new_id() -> bytes:
    return f"{uuid.uuid4().hex}\n".encode()
