"""A way to Redis that breaks at any point: before a command has come there, or before its answer has come back."""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable

from typing_extensions import override

from rigs.process import LOOPBACK, Rig

_MOST = 1 << 20


class CuttingProxy(Rig):
    """Stands between a client and one Redis.

    Args:
        port: Redis' own, on loopback.

    Attributes:
        cuts: by the number of what a client has sent, from when it was last set: whether the connection is cut before
            Redis has it (`"asked"`), before the client has the answer (`"answered"`), or not (`None`).
        cut: how often it was.
    """

    def __init__(self, port: int) -> None:
        self._redis = port
        self._open: list[socket.socket] = []
        self._server = socket.create_server((LOOPBACK, 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        self.forget()

    def forget(self, cuts: Callable[[int], str | None] = lambda _number: None) -> None:
        """Count from zero, and cut so."""
        self.cuts, self.cut, self._sent = cuts, 0, itertools.count()

    @override
    def start(self) -> None:
        threading.Thread(target=self._serve, name="cutting-proxy", daemon=True).start()

    @override
    def stop(self) -> None:
        for one in (self._server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                redis = socket.create_connection((LOOPBACK, self._redis))
                self._open += [client, redis]
                threading.Thread(target=self._pass_on, args=(client, redis), daemon=True).start()

    def _pass_on(self, client: socket.socket, redis: socket.socket) -> None:
        cut: str | None = None
        with client, redis, contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([client, redis], [], [])
                if redis in ready:
                    answer = redis.recv(_MOST)
                    if not answer or cut:
                        return
                    client.sendall(answer)
                if client in ready:
                    command = client.recv(_MOST)
                    cut = self.cuts(next(self._sent)) if command else None
                    self.cut += cut is not None
                    if not command or cut == "asked":
                        return
                    redis.sendall(command)
