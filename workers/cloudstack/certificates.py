"""The certificates of our own servers, for webhooks and for hosts: read when a server starts."""

from __future__ import annotations

import ssl
from pathlib import Path

from configdrive.errors import PermanentCode, PermanentError


def serving(certificate: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """Return the context of a server with this certificate and key, PEM files both; `None`: plain HTTP.

    Raises:
        PermanentError: `MISCONFIGURED`: they cannot be read, or do not belong together.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(*certificate, password="")
    except (OSError, ValueError) as error:  # neither names the file
        why = error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
        detail = f"certificate {certificate[0]} and key {certificate[1]} cannot be used: {why or 'no PEM files'}"
        remedy = "name the PEM file of the certificate, its chain behind it, and that of its key, without a passphrase"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None
    return context
