"""The key ring: opens what was sealed with any of the fleet's keys, and seals with the newest.

What is sealed is bound to a context (`configdrive.client.public_key`): opened under another than it was made for, it is
refused, so it can be moved neither to another VM nor to another event.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pybase64
from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from typing_extensions import override

from configdrive.client.public_key import PublicSealer, read_public
from configdrive.contract.sealing import FORM
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Generation, ImageName, Vm
from configdrive.ports import ImageNamer, Sealer
from workers.config.keys import Key, read_keys

if TYPE_CHECKING:
    from workers.config.settings import Settings

_INFO = b"configdrive/image-name/1"
_FINGERPRINT = 16
_ANEW = "`configdrive skip` it, then publish it under a new id"
_OTHER_KEY = f"copy the key file that has it to this worker, then `configdrive retry`; where it is lost: {_ANEW}"


class KeyRing(Sealer):
    """Seals with the newest key and opens with any; an unknown key makes it read the key file again (rotation)."""

    def __init__(self, read: Callable[[], Sequence[Key]]) -> None:
        self._read = read
        self._load()

    def _load(self) -> None:
        keys = self._read()
        self._sealer = PublicSealer(keys[-1].private.public_key)
        self._openers = {key.identity: SealedBox(key.private) for key in keys}

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        return self._sealer.seal(plaintext, context)

    @override
    def open(self, sealed: str, context: str) -> bytes:
        form = FORM.match(sealed)
        if form is None:
            raise _refused("a sealed value has not the form v1.<key id>.<base64url>", "seal it as the contract says")
        identity = form["key"]
        if identity not in self._openers:
            self._load()
        key = self._openers.get(identity)
        if key is None:
            detail = f"it was sealed for key {identity}, which is not in the key file"
            raise _refused(detail, _OTHER_KEY)
        with suppress(CryptoError, ValueError):  # their own text never travels, not even as the context of ours
            found, _, plaintext = key.decrypt(_decoded(sealed[form.end() :])).partition(b"\n")
            if found == context.encode():
                return plaintext
        raise _refused("a sealed box is damaged, or was made for another VM or event", _ANEW)


class _LateRing(Sealer):
    """A key ring whose file is not there so far: a worker makes or is given it, and many a publisher needs none."""

    def __init__(self, make: Callable[[], KeyRing]) -> None:
        self._make = make
        self._made: KeyRing | None = None

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        return self._ring().seal(plaintext, context)

    @override
    def open(self, sealed: str, context: str) -> bytes:
        return self._ring().open(sealed, context)

    def _ring(self) -> KeyRing:
        self._made = self._made or self._make()
        return self._made


class ImageNames(ImageNamer):
    """Names images by a digest of their bytes that is keyed with the fleet's secret: a listing tells nothing of them.

    Args:
        read: reads the key file.
        fleet: returns the fleet's id. It is asked each time: a Redis that was lost may have another one by now.
    """

    def __init__(self, read: Callable[[], Sequence[Key]], fleet: Callable[[], str]) -> None:
        self._read = read
        self._fleet = fleet

    @override
    def name(self, vm: Vm, generation: Generation, sha256: str) -> ImageName:
        newest = self._read()[-1]
        fingerprint = _fingerprint(newest, sha256)
        return ImageName.of(vm.instance_name, vm.uuid, generation, fingerprint, self._fleet())

    @override
    def is_genuine(self, name: ImageName, sha256: str) -> bool:
        return any(name.fingerprint == _fingerprint(key, sha256) for key in self._read())


def _fingerprint(key: Key, sha256: str) -> str:
    """Return 16 characters of HMAC-SHA-256, under a key that HKDF-SHA-256 (RFC 5869) derives from a private one."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), bytes(key.private), "sha256")
    derived = hmac.digest(extracted, _INFO + b"\x01", "sha256")
    digest = hmac.digest(derived, bytes.fromhex(sha256), "sha256")
    return base64.b32encode(digest).decode().lower()[:_FINGERPRINT]


def _decoded(text: str) -> bytes:
    """Decode base64url, with its padding or without; whatever is no base64url is refused.

    Raises:
        ValueError: it is none.
    """
    if "+" in text or "/" in text:
        raise ValueError("base64, not base64url")
    return pybase64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def make_namer(settings: Settings, fleet: Callable[[], str]) -> ImageNames:
    """Return what names a worker's images. The key file is read when it does."""
    return ImageNames(lambda: read_keys(settings.keys_file), fleet)


def make_sealer(settings: Settings) -> Sealer:
    """Return what seals (with only a public key), or seals and opens (with the key file; one that comes later will do).

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.public_key is not None:
        return PublicSealer(read_public(settings.public_key))
    ring = partial(KeyRing, lambda: read_keys(settings.keys_file))
    return ring() if settings.keys_file.exists() else _LateRing(ring)


def _refused(detail: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.UNSEALABLE, detail, remedy)
