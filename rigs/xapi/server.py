"""The HTTPS servers of the hosts: XML-RPC by POST, images by PUT and GET."""

import socket
import socketserver
import ssl
import threading
import xmlrpc.client
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from xml.parsers.expat import ExpatError

from typing_extensions import override

from rigs.xapi.dispatcher import Dropped, answer
from rigs.xapi.faults import EXPORT, IMPORT
from rigs.xapi.transfer import Refused, Request, serve_export, serve_import
from rigs.xapi.world import World, XapiHost

_HANDSHAKE_SECONDS = 60.0
_TRANSFERS = {IMPORT: serve_import, EXPORT: serve_export}


class HostServer(socketserver.ThreadingTCPServer):
    """What one host of a pool listens with: its certificate is in the context."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, world: World, host: XapiHost, context: ssl.SSLContext) -> None:
        self.world = world
        self.host = host
        self._context = context
        self._open: set[socket.socket] = set()
        super().__init__((host.address, world.port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def break_connections(self) -> None:
        """Break every connection."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @override
    def finish_request(self, request: object, client_address: object) -> None:
        """Serve one connection in its own thread; the TLS handshake is done there, too."""
        assert isinstance(request, socket.socket)
        request.settimeout(_HANDSHAKE_SECONDS)
        with suppress(OSError):
            connection = self._context.wrap_socket(request, server_side=True)
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            try:
                _Handler(connection, client_address, self)
            finally:
                self._open.discard(connection)
                # No TLS goodbye and no reading of what is left: the client is to see a reset where xapi resets.
                connection.close()

    @override
    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Leave the closing to `finish_request`."""
        assert isinstance(request, socket.socket)
        with suppress(OSError):
            request.close()

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HostServer  # type: ignore[mutable-override]  # it is no other's

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            arguments, name = xmlrpc.client.loads(content)
        except (ExpatError, xmlrpc.client.Error, ValueError):
            self.close_connection = True
            self.send_error(500, "Internal Error")
            return
        try:
            reply = answer(self.server.world, self.server.host, str(name), list(arguments))
        except Dropped:
            self.close_connection = True
            return
        text = xmlrpc.client.dumps((reply,), methodresponse=True).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _transfer(self) -> None:
        self.close_connection = True
        serve = _TRANSFERS.get(f"{self.command} {self.path.partition('?')[0]}")
        if serve is None:
            self.send_error(404)
            return
        request = Request(self.server.world, self.server.host, self.path, self.headers, self.rfile, self.wfile)
        try:
            serve(request)
        except Dropped:
            return
        except Refused as refused:
            self.wfile.write("\r\n".join((*refused.head, "Content-Length: 0", "", "")).encode("latin-1"))

    do_PUT = do_GET = _transfer  # noqa: N815  # as the library calls them
