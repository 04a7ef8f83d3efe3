"""The tokens by which hosts are known at the gate: kept hashed, two of a host valid at a time, read anew when changed.

A line of the file is `<host> <SHA-256 of the token in hexadecimal>`; a token has 256 random bits, so a hash keeps it.
The second newest line of a host stays valid, so that a token can be exchanged without a moment in which none is.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from configdrive.errors import PermanentCode, PermanentError
from workers.config.secret_files import read_secret

_SETTING: Final = "cloudstack.gate_tokens_file"
_VALID: Final = 2


class GateTokens:
    """The tokens of all hosts.

    Args:
        path: their file.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """

    def __init__(self, path: Path | None) -> None:
        self._known = _read(path)
        self._path = path
        self._seen = _mark(path)

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that have a token."""
        return frozenset(host for host, _ in self._known)

    def host_of(self, token: str) -> str | None:
        """Return the host whose token this is, by CloudStack's name; `None` when it is nobody's."""
        mark = _mark(self._path)
        if mark != self._seen:
            with suppress(PermanentError):  # it is being written: what was read last still holds
                self._known, self._seen = _read(self._path), mark
        given = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for host, digest in self._known:
            if hmac.compare_digest(given, digest):
                found = host
        return found


def new_token(path: Path | None, host: str) -> str:
    """Make a token for a host, note its hash in the file, and return it. Of older ones the newest stays valid.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if path is None:
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{_SETTING}: is not set", "name the file that shall have it")
    known = _read(path) if path.exists() and path.stat().st_size else ()
    token = secrets.token_urlsafe(32)
    mine = [pair for pair in known if pair[0] == host][-(_VALID - 1) :]
    lines = [*(pair for pair in known if pair[0] != host), *mine, (host, hashlib.sha256(token.encode()).hexdigest())]
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{name} {digest}\n" for name, digest in lines)
    beside.replace(path)
    return token


def _read(path: Path | None) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for line in read_secret(path, _SETTING).splitlines():
        match line.partition("#")[0].split():
            case []:
                continue
            case [host, digest] if len(digest) == hashlib.sha256().digest_size * 2:
                pairs.append((host, digest.lower()))
            case _:
                detail = f"{_SETTING}: {path} has a line that is no host and hash"
                remedy = "make it with `configdrive cloudstack gate-token`"
                raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
    return tuple(
        pair for number, pair in enumerate(pairs) if sum(later[0] == pair[0] for later in pairs[number + 1 :]) < _VALID
    )


def _mark(path: Path | None) -> tuple[int, int] | None:
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_ino)
