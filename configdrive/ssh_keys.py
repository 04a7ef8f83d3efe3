"""The lines of `authorized_keys` and `.pub` files, taken and refused as OpenSSH does. Pure.

Sources: sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; OpenSSH's `sshkey.c` (`sshkey_read`, `sshkey_from_blob_internal`) and
`auth2-pubkeyfile.c`; RFC 4253, RFC 5656, RFC 8709 and `PROTOCOL.certkeys`, `PROTOCOL.u2f` for what is inside. A
malformed line is worse than none: afterburn drops all keys of a VM for one.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_CERTIFICATE: Final = "-cert-v01@openssh.com"
_CURVES: Final = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
"""Bytes of a point on each, not compressed."""
_LEAST_RSA: Final = 1024
"""Bits (`SSH_RSA_MINIMUM_MODULUS_SIZE`)."""
_SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
_SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
_SAME: Final = {
    "rsa-sha2-256": "ssh-rsa",
    "rsa-sha2-512": "ssh-rsa",
    f"rsa-sha2-256{_CERTIFICATE}": f"ssh-rsa{_CERTIFICATE}",
    f"rsa-sha2-512{_CERTIFICATE}": f"ssh-rsa{_CERTIFICATE}",
    f"webauthn-{_SK_ECDSA}": _SK_ECDSA,
}
"""Names of signatures, which OpenSSH takes for those of the keys that make them."""
_PLAIN: Final = ("ssh-rsa", "ssh-dss", "ssh-ed25519", *(f"ecdsa-sha2-{curve}" for curve in _CURVES))
_SECURITY_KEYS: Final = (_SK_ED25519, _SK_ECDSA)
_TYPES: Final = frozenset(
    {
        *_PLAIN,
        *_SECURITY_KEYS,
        *(f"{name}{_CERTIFICATE}" for name in _PLAIN),
        *(f"{name.removesuffix('@openssh.com')}{_CERTIFICATE}" for name in _SECURITY_KEYS),
        *_SAME,
    }
)
_OPTIONS: Final = re.compile(r'(?:"(?:\\"|[^"])*"|[^ \t"])+')
"""Options in front of a key: no blank but in quotes, in which only a quote is escaped."""
_LINE: Final = re.compile(r"(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def normal(line: str) -> str | None:
    """Return a line as every reader takes it, with single blanks between its parts; `None` when it is no public key.

    What it says is as it was: options, type, key and comment.
    """
    text = line.strip()
    if _CONTROL.search(text):
        return None
    options, rest = "", text
    if _first_word(text) not in _TYPES:
        found = _OPTIONS.match(text)
        if found is None or text[found.end() : found.end() + 1] not in {" ", "\t"}:
            return None
        options, rest = found[0] + " ", text[found.end() :].lstrip(" \t")
    parts = _LINE.fullmatch(rest)
    if parts is None or parts[1] not in _TYPES or not _is_key(parts[1], parts[2]):
        return None
    comment = f" {parts[3]}" if parts[3] else ""
    return f"{options}{parts[1]} {parts[2]}{comment}"


def _first_word(text: str) -> str:
    return re.split(r"[ \t]", text, maxsplit=1)[0]


def _is_key(name: str, encoded: str) -> bool:
    """Say whether base64 is that of a key of the type that stands before it."""
    try:
        blob = _Blob(base64.b64decode(encoded, validate=True))
        inside = blob.string().decode("ascii")
        return _SAME.get(inside, inside) == _SAME.get(name, name) and _has_fields(inside, blob)
    except (binascii.Error, ValueError):
        return False


def _has_fields(name: str, blob: _Blob) -> bool:
    """Read what follows a key's type, up to the end.

    Raises:
        ValueError: it ends before.
    """
    name = _SAME.get(name, name)
    is_certificate = name.endswith(_CERTIFICATE)
    kind = name.removesuffix(_CERTIFICATE)
    if is_certificate:
        blob.string()  # a nonce
    if not _has_key(kind, blob):
        return False
    if is_certificate:
        blob.take(8 + 4)  # serial number, for users or hosts
        blob.string()  # its id
        blob.string()  # whom it is for
        blob.take(8 + 8)  # from and until when
        for _ in ("critical options", "extensions", "reserved", "the authority's key", "signature"):
            blob.string()
    return blob.is_at_end


def _has_key(kind: str, blob: _Blob) -> bool:
    match kind.removesuffix("@openssh.com"):
        case "ssh-rsa":
            exponent, modulus = blob.number(), blob.number()
            return exponent > 0 and modulus.bit_length() >= _LEAST_RSA
        case "ssh-dss":
            numbers = [blob.number() for _ in "pqgy"]
            return all(number > 0 for number in numbers)
        case "ssh-ed25519":
            return len(blob.string()) == 32  # noqa: PLR2004 - RFC 8709
        case "sk-ssh-ed25519":
            return len(blob.string()) == 32 and bool(blob.string())  # noqa: PLR2004
        case "sk-ecdsa-sha2-nistp256":
            return _has_point("nistp256", blob) and bool(blob.string())
        case _:
            return _has_point(kind.rpartition("-")[2], blob)


def _has_point(curve: str, blob: _Blob) -> bool:
    named, point = blob.string(), blob.string()
    return named == curve.encode() and len(point) == _CURVES[curve] and point[0] == 4  # noqa: PLR2004 - SEC 1, 2.3.3


class _Blob:
    """The bytes of a key, read from the front (RFC 4251, section 5)."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._content)

    def take(self, size: int) -> bytes:
        taken = self._content[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("ends early")
        self._at += size
        return taken

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))

    def number(self) -> int:
        return int.from_bytes(self.string(), "big", signed=True)
