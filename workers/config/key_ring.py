"""Boxes for secrets: libsodium sealed boxes (X25519, XSalsa20-Poly1305) through PyNaCl.

A box is `v1.<key id>.<base64url>`, with or without padding. Inside stand the context, a line feed, and the payload:
opened under another context than it was made for, a box is refused, so it can be moved neither to another VM nor to
another event.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError
from configdrive.ports import Sealer
from workers.config.keys import Key, identity_of

VERSION = "v1"
_PADDING = "=="  # as much as may be lacking: more than is due does no harm, and half of the world leaves it out
_BOX = re.compile(rf"{VERSION}\.(?P<key>[0-9a-f]{{16}})\.(?P<sealed>[A-Za-z0-9_-]+={{0,2}})")


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
        form = _BOX.fullmatch(box)
        if form is None:
            raise _refused("a sealed value has not the form v1.<key id>.<base64url>", "seal it as the contract says")
        identity = form["key"]
        if identity not in self._boxes:
            self._load()
        key = self._boxes.get(identity)
        if key is None:
            detail = f"a box was sealed for key {identity}, which is not in the key file"
            raise _refused(detail, "add that key, or seal again")
        with suppress(CryptoError, ValueError):  # their own text never travels, not even as the context of ours
            found, _, plaintext = key.decrypt(base64.urlsafe_b64decode(form["sealed"] + _PADDING)).partition(b"\n")
            if found == context.encode():
                return plaintext
        raise _refused("a box is damaged, or was made for another VM or event", "publish the event anew")


def key_of(box: str) -> str:
    """Return the id of the key that a box was sealed for; empty when it is no box."""
    form = _BOX.fullmatch(box)
    return "" if form is None else form["key"]


def _refused(detail: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.UNSEALABLE, detail, remedy)
