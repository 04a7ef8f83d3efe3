"""Boxes for secrets: libsodium sealed boxes (X25519, XSalsa20-Poly1305) through PyNaCl.

A box is `v1.<key id>.<base64url>`. Inside stand the context, a line feed, and the payload: opened under another context
than it was made for, a box is refused, so it can be moved neither to another VM nor to another event.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError
from configdrive.ports import Sealer
from workers.keys import Key, identity_of

VERSION = "v1"


class PublicSealer(Sealer):
    """Seals with a public key; opens nothing. What a publisher has."""

    def __init__(self, public: PublicKey) -> None:
        self._box = SealedBox(public)
        self._prefix = f"{VERSION}.{identity_of(public)}."

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        sealed = self._box.encrypt(context.encode() + b"\n" + plaintext)
        return self._prefix + base64.urlsafe_b64encode(sealed).decode()

    @override
    def open(self, box: str, context: str) -> bytes:
        detail = "this process has only the public key"
        raise PermanentError(PermanentCode.UNSEALABLE, detail, "boxes are opened by workers, which have the key file")


class KeyRing(Sealer):
    """Seals with the newest key and opens with any; an unknown key makes it read the key file again (rotation)."""

    def __init__(self, read: Callable[[], Sequence[Key]]) -> None:
        self._read = read
        self._load()

    def _load(self) -> None:
        keys = self._read()
        self._sealer = PublicSealer(keys[-1].private.public_key)
        self._boxes = {key.identity: SealedBox(key.private) for key in keys}

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        return self._sealer.seal(plaintext, context)

    @override
    def open(self, box: str, context: str) -> bytes:
        version, _, rest = box.partition(".")
        identity, _, text = rest.partition(".")
        if version != VERSION or not text:
            raise _refused("a sealed value has not the form v1.<key id>.<base64url>", "seal it as the contract says")
        if identity not in self._boxes:
            self._load()
        key = self._boxes.get(identity)
        if key is None:
            shown = identity if len(identity) == 16 and identity.isalnum() else "?"
            raise _refused(f"a box was sealed for key {shown}, which is not in the key file", "add that key, or seal again")
        try:
            found, _, plaintext = key.decrypt(base64.urlsafe_b64decode(text)).partition(b"\n")
        except (CryptoError, ValueError, binascii.Error):
            found, plaintext = b"", b""
        if found != context.encode():
            raise _refused("a box is damaged, or was made for another VM or event", "publish the event anew")
        return plaintext


def key_of(box: str) -> str:
    """Return the id of the key that a box was sealed for."""
    return box.split(".", 2)[1] if box.count(".") >= 2 else ""  # noqa: PLR2004 - the two dots of the form


def _refused(detail: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.UNSEALABLE, detail, remedy)
