"""dom0 of a host by SSH: asyncssh's own server, with the host's file system as its root."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh
from typing_extensions import override

from rigs.process import LOOPBACK, RigError
from rigs.xapi import XapiHost

START_SECONDS = 20.0


class Dom0Server:
    """An SFTP server in a thread of this process.

    Args:
        directory: for its keys.
        host: whose file system it serves.

    Attributes:
        opened: how many sessions there were.
        full: whether its disk has no room left.
        faulty: names of SFTP operations (methods of `asyncssh.SFTPServer`) that fail, and how.
    """

    def __init__(self, directory: Path, host: XapiHost) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.opened = 0
        self.full = False
        self.faulty: dict[str, asyncssh.SFTPError] = {}
        self._root = host.root
        self._key_file, self._known_hosts = directory / "id", directory / "known_hosts"
        client, self._host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        client.write_private_key(self._key_file)
        self._authorized = directory / "authorized_keys"
        client.write_public_key(self._authorized)
        self._loop = asyncio.new_event_loop()
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="dom0", daemon=True)
        self.port = 0

    @property
    def table(self) -> dict[str, Any]:
        """The host's table `ssh` in the inventory."""
        files = {"key_file": str(self._key_file), "known_hosts": str(self._known_hosts)}
        return {"host": LOOPBACK, "port": self.port, "user": "root", **files}

    def forget_host_key(self) -> None:
        """Let the clients know another key for this host."""
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        self._known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {other}")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(START_SECONDS):
            raise RigError("asyncssh's server does not listen")
        known = self._host_key.export_public_key().decode()
        self._known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {known}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        listener = self._loop.run_until_complete(
            asyncssh.listen(
                LOOPBACK,
                0,
                server_host_keys=[self._host_key],
                authorized_client_keys=str(self._authorized),
                sftp_factory=self._session,
                acceptor=self._connections.append,
            )
        )
        self.port = listener.get_port()
        self._listening.set()
        self._loop.run_forever()
        listener.close()
        for connection in self._connections:  # clients keep theirs
            connection.abort()
            self._loop.run_until_complete(connection.wait_closed())
        self._loop.run_until_complete(listener.wait_closed())

    def _session(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        self.opened += 1
        faulty, disk = self.faulty, self

        class Rooted(asyncssh.SFTPServer):
            @override
            async def rename(self, oldpath: bytes, newpath: bytes) -> None:
                raise AssertionError("the driver renames as POSIX does")

            @override
            def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
                _fail(faulty, "posix_rename")
                super().posix_rename(oldpath, newpath)

            @override
            def write(self, file_obj: object, offset: int, data: bytes) -> Any:  # as asyncssh has it
                _fail(faulty, "write")
                return super().write(file_obj, offset, data)

            @override
            def statvfs(self, path: bytes) -> Any:
                room = super().statvfs(path)
                return asyncssh.SFTPVFSAttrs(bavail=0, frsize=4096) if disk.full else room

        return Rooted(channel, chroot=str(self._root).encode())


def _fail(faulty: dict[str, asyncssh.SFTPError], operation: str) -> None:
    if operation in faulty:
        raise faulty[operation]
