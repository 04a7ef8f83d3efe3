"""SFTP sessions: one SSH connection per host and process, opened when first needed, with a strictly known host key.

asyncssh runs on an event loop in a thread of its own, one per process; a forked child starts its own. No user's ssh
configuration and no agent takes part: what the inventory says is all there is.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

import asyncssh

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.driverkit.connections import Tally
from workers.hypervisors.kvm.faults import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from configdrive.model import HostName
    from workers.hypervisors.kvm.inventory import SshTable

R = TypeVar("R")

BYTES_PER_SECOND: Final = 1024 * 1024
"""The slowest link on which a transfer is still waited for."""

_LOST: Final = (asyncssh.DisconnectError, asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, ConnectionError)


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
        self.connection: asyncssh.SSHClientConnection | None = None
        self.client: asyncssh.SFTPClient | None = None

    def begin(self, connection: asyncssh.SSHClientConnection) -> None:
        self.lose()  # one whose SFTP has never begun
        self.connection = connection
        self._tally.opened()

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
        host: for the messages.
        table: address, user, key and known host keys.
        timeout: seconds for connecting, and for an operation that moves no data.
    """

    def __init__(self, host: HostName, table: SshTable, timeout: float) -> None:
        self.tally = Tally(host, "ssh")
        self._host = host
        self._table = table
        self._timeout = timeout
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
                detail = f"kvm.hosts.{self._host}.ssh.{field}: {path} cannot be read here"
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
        try:
            return await work(await self._client(session))
        except _LOST:
            session.lose()
            if not kept:
                raise
        return await work(await self._client(session))

    async def _client(self, session: _Session) -> asyncssh.SFTPClient:
        async with session.opening:
            if session.client is None:
                with translated(f"host {self._host}, ssh"):
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
