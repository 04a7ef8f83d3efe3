"""Redis' MONITOR: every command that anybody sends, as it is sent."""

import socket
import threading

from typing_extensions import override

from rigs.process import LOOPBACK, Rig
from rigs.redis import RedisServer


class RedisMonitor(Rig):
    """Writes down all commands while it is open. Not with redis-py's own: that one parses, and stumbles."""

    def __init__(self, server: RedisServer) -> None:
        self._port = server.port
        self._pieces: list[bytes] = []
        self._ending = False
        self._thread = threading.Thread(target=self._read, name="monitor", daemon=True)

    @property
    def seen(self) -> bytes:
        """All that was seen so far: a line each, with bytes that do not print as `\\xhh`."""
        return b"".join(self._pieces)

    @override
    def start(self) -> None:
        """Begin; commands after this are seen."""
        self._socket = socket.create_connection((LOOPBACK, self._port), timeout=600)
        self._socket.sendall(b"MONITOR\r\n")
        if not self._socket.recv(5).startswith(b"+OK"):
            raise RuntimeError("Redis refuses MONITOR")
        self._socket.settimeout(None)
        self._thread.start()

    @override
    def stop(self) -> None:
        """End."""
        self._ending = True
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        try:
            while piece := self._socket.recv(1 << 20):
                self._pieces.append(piece)
        except ConnectionResetError:  # how a Redis may take it that nobody listens any more
            if not self._ending:
                raise
