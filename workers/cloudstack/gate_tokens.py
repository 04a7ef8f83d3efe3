"""The tokens by which hosts are known at the gate: kept hashed, two of a host valid at a time, read anew when changed.

A line of the file is `<host> <SHA-256 of the token in hexadecimal>`; a token has 256 random bits, so a hash keeps it.
The second newest line of a host stays valid, so that a token can be exchanged without a moment in which none is. So
anybody may read the file, such as a gate that runs as a user of its own; whoever may write it is a host of any name.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from configdrive.errors import PermanentCode, PermanentError

_log: Final = logging.getLogger("configdrive.cloudstack.gate")
_SETTING: Final = "cloudstack.gate_tokens_file"
_VALID: Final = 2
_WRITE: Final = 0o022


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
            self._seen = mark
            try:
                self._known = _read(self._path)
            except PermanentError as error:
                _log.error("%s; what was read last still holds: %s", error.detail, error.remedy)
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
    token = secrets.token_urlsafe(32)
    with _alone(path.parent):
        known = _read(path) if path.exists() else ()
        mine = [pair for pair in known if pair[0] == host][-(_VALID - 1) :]
        others = [pair for pair in known if pair[0] != host]
        lines = [*others, *mine, (host, hashlib.sha256(token.encode()).hexdigest())]
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        with beside.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.writelines(f"{name} {digest}\n" for name, digest in lines)
        beside.replace(path)
    return token


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Be the only one who changes the file: tokens for many hosts are made at once. The kernel ends it with us."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _read(path: Path | None) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for line in _text(path).splitlines():
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


def _text(path: Path | None) -> str:
    if path is None:
        remedy = "name the file that has it; `configdrive cloudstack gate-token` makes it"
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{_SETTING}: is not set", remedy)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        detail = f"{_SETTING}: {path} cannot be read ({type(error).__name__})"
        remedy = "make it with `configdrive cloudstack gate-token`, or correct its path and permissions"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None
    if mode & _WRITE:
        detail = f"{_SETTING}: {path} can be changed by others (mode {mode:04o})"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, f"chmod 644 {path}")
    return text


def _mark(path: Path | None) -> tuple[int, int] | None:
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_ino)
