"""A proxy before a libvirtd's TCP port: counts what is asked of it and what it sends, and makes the way longer."""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Final, Self

from rigs.process import LOOPBACK, free_port

# A message of libvirt's RPC: its length, then program, version, procedure, type, serial number and status.
_LENGTH: Final = struct.Struct(">I")
_HEADER: Final = struct.Struct(">IIIIII")
_CALL: Final = 0
_KEEPALIVE: Final = 0x6B656570


class LibvirtProxy:
    """Stands between a client and one libvirtd.

    Args:
        port: libvirtd's, on loopback.

    Attributes:
        calls: how often each procedure was called (by its number in libvirt's remote_protocol.x), keepalives left out.
        received: bytes that libvirtd sent.
        delay: seconds by which each packet of the client's is held back.
    """

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.delay = 0.0
        self.calls: Counter[int] = Counter()
        self.received = 0
        self._libvirtd = port
        self._open: list[socket.socket] = []
        self._server = socket.create_server((LOOPBACK, self.port), backlog=64)

    @property
    def uri(self) -> str:
        """The URI of the libvirtd behind it."""
        return f"qemu+tcp://{LOOPBACK}:{self.port}/system"

    def reset(self) -> None:
        """Count from zero."""
        self.calls, self.received = Counter(), 0

    def __enter__(self) -> Self:
        """Begin to serve."""
        threading.Thread(target=self._serve, name="libvirt-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and break all connections."""
        for one in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                libvirtd = socket.create_connection((LOOPBACK, self._libvirtd))
                for one in (client, libvirtd):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open.append(one)
                for pump, ends in ((self._ask, (client, libvirtd)), (self._answer, (libvirtd, client))):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def _ask(self, client: socket.socket, libvirtd: socket.socket) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                pending = self._count(pending + data)
                time.sleep(self.delay)
                libvirtd.sendall(data)
        self._end(client, libvirtd)

    def _answer(self, libvirtd: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := libvirtd.recv(65_536):
                self.received += len(data)
                client.sendall(data)
        self._end(client, libvirtd)

    def _count(self, pending: bytes) -> bytes:
        """Count the calls in what was sent; returns the beginning of the next message."""
        while len(pending) >= _LENGTH.size + _HEADER.size:
            (length,) = _LENGTH.unpack_from(pending)
            if len(pending) < length:
                break
            program, _, procedure, kind, _, _ = _HEADER.unpack_from(pending, _LENGTH.size)
            if kind == _CALL and program != _KEEPALIVE:
                self.calls[procedure] += 1
            pending = pending[length:]
        return pending

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for one in ends:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
