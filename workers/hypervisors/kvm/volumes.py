"""Images as volumes of a libvirt pool: needs nothing on the host but libvirtd.

A volume cannot be renamed, so a file is visible under its name while it is written; what the upload of a killed worker
leaves is told by its content and replaced. libvirt knows of a file what it saw at its last look (`refresh`).
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import libvirt

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName
from workers.hypervisors.kvm.image_folder import PASSABLE, PRIVATE

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import VmUuid
    from workers.hypervisors.kvm.connection import Link

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


class VolumeFolder:
    """The images in a directory, through a libvirt pool of type dir that is made when it is needed.

    Args:
        link: to the host.
        directory: the images'.
        pool: the libvirt pool's name.
    """

    def __init__(self, link: Link, directory: PurePosixPath, pool: str) -> None:
        self._link = link
        self._directory = directory
        self._name = pool

    @property
    def directory(self) -> PurePosixPath:
        """Where it lies, as the host sees it."""
        return self._directory

    @property
    def pool(self) -> str:
        """The libvirt pool of this folder."""
        return self._name

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
            return self._link.call(self._link.connection.storagePoolLookupByName, self._name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return self._foreign_pool()

    def _foreign_pool(self) -> libvirt.virStoragePool | None:
        """Find a pool of another name in the same directory: libvirt allows one only."""
        try:
            return self._link.call(self._link.connection.storagePoolLookupByTargetPath, str(self._directory))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            return None

    def _pool_xml(self) -> str:
        pool = ET.Element("pool", type="dir")
        ET.SubElement(pool, "name").text = self._name
        target = ET.SubElement(pool, "target")
        ET.SubElement(target, "path").text = str(self._directory)
        ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = f"{PASSABLE:04o}"
        return ET.tostring(pool, encoding="unicode")

    def _require_path(self, path: str, name: ImageName) -> None:
        if path != str(self._directory / str(name)):
            detail = f"the libvirt pool {self._name!r} is not the directory {self._directory}"
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
