"""dom0 of a host by SFTP: making folders, and the second route for images. The host's key must be known.

One SSH connection for each operation: a folder is made once in a storage's life, and a site that brings images by SFTP
pays a handshake for each. No user's ssh configuration and no agent takes part: the inventory is all there is.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final, TypeVar

import asyncssh

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.hypervisors.xenserver.faults import translated
from workers.hypervisors.xenserver.names import image_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import PurePosixPath

    from configdrive.model import HostName, VmUuid
    from workers.hypervisors.xenserver.inventory import SshTable

R = TypeVar("R")

PART: Final = ".part"
"""Behind the name of a file that is not whole yet: the ISO driver shows names that end in `.iso` or `.img` only."""

BYTES_PER_SECOND: Final = 1024 * 1024
"""The slowest link on which a transfer is still waited for."""

MOST: Final = 65 * 1024 * 1024
"""Bytes of the largest image, with some room: none is larger than 64 MiB."""

ABANDONED_SECONDS: Final = 3600.0
"""A half-written file that nobody has touched for so long is nobody's any more."""

_ABSENT: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_FOLDER: Final = asyncssh.SFTPAttrs(permissions=0o700)
_FILE: Final = asyncssh.SFTPAttrs(permissions=0o600)


class Dom0:
    """A host's dom0.

    Args:
        host: for the messages.
        table: address, user, key and known host keys.
        timeout: seconds for an operation that moves no data.
    """

    def __init__(self, host: HostName, table: SshTable, timeout: float) -> None:
        self._host = host
        self._table = table
        self._timeout = timeout

    def make_folder(self, path: PurePosixPath) -> None:
        """Make a directory that may be there already, for root alone; not the mount point above it."""

        async def work(client: asyncssh.SFTPClient) -> None:
            if not await client.isdir(str(path.parent)) and path.parent.parent.name != "sr-mount":
                await client.makedirs(str(path.parent), _FOLDER, exist_ok=True)
            try:
                await client.mkdir(str(path), _FOLDER)
            except asyncssh.SFTPFailure:
                if not await client.isdir(str(path)):
                    raise

        self._run(work)

    def read(self, path: PurePosixPath) -> bytes | None:
        """Return a file's bytes; `None` when it is not there."""

        async def work(client: asyncssh.SFTPClient) -> bytes | None:
            try:
                return await _read(client, str(path))
            except _ABSENT:
                return None

        return self._run(work, transfer=MOST)

    def put(self, path: PurePosixPath, content: bytes) -> None:
        """Write a file, read it back, give it its name.

        Raises:
            TransientError: `UPLOAD_CORRUPT`, `STORAGE_FULL`.
        """
        part = f"{path}{PART}"

        async def work(client: asyncssh.SFTPClient) -> None:
            await _unlink(client, part)
            try:
                async with client.open(part, "xb", _FILE) as file:
                    await file.write(content)
                if await _read(client, part) != content:
                    detail = f"file {path.name} reads back otherwise than written"
                    raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)  # noqa: TRY301
                await client.posix_rename(part, str(path))
            except (asyncssh.SFTPError, TransientError) as error:
                await _unlink(client, part)
                if type(error) is asyncssh.SFTPFailure and await _is_full(client, path.parent, len(content)):
                    detail = f"{path.parent} has no room for an image"
                    raise TransientError(TransientCode.STORAGE_FULL, detail, "free some space there") from None
                raise

        self._run(work, transfer=2 * len(content))

    def remove(self, path: PurePosixPath) -> None:
        """Delete a file; gone already is success."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await _unlink(client, str(path))

        self._run(work)

    def clear(self, directory: PurePosixPath, vm: VmUuid | None = None) -> None:
        """Delete what killed uploads of a VM have left here; of all VMs, what nobody has written to for long."""

        async def work(client: asyncssh.SFTPClient) -> None:
            for left in await _parts(client, directory):
                owner, path = image_at(left.removesuffix(PART)), str(directory / left)
                if owner is None or vm not in {None, owner.vm_uuid}:
                    continue
                touched = 0 if vm is not None else (await client.stat(path)).mtime or 0
                if time.time() - touched > ABANDONED_SECONDS:
                    await _unlink(client, path)

        self._run(work)

    def probe(self) -> None:
        """Log in and look at the root directory."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await client.listdir("/")

        self._run(work)

    def _run(self, work: Callable[[asyncssh.SFTPClient], Awaitable[R]], *, transfer: int = 0) -> R:
        """Connect, do something, and close.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED` (also for an unknown host key), `MISCONFIGURED`, and what
                the work raised, in our words.
        """
        for field, path in (("key_file", self._table.key_file), ("known_hosts", self._table.known_hosts)):
            if not os.access(path, os.R_OK):
                detail = f"xenserver.hosts.{self._host}.ssh.{field}: {path} cannot be read here"
                raise PermanentError(PermanentCode.MISCONFIGURED, detail, "put it there, readable for the worker")
        limit = self._timeout + transfer / BYTES_PER_SECOND
        with translated(f"host {self._host}, ssh"):
            try:
                return asyncio.run(asyncio.wait_for(self._work(work), limit))
            except TimeoutError:
                detail = f"host {self._host}: SFTP has not answered within {limit:g} s"
                raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether sshd hangs there") from None

    async def _work(self, work: Callable[[asyncssh.SFTPClient], Awaitable[R]]) -> R:
        async with (
            asyncssh.connect(
                self._table.host,
                self._table.port,
                username=self._table.user,
                client_keys=[str(self._table.key_file)],
                known_hosts=str(self._table.known_hosts),
                config=None,
                agent_path=None,
                preferred_auth="publickey",
                connect_timeout=self._timeout,
                login_timeout=self._timeout,
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            return await work(client)


async def _read(client: asyncssh.SFTPClient, path: str) -> bytes:
    async with client.open(path, "rb") as file:
        return await file.read()


async def _parts(client: asyncssh.SFTPClient, directory: PurePosixPath) -> list[str]:
    try:
        return [str(name) for name in await client.listdir(str(directory)) if str(name).endswith(PART)]
    except _ABSENT:
        return []


async def _unlink(client: asyncssh.SFTPClient, path: str) -> None:
    try:
        await client.remove(path)
    except _ABSENT:
        return


async def _is_full(client: asyncssh.SFTPClient, directory: PurePosixPath, needed: int) -> bool:
    """OpenSSH says "failure" to a full disk, as to all else: ask how much room there is."""
    try:
        room = await client.statvfs(str(directory))
    except asyncssh.SFTPError:
        return False
    return room.bavail * room.frsize < needed
