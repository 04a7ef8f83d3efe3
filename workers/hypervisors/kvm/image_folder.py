"""The folder with the fleet's images on one storage: as volumes of a libvirt pool, or as files over SFTP.

Volumes need nothing on the host but libvirtd. A volume cannot be renamed, so a file is visible under its name while it
is written; what the upload of a killed worker leaves is known by its content and replaced. libvirt knows of a file what
it saw at its last look (`refresh`).

SFTP is for hosts whose pools hold no files, and for pools that many hosts share. libvirt need not know of a file:
drives name an image by its path.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Final, Protocol
from xml.etree import ElementTree as ET

import asyncssh
import libvirt

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName
from workers.driverkit.ssh import MOST, clear_parts, list_directory, read_file, unlink, write_file
from workers.driverkit.storage_routes import Files

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import VmUuid
    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.kvm.sessions import Link

PRIVATE: Final = 0o600
"""An image's mode: it may hold a password. When libvirt attaches the file it makes QEMU's user its owner
(`dynamic_ownership` in qemu.conf, which is the default)."""

PASSABLE: Final = 0o711
"""The folder's mode: QEMU's user may reach a file by its name, nobody but the owner may list them."""

CHUNK: Final = 256 * 1024 - 64
"""Bytes per message: what fits into one of libvirt's stream packets."""

_WAIT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02
_BUSY: Final = (libvirt.VIR_FROM_STORAGE, libvirt.VIR_ERR_INTERNAL_ERROR)
"""How libvirt refuses to look at a pool in which somebody is just making a volume."""

_RACED: Final = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_FAILED,  # made meanwhile
        libvirt.VIR_ERR_OPERATION_INVALID,  # started meanwhile
        libvirt.VIR_ERR_NO_STORAGE_POOL,  # seen while somebody else tried to make it, in vain
        None,  # the same, when libvirt 9.0 forgets to say so
    }
)
"""What libvirt answers when several workers look for a pool and make it at once."""


class ImageFolder(Files, Protocol):
    """One folder of images. Every method has the same effect twice as once."""

    @property
    def directory(self) -> PurePosixPath:
        """Where it lies, as the host sees it."""

    @property
    def pool(self) -> str:
        """The libvirt pool of this folder (it need not exist), by which a drive may name a file in it."""

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; of one VM, what a killed upload has left half-written is deleted.

        A folder that is not there has none.
        """

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""


class VolumeFolder:
    """The images in a directory, through a libvirt pool of type dir that is made when it is needed.

    Args:
        link: to the host.
        directory: the images'.
        pool: the libvirt pool's name.
    """

    def __init__(self, link: Link, directory: PurePosixPath, pool: str) -> None:
        self._link = link
        self.directory = directory
        self.pool = pool

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all."""
        pool = self._pool(make=False)
        if pool is None:
            return ()
        self._refresh(pool)
        found = (ImageName.parse(name) for name in self._link.call(pool.listVolumes))
        return tuple(name for name in found if name is not None and vm in {None, name.vm_uuid})

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""
        pool = self._pool(make=False)
        volume = None if pool is None else self._find(pool, name)
        if volume is None:
            return False
        try:
            self._link.call(volume.info)  # looks at the file, where libvirt may only remember it
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                return False
            raise
        return True

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""
        pool = self._pool(make=False)
        volume = None if pool is None else self._find(pool, name)
        return None if volume is None else self._download(volume)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back."""
        pool = self._pool(make=True)
        assert pool is not None  # noqa: S101  # it was made
        volume = self._link.call(pool.createXML, _volume_xml(name, len(content)), 0)
        try:
            self._require_path(self._link.call(volume.path), name)
            self._upload(volume, content)
            if self._download(volume) != content:
                detail = f"volume {name} reads back otherwise than written"
                raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)  # noqa: TRY301
        except BaseException:
            with contextlib.suppress(libvirt.libvirtError, TransientError):
                self._link.call(volume.delete, 0)
            raise

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""
        pool = self._pool(make=False)
        volume = None if pool is None else self._find(pool, name)
        if volume is not None:
            self._link.call(volume.delete, 0)

    def _find(self, pool: libvirt.virStoragePool, name: ImageName) -> libvirt.virStorageVol | None:
        """Find a file, also one that came past libvirt since its last look."""
        for looking_again in (False, True):
            if looking_again:
                self._refresh(pool)
            try:
                return self._link.call(pool.storageVolLookupByName, str(name))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                    raise
        return None

    def _refresh(self, pool: libvirt.virStoragePool) -> None:
        """Look at the directory; another worker's file that is just being made puts it off."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._link.call(pool.refresh, 0)
            except libvirt.libvirtError as error:
                busy = (error.get_error_domain(), error.get_error_code()) == _BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _pool(self, *, make: bool) -> libvirt.virStoragePool | None:
        """Give the pool of this folder, started; `None` when there is no folder and none is to be made."""
        flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD if make else 0
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                pool = self._known_pool()
                if pool is None:
                    return self._link.call(self._link.connection.storagePoolCreateXML, self._pool_xml(), flags)
                if not self._link.call(pool.isActive):
                    self._link.call(pool.create, flags)
            except libvirt.libvirtError as error:
                if not make and error.get_int1() == errno.ENOENT:
                    return None
                # Another worker was faster, or is at it.
                if error.get_error_code() not in _RACED or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return pool

    def _known_pool(self) -> libvirt.virStoragePool | None:
        try:
            return self._link.call(self._link.connection.storagePoolLookupByName, self.pool)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return self._foreign_pool()

    def _foreign_pool(self) -> libvirt.virStoragePool | None:
        """Find a pool of another name in the same directory: libvirt allows one only."""
        try:
            return self._link.call(self._link.connection.storagePoolLookupByTargetPath, str(self.directory))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return None

    def _pool_xml(self) -> str:
        pool = ET.Element("pool", type="dir")
        ET.SubElement(pool, "name").text = self.pool
        target = ET.SubElement(pool, "target")
        ET.SubElement(target, "path").text = str(self.directory)
        ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = f"{PASSABLE:04o}"
        return ET.tostring(pool, encoding="unicode")

    def _require_path(self, path: str, name: ImageName) -> None:
        if path != str(self.directory / str(name)):
            detail = f"the libvirt pool {self.pool!r} is not the directory {self.directory}"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, "rename that pool: the fleet needs this name")

    def _upload(self, volume: libvirt.virStorageVol, content: bytes) -> None:
        call, stream = self._link.call, self._link.connection.newStream(0)
        try:
            call(volume.upload, stream, 0, len(content), 0)
            sent = 0
            while sent < len(content):
                sent += call(stream.send, content[sent : sent + CHUNK])
            call(stream.finish)
        except BaseException:
            _abort(self._link, stream)
            raise

    def _download(self, volume: libvirt.virStorageVol) -> bytes:
        call, stream, chunks = self._link.call, self._link.connection.newStream(0), []
        try:
            call(volume.download, stream, 0, 0, 0)
            while chunk := call(stream.recv, CHUNK):
                chunks.append(chunk)
            call(stream.finish)
        except BaseException:
            _abort(self._link, stream)
            raise
        return b"".join(chunks)


class SftpFolder:
    """The images in a directory of a host.

    Args:
        sftp: to the host.
        directory: the images'.
        pool: the libvirt pool of that directory, if there is one.
        with_parents: make the directories above as well; not so below a pool, whose own must be there.
    """

    def __init__(self, sftp: Sftp, directory: PurePosixPath, pool: str, *, with_parents: bool) -> None:
        self._sftp = sftp
        self.directory = directory
        self.pool = pool
        self._with_parents = with_parents

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; what a killed upload has left is deleted."""

        async def work(client: asyncssh.SFTPClient) -> tuple[ImageName, ...]:
            files = await list_directory(client, self.directory)
            await clear_parts(client, self.directory, files, ImageName.parse, vm)
            names = (ImageName.parse(file) for file in files)
            return tuple(name for name in names if name is not None and vm in {None, name.vm_uuid})

        return self._sftp.run(work)

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""
        return self._sftp.run(lambda client: client.isfile(str(self.directory / str(name))))

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""
        return self._sftp.run(lambda client: read_file(client, self.directory / str(name)), transfer=MOST)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back before it has its name."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await self._make_directory(client)
            await write_file(client, self.directory / str(name), content)

        self._sftp.run(work, transfer=2 * len(content))

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""
        self._sftp.run(lambda client: unlink(client, self.directory / str(name)))

    async def _make_directory(self, client: asyncssh.SFTPClient) -> None:
        path, mode = str(self.directory), asyncssh.SFTPAttrs(permissions=PASSABLE)
        if await client.isdir(path):
            return
        if self._with_parents:
            await client.makedirs(str(self.directory.parent), exist_ok=True)
        try:
            await client.mkdir(path, mode)
        except asyncssh.SFTPFailure:  # another worker was faster
            if not await client.isdir(path):
                raise


def _abort(link: Link, stream: libvirt.virStream) -> None:
    with contextlib.suppress(libvirt.libvirtError, TransientError):
        link.call(stream.abort)


def _volume_xml(name: ImageName, size: int) -> str:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = str(name)
    for amount in ("capacity", "allocation"):
        ET.SubElement(volume, amount, unit="bytes").text = str(size)
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type="raw")
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = f"{PRIVATE:04o}"
    return ET.tostring(volume, encoding="unicode")
