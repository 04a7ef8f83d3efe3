"""Images as files over SFTP: for hosts whose pools hold no files, and for pools that many hosts share.

A file is written as `<name>.part`, read back, and then renamed: it is whole when it is seen. libvirt need not be told:
drives name an image by its path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncssh

from configdrive.errors import TransientCode, TransientError
from configdrive.model import ImageName
from workers.hypervisors.kvm.image_folder import PASSABLE, PRIVATE

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import VmUuid
    from workers.hypervisors.kvm.sftp_session import Sftp

PART: Final = ".part"
"""Behind the name of a file that is not whole yet."""

MOST: Final = 65 * 1024 * 1024
"""Bytes that the reading of an image is waited for: no image is larger than 64 MiB."""

_ABSENT: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


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
        self._directory = directory
        self._pool = pool
        self._with_parents = with_parents

    @property
    def directory(self) -> PurePosixPath:
        """Where it lies, as the host sees it."""
        return self._directory

    @property
    def pool(self) -> str:
        """The libvirt pool of this folder."""
        return self._pool

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; of one VM, what a killed upload has left is deleted."""

        async def work(client: asyncssh.SFTPClient) -> tuple[ImageName, ...]:
            try:
                files = [str(file) for file in await client.listdir(str(self._directory))]
            except _ABSENT:
                return ()
            for file in files:
                owner = ImageName.parse(file.removesuffix(PART)) if file.endswith(PART) else None
                if owner is not None and owner.vm_uuid == vm:
                    await _unlink(client, str(self._directory / file))
            names = (ImageName.parse(file) for file in files)
            return tuple(name for name in names if name is not None and vm in {None, name.vm_uuid})

        return self._sftp.run(work)

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""

        async def work(client: asyncssh.SFTPClient) -> bool:
            return await client.isfile(self._path(name))

        return self._sftp.run(work)

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""

        async def work(client: asyncssh.SFTPClient) -> bytes | None:
            try:
                return await _read(client, self._path(name))
            except _ABSENT:
                return None

        return self._sftp.run(work, transfer=MOST)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back before it has its name."""
        path = self._path(name)
        part = path + PART

        async def work(client: asyncssh.SFTPClient) -> None:
            await self._make_directory(client)
            await _unlink(client, part)
            try:
                await _write(client, part, content)
                if await _read(client, part) != content:
                    detail = f"file {name} reads back otherwise than written"
                    raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)  # noqa: TRY301
                await client.posix_rename(part, path)
            except asyncssh.SFTPFailure:
                full = await self._is_full(client, len(content))
                await _unlink(client, part)
                if full:
                    detail = f"{self._directory} has no room for an image"
                    raise TransientError(TransientCode.STORAGE_FULL, detail, "free some space there") from None
                raise
            except (asyncssh.SFTPError, TransientError):
                await _unlink(client, part)
                raise

        self._sftp.run(work, transfer=2 * len(content))

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await _unlink(client, self._path(name))

        self._sftp.run(work)

    def _path(self, name: ImageName) -> str:
        return str(self._directory / str(name))

    async def _make_directory(self, client: asyncssh.SFTPClient) -> None:
        path, mode = str(self._directory), asyncssh.SFTPAttrs(permissions=PASSABLE)
        if await client.isdir(path):
            return
        if self._with_parents:
            await client.makedirs(str(self._directory.parent), exist_ok=True)
        try:
            await client.mkdir(path, mode)
        except asyncssh.SFTPFailure:  # another worker was faster
            if not await client.isdir(path):
                raise

    async def _is_full(self, client: asyncssh.SFTPClient, needed: int) -> bool:
        """OpenSSH says "failure" to a full disk, as to all else: ask how much room there is."""
        try:
            room = await client.statvfs(str(self._directory))
        except asyncssh.SFTPError:
            return False
        return room.bavail * room.frsize < needed


async def _read(client: asyncssh.SFTPClient, path: str) -> bytes:
    async with client.open(path, "rb") as file:
        return await file.read()


async def _write(client: asyncssh.SFTPClient, path: str, content: bytes) -> None:
    """Write a new file; following a link that somebody has put there is ruled out."""
    async with client.open(path, "xb", asyncssh.SFTPAttrs(permissions=PRIVATE)) as file:
        await file.write(content)


async def _unlink(client: asyncssh.SFTPClient, path: str) -> None:
    try:
        await client.remove(path)
    except _ABSENT:
        return
