"""The fleet's public key, and what seals with it: libsodium sealed boxes (X25519, XSalsa20-Poly1305) through PyNaCl.

Sealed data is `v1.<key id>.<base64url>`, with or without padding; inside stand the context, a line feed, the payload.
"""

from __future__ import annotations

from contextlib import suppress

import pybase64
from nacl.public import PublicKey, SealedBox
from typing_extensions import override

from configdrive.contract.sealing import VERSION
from configdrive.errors import PermanentCode, PermanentError
from configdrive.ports import Sealer


def identity_of(public: PublicKey) -> str:
    """Return a key's short name: the first 8 bytes of the public key in hex. It stands in front of all sealed data."""
    return bytes(public)[:8].hex()


def read_public(text: str) -> PublicKey:
    """Read a public key from its text.

    Raises:
        PermanentError: `MISCONFIGURED` when it is not one.
    """
    with suppress(ValueError, TypeError):
        return PublicKey(pybase64.b64decode(text.strip(), validate=True))
    detail = "the public key is not base64 of 32 bytes"
    raise PermanentError(PermanentCode.MISCONFIGURED, detail, "take the line that `configdrive keys public` prints")


class PublicSealer(Sealer):
    """Seals with a public key; opens nothing. What a publisher has."""

    def __init__(self, public: PublicKey) -> None:
        self._public = SealedBox(public)
        self._prefix = f"{VERSION}.{identity_of(public)}."

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        sealed = self._public.encrypt(context.encode() + b"\n" + plaintext)
        return self._prefix + pybase64.b64encode_as_string(sealed, altchars=b"-_")

    @override
    def open(self, sealed: str, context: str) -> bytes:
        detail = "this process has only the public key"
        raise PermanentError(PermanentCode.UNSEALABLE, detail, "workers open sealed data: they have the key file")
