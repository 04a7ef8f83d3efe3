"""SSH and SFTP to a host: one kept connection per host and process, whole files, and what faults mean.

asyncssh runs on an event loop in a thread of its own, one per process; a forked child starts its own. No user's ssh
configuration and no agent takes part: what the inventory says is all there is. The host's key must be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
import time
import uuid
from typing import TYPE_CHECKING, Final, TypeVar

import asyncssh

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName
from workers.driverkit import connections
from workers.driverkit.connections import Tally
from workers.driverkit.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import PurePosixPath

    from configdrive.errors import Code
    from configdrive.model import HostName, VmUuid
    from workers.driverkit.faults import Translator
    from workers.driverkit.tables import SshTable

R = TypeVar("R")

PART: Final = ".part"
"""Behind the name of a file that is not whole yet."""

BYTES_PER_SECOND: Final = 1024 * 1024
"""The slowest link on which a transfer is still waited for."""

MOST: Final = 65 * 1024 * 1024
"""Bytes that the reading of an image is waited for: no image is larger than 64 MiB."""

ABANDONED_SECONDS: Final = 3600.0
"""A half-written file that nobody has touched for so long is nobody's any more."""

_PRIVATE: Final = 0o600

_BY_SSH_CLASS: Final[tuple[tuple[type[Exception], Code], ...]] = (
    (asyncssh.SFTPNoSpaceOnFilesystem, TransientCode.STORAGE_FULL),
    (asyncssh.SFTPQuotaExceeded, TransientCode.STORAGE_FULL),
    (asyncssh.SFTPPermissionDenied, PermanentCode.ACCESS_DENIED),
    (asyncssh.SFTPWriteProtect, PermanentCode.ACCESS_DENIED),
    (asyncssh.SFTPNoConnection, TransientCode.HOST_UNREACHABLE),
    (asyncssh.SFTPConnectionLost, TransientCode.HOST_UNREACHABLE),
    (asyncssh.SFTPOpUnsupported, PermanentCode.NOT_SUPPORTED),
    (asyncssh.SFTPError, TransientCode.STORAGE_UNAVAILABLE),
    (asyncssh.HostKeyNotVerifiable, PermanentCode.ACCESS_DENIED),
    (asyncssh.PermissionDenied, PermanentCode.ACCESS_DENIED),
    (asyncssh.KeyExchangeFailed, PermanentCode.NOT_SUPPORTED),
    (asyncssh.ChannelOpenError, PermanentCode.NOT_SUPPORTED),
    (asyncssh.Error, TransientCode.HOST_UNREACHABLE),
)
"""asyncssh's classes, the narrower before the wider."""

_LOST: Final = (asyncssh.DisconnectError, asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, ConnectionError)
_ABSENT: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


def ssh_code(error: asyncssh.Error) -> Code:
    """Say which code of the taxonomy an error of asyncssh is."""
    return next(code for kind, code in _BY_SSH_CLASS if isinstance(error, kind))


def ssh_fault(error: Exception) -> Fault | None:
    """Say what an exception of asyncssh means; `None` when it is none of its own."""
    if isinstance(error, asyncssh.Error):
        return Fault(ssh_code(error), error.reason or type(error).__name__)
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        remedy = "name an unencrypted OpenSSH private key in 'key_file'"
        return Fault(PermanentCode.MISCONFIGURED, "the ssh key cannot be read", remedy)
    return None


class _Loop:
    """The process's asyncio loop."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="asyncssh", daemon=True).start()


_starting = threading.Lock()
_current: _Loop | None = None


def _loop() -> _Loop:
    global _current  # noqa: PLW0603  # one loop serves all hosts
    current = _current
    if current is None or current.process != os.getpid():
        with _starting:
            if _current is None or _current.process != os.getpid():
                _current = _Loop()
            current = _current
    return current


class _Session:
    """A connection with its SFTP client."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.opening = asyncio.Lock()
        self._users = 0
        self._resting: asyncio.TimerHandle | None = None
        self.connection: asyncssh.SSHClientConnection | None = None
        self.client: asyncssh.SFTPClient | None = None

    def begin(self, connection: asyncssh.SSHClientConnection) -> None:
        self.lose()  # one whose SFTP has never begun
        self.connection = connection
        self._tally.opened()

    def use(self) -> None:
        """Note that somebody uses it."""
        self._users += 1
        if self._resting is not None:
            self._resting.cancel()

    def rest(self) -> None:
        """Note that somebody uses it no more: it is closed when that lasts."""
        self._users -= 1
        if self._users == 0:
            self._resting = asyncio.get_running_loop().call_later(connections.IDLE_SECONDS, self.close)

    def lose(self) -> None:
        if self.connection is not None:
            self._tally.lost()
        self._end()

    def close(self) -> None:
        if self.connection is not None:
            self._tally.closed()
        self._end()

    def _end(self) -> None:
        if self.connection is not None:
            self.connection.abort()
        self.connection = self.client = None


class Sftp:
    """SFTP to one host.

    Args:
        hypervisor: of which inventory; with the host it is for the messages.
        host: in the inventory.
        table: address, user, key and known host keys.
        timeout: seconds for connecting, and for an operation that moves no data.
        translated: the driver's.
    """

    def __init__(
        self, hypervisor: str, host: HostName, table: SshTable, timeout: float, translated: Translator
    ) -> None:
        self.tally = Tally(host, "ssh")
        self._where = f"{hypervisor}.hosts.{host}.ssh"
        self._host = host
        self._table = table
        self._timeout = timeout
        self._translated = translated
        self._loop: _Loop | None = None
        self._session: _Session | None = None
        self._switching = threading.Lock()

    def run(self, work: Callable[[asyncssh.SFTPClient], Awaitable[R]], *, transfer: int = 0) -> R:
        """Do something with the SFTP client and wait for it; done again once when a kept connection turns out dead.

        Args:
            work: must have the same effect twice as once.
            transfer: the bytes it moves, for the time limit.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED` (also for an unknown host key), `MISCONFIGURED`.
            asyncssh.SFTPError: what the host answered.
        """
        self._require_files()
        loop, session = self._here()
        limit = self._timeout + transfer / BYTES_PER_SECOND
        task = asyncio.run_coroutine_threadsafe(self._attempts(session, work), loop.loop)
        try:
            return task.result(limit)
        except TimeoutError:
            self._give_up(loop, session, task.cancel)
            detail = f"host {self._host}: SFTP has not answered within {limit:g} s"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether sshd hangs there") from None
        except (asyncssh.Error, OSError, PermanentError, TransientError):
            raise
        except BaseException:  # a soft time limit
            self._give_up(loop, session, task.cancel)
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        loop, session = self._loop, self._session
        if loop is not None and session is not None and loop.process == os.getpid():
            loop.loop.call_soon_threadsafe(session.close)

    def _require_files(self) -> None:
        for field, path in (("key_file", self._table.key_file), ("known_hosts", self._table.known_hosts)):
            if not os.access(path, os.R_OK):
                detail = f"{self._where}.{field}: {path} cannot be read here"
                raise PermanentError(PermanentCode.MISCONFIGURED, detail, "put it there, readable for the worker")

    def _here(self) -> tuple[_Loop, _Session]:
        """Return this process's session; a forked child leaves its parent's alone."""
        loop = _loop()
        with self._switching:
            if self._loop is not loop or self._session is None:
                self._session, self._loop = _Session(self.tally), loop
            return loop, self._session

    def _give_up(self, loop: _Loop, session: _Session, cancel: Callable[[], bool]) -> None:
        cancel()
        loop.loop.call_soon_threadsafe(session.lose)

    async def _attempts(self, session: _Session, work: Callable[[asyncssh.SFTPClient], Awaitable[R]]) -> R:
        kept = session.client is not None
        session.use()
        try:
            try:
                return await work(await self._client(session))
            except _LOST:
                session.lose()
                if not kept:
                    raise
            return await work(await self._client(session))
        finally:
            session.rest()

    async def _client(self, session: _Session) -> asyncssh.SFTPClient:
        async with session.opening:
            if session.client is None:
                with self._translated(f"host {self._host}, ssh"):
                    connection = await asyncssh.connect(
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
                        keepalive_interval=5,
                        keepalive_count_max=3,
                    )
                    session.begin(connection)
                    session.client = await connection.start_sftp_client()
            return session.client


# --- files: for the work that `Sftp.run` does -----------------------------------------------------------------------


async def list_directory(client: asyncssh.SFTPClient, directory: PurePosixPath) -> list[str]:
    """List the names in a directory; one that is not there has none."""
    try:
        return [str(name) for name in await client.listdir(str(directory))]
    except _ABSENT:
        return []


async def look_at(client: asyncssh.SFTPClient, path: PurePosixPath) -> asyncssh.SFTPAttrs | None:
    """Look at what bears this name, itself when it is a link; `None` when nothing does."""
    try:
        return await client.lstat(str(path))
    except _ABSENT:
        return None


async def is_file(client: asyncssh.SFTPClient, path: PurePosixPath) -> bool:
    """Say whether this is a file, and not a link to one."""
    return await _lstat(client, path) is not None


async def open_folder(
    client: asyncssh.SFTPClient, directory: PurePosixPath, mode: int, *, make: bool = False, parents: bool = False
) -> bool:
    """Say whether a folder is there, and see that nobody else can do anything in it; make it if need be.

    Raises:
        PermanentError: `ACCESS_DENIED` when it is a link, which would lead the fleet's user anywhere; `MISCONFIGURED`
            when it is a file.
    """
    path = str(directory)
    found = await look_at(client, directory)
    if found is None and make:
        if parents:
            await client.makedirs(str(directory.parent), exist_ok=True)
        with contextlib.suppress(asyncssh.SFTPFailure):  # another worker was faster
            await client.mkdir(path, asyncssh.SFTPAttrs(permissions=mode))
        found = await look_at(client, directory)
    if found is None:
        return False
    if found.type == asyncssh.FILEXFER_TYPE_SYMLINK:
        detail = f"{path} on the host is a symbolic link, not the folder of the fleet's images"
        raise PermanentError(PermanentCode.ACCESS_DENIED, detail, "see who made it, and remove it")
    if found.type == asyncssh.FILEXFER_TYPE_REGULAR:
        raise not_a_folder(directory)
    if found.permissions is not None and stat.S_IMODE(found.permissions) != mode:
        await client.chmod(path, mode)
    return True


def not_a_folder(directory: PurePosixPath) -> PermanentError:
    """Make the error for a file in the place of the folder of images."""
    detail = f"{directory} on the host is a file, not the folder of the fleet's images"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, "rename it: the fleet needs this name for its folder")


async def read_file(client: asyncssh.SFTPClient, path: PurePosixPath) -> bytes | None:
    """Return a file's bytes; `None` when there is none. A link is none: the fleet's user may read what others may not.

    SFTP opens links without asking, so what is open is held against what was seen.
    """
    seen = await _lstat(client, path)
    if seen is None:
        return None
    try:
        async with client.open(str(path), "rb") as file:
            opened = await file.stat()
            if not _same(seen, opened):
                return None
            content: bytes = await file.read()
            return content
    except _ABSENT:
        return None


async def write_file(
    client: asyncssh.SFTPClient,
    path: PurePosixPath,
    content: bytes,
    finish: Callable[[asyncssh.SFTPClient, PurePosixPath], Awaitable[None]] | None = None,
) -> None:
    """Write a file as `<name>.part`, read it back, and give it its name: it is whole when it is seen.

    `finish` does what else there is to do with it before it has its name.

    Raises:
        TransientError: `UPLOAD_CORRUPT` when what is read back is not what was written, `STORAGE_FULL`.
        asyncssh.SFTPError: what the host answered.
    """
    part = part_of(path)
    await _write_part(client, part, content)
    try:
        if finish is not None:
            await finish(client, part)
        await client.posix_rename(str(part), str(path))
    except asyncssh.SFTPError as error:
        raise await _given_up(client, part, len(content), error) from None


async def write_new_file(client: asyncssh.SFTPClient, path: PurePosixPath, content: bytes) -> bool:
    """As `write_file`, unless there is a file of that name; say whether it was written."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART}")
    await _write_part(client, part, content)
    try:
        await client.rename(str(part), str(path))  # not the POSIX one: it replaces nothing
    except asyncssh.SFTPFailure:
        await unlink(client, part)
        return False
    return True


def part_of(path: PurePosixPath) -> PurePosixPath:
    """Name the file in which another one is written."""
    return path.with_name(path.name + PART)


async def _write_part(client: asyncssh.SFTPClient, part: PurePosixPath, content: bytes) -> None:
    await unlink(client, part)
    try:
        # Made anew: a link that somebody has put there is not followed.
        async with client.open(str(part), "xb", asyncssh.SFTPAttrs(permissions=_PRIVATE)) as file:
            await file.write(content)
        if await read_file(client, part) != content:
            detail = f"file {part.stem} reads back otherwise than written"
            raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)  # noqa: TRY301
    except (asyncssh.SFTPError, TransientError) as error:
        raise await _given_up(client, part, len(content), error) from None


async def _given_up(client: asyncssh.SFTPClient, part: PurePosixPath, needed: int, error: Exception) -> Exception:
    """Take away a file that is not to be whole; answers the error, or `STORAGE_FULL` when there was no room for it."""
    # OpenSSH says "failure" to a full disk, as to all else: ask how much room there is.
    full = type(error) is asyncssh.SFTPFailure and await _is_full(client, part.parent, needed)
    await unlink(client, part)
    if not full:
        return error
    return TransientError(
        TransientCode.STORAGE_FULL, f"{part.parent} has no room for an image", "free some space there"
    )


async def _lstat(client: asyncssh.SFTPClient, path: PurePosixPath) -> asyncssh.SFTPAttrs | None:
    """Look at a file; `None` when there is none of that name, or something else."""
    found = await look_at(client, path)
    return found if found is not None and found.type == asyncssh.FILEXFER_TYPE_REGULAR else None


def _same(seen: asyncssh.SFTPAttrs, opened: asyncssh.SFTPAttrs) -> bool:
    """Whether two looks show one file, as far as SFTP tells (it has no inode numbers)."""
    return (seen.uid, seen.gid, seen.permissions, seen.size, seen.mtime) == (
        opened.uid,
        opened.gid,
        opened.permissions,
        opened.size,
        opened.mtime,
    )


async def unlink(client: asyncssh.SFTPClient, path: PurePosixPath) -> None:
    """Delete a file; gone already is success."""
    try:
        await client.remove(str(path))
    except _ABSENT:
        return


async def clear_parts(
    client: asyncssh.SFTPClient,
    directory: PurePosixPath,
    names: list[str],
    parse: Callable[[str], ImageName | None],
    vm: VmUuid | None,
) -> None:
    """Delete what killed uploads of a VM have left in a directory; of all VMs, what nobody has written to for long."""
    for name in names:
        owner = parse(name.removesuffix(PART)) if name.endswith(PART) else None
        if owner is None or vm not in {None, owner.vm_uuid}:
            continue
        found = await look_at(client, directory / name)
        if found is None:  # it is whole by now
            continue
        touched = 0 if vm is not None else found.mtime or 0
        if time.time() - touched > ABANDONED_SECONDS:
            await unlink(client, directory / name)


async def _is_full(client: asyncssh.SFTPClient, directory: PurePosixPath, needed: int) -> bool:
    try:
        room = await client.statvfs(str(directory))
    except asyncssh.SFTPError:
        return False
    return room.bavail * room.frsize < needed
