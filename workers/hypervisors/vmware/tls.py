"""The servers that are trusted: one `ssl.SSLContext` per endpoint, for the API and the datastores' files alike.

pyvmomi's own ways are not used: it looks at a thumbprint only after ordinary verification has failed, and skips
verification where the host is called localhost. So the context itself refuses, before a byte is sent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ssl
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from pathlib import Path

_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
_UTC_TIME: Final = 0x17
_DIGESTS: Final = {40: "sha1", 64: "sha256"}
"""By the number of hexadecimal digits. SHA-1 is what vSphere hands out with a ticket, over a verified connection."""


def trusting(ca_file: Path | None, fingerprint: str | None, *, verify: bool = True) -> ssl.SSLContext:
    """Make the context that trusts what the inventory names: a fingerprint, else a CA file, else the system's CAs.

    Args:
        ca_file: PEM.
        fingerprint: SHA-256 in hexadecimal, with or without colons, and `sha256:` before it.
        verify: off, anybody is trusted.

    Raises:
        PermanentError: `MISCONFIGURED` when the CA file cannot be read.
    """
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if fingerprint is not None:
        return PinnedContext.of(fingerprint.removeprefix("sha256:"))
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        detail = f"the CA file {ca_file} cannot be read ({type(error).__name__})"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "name a PEM file with the CA's certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class PinnedContext(ssl.SSLContext):
    """Trusts one certificate, by its fingerprint, as long as it has not expired."""

    _fingerprint = ""

    @classmethod
    def of(cls, fingerprint: str) -> PinnedContext:
        """Make one for a SHA-256 (or, with a ticket, SHA-1) in hexadecimal; colons do not matter."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # OpenSSL has nothing to verify it against: we do, below
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context._fingerprint = fingerprint.replace(":", "").lower()
        return context

    @override
    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # ssl's own
        """Shake hands, and go no further with anybody else.

        Raises:
            ssl.SSLCertVerificationError: another certificate, or its time is over or has not come.
        """
        wrapped = super().wrap_socket(*args, **kwargs)
        problem = self._problem(wrapped.getpeercert(binary_form=True))
        if problem is not None:
            wrapped.close()
            raise ssl.SSLCertVerificationError(problem)
        return wrapped

    def _problem(self, certificate: bytes | None) -> str | None:
        digest = _DIGESTS.get(len(self._fingerprint))
        if not certificate or digest is None:
            return "there is no certificate, or no fingerprint to compare it with"
        shown = hashlib.new(digest, certificate, usedforsecurity=digest != "sha1").hexdigest()
        if not hmac.compare_digest(shown, self._fingerprint):
            return f"the certificate's fingerprint is not the one in the inventory, but {shown}"
        begin, end = validity(certificate)
        if not begin <= dt.datetime.now(dt.UTC) <= end:
            return f"the certificate is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} only"
        return None


def validity(certificate: bytes) -> tuple[dt.datetime, dt.datetime]:
    """Read when a DER certificate is valid (RFC 5280, section 4.1): `ssl` says it of trusted ones only.

    Raises:
        ssl.SSLCertVerificationError: it is no certificate.
    """
    try:
        _, outer, _ = _element(certificate)
        _, inner, _ = _element(outer)
        tag, _, rest = _element(inner)
        if tag == _VERSION:
            tag, _, rest = _element(rest)
        if tag != _INTEGER:
            raise ssl.SSLCertVerificationError("this is no certificate")
        for _ in range(2):  # the signature's algorithm, the issuer
            _, _, rest = _element(rest)
        _, times, _ = _element(rest)
        begin_tag, begin, rest = _element(times)
        end_tag, end, _ = _element(rest)
        return _time(begin_tag, begin), _time(end_tag, end)
    except (IndexError, ValueError) as error:
        raise ssl.SSLCertVerificationError("this is no certificate") from error


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split DER (ITU-T X.690) into the first element's tag and content, and what follows."""
    tag, length, begin = data[0], data[1], 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[2 : 2 + size]), 2 + size
    end = begin + length
    if end > len(data):
        raise ValueError(length)
    return tag, data[begin:end], data[end:]


def _time(tag: int, text: bytes) -> dt.datetime:
    """Read a UTCTime (two digits for years from 1950 to 2049) or a GeneralizedTime."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return dt.datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)
