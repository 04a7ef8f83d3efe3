"""Verified TLS to a host: nothing is sent before the certificate was found to be the right one."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

    from configdrive.model import HostName
    from workers.hypervisors.xenserver.inventory import HostTable, PoolTable

CONNECT_SECONDS: Final = 10.0
"""A host that has not taken a connection by then is away, and another of its pool is tried."""

_log = logging.getLogger(__name__)


class WrongCertificate(ssl.SSLError):  # what was found, not what went wrong
    """The host's certificate is not the one with the inventory's fingerprint."""


@dataclass(frozen=True, slots=True)
class XapiServer:
    """Where a host's XAPI listens, and how its certificate is verified.

    Args:
        name: the host's in the inventory.
        address: name or address from the URL; the certificate is verified for it.
        port: TCP.
        known_as: how the pool calls this host.
        ca_file: `None` takes the system's authorities.
        fingerprint: SHA-256 of the certificate, instead of an authority.
        verified: false when the inventory turned verification off.
    """

    name: HostName
    address: str
    port: int
    known_as: str
    ca_file: Path | None = None
    fingerprint: str | None = None
    verified: bool = True

    @classmethod
    def of(cls, name: HostName, host: HostTable, pool: PoolTable) -> Self:
        """Return a host's; warns when its certificate will not be verified."""
        address, port = host.netloc
        tls = host if host.says_how else pool
        if not tls.verify_tls:
            _log.warning("xenserver host %s: verify_tls = false: the password goes to whoever answers there", name)
        return cls(name, address, port, host.address or address, tls.ca_file, tls.fingerprint, tls.verify_tls)

    @property
    def url(self) -> str:
        """The XAPI's URL."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"https://{host}:{self.port}"

    def connect(self, timeout: float) -> ssl.SSLSocket:
        """Open a connection and verify the peer.

        Args:
            timeout: seconds for each later read and write.

        Raises:
            OSError: it cannot be reached, or (as `ssl.SSLError`) is not who it should be.
        """
        plain = socket.create_connection((self.address, self.port), min(timeout, CONNECT_SECONDS))
        try:
            secured = self._context().wrap_socket(plain, server_hostname=self.address)
        except BaseException:
            plain.close()
            raise
        try:
            self._check(secured)
            secured.settimeout(timeout)
            secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            secured.close()
            raise
        return secured

    def _context(self) -> ssl.SSLContext:
        if self.fingerprint is not None or not self.verified:  # to read the system's authorities takes time
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        # Python 3.13 is strict about extensions that the certificates a XenServer makes for itself do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _check(self, secured: ssl.SSLSocket) -> None:
        if self.fingerprint is None:
            return
        certificate = secured.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), self.fingerprint):
            raise WrongCertificate("the certificate's fingerprint is not the inventory's")
