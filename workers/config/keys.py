"""Key files: who may open the fleet's boxes. Workers hold the private keys, publishers only the newest public one."""

from __future__ import annotations

import base64
import json
import os
import stat
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from nacl.public import PrivateKey

from configdrive.client.public_key import identity_of
from configdrive.errors import PermanentCode, PermanentError

NO_FILE = (
    "copy a worker's key file to there, or, to publish only, set CONFIGDRIVE_PUBLIC_KEY to what `configdrive keys "
    "public` prints on its machine; a new fleet's first worker makes it, or you: `configdrive keys generate`"
)
"""What to do without a key file."""


_PAUSES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Key:
    """One key pair. `created` is an ISO 8601 time; the private key never shows in a repr."""

    identity: str
    created: str
    private: PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Make a new pair (Curve25519)."""
        private = PrivateKey.generate()
        return cls(identity_of(private.public_key), datetime.now(UTC).isoformat(timespec="seconds"), private)


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a key file, newest key last.

    One that is just being copied to here has not all of its bytes yet: it is read again for a moment.

    Raises:
        PermanentError: `MISCONFIGURED` when the file is missing, readable by others, or not a key file.
    """
    for pause in _PAUSES:
        keys = _parse(_content(path))
        if keys:
            return keys
        time.sleep(pause)
    keys = _parse(_content(path))
    if keys:
        return keys
    remedy = (
        "copy it from another worker, or from your backup; where there is none, move it away, "
        "`configdrive keys generate` and `configdrive keys enroll`"
    )
    raise PermanentError(PermanentCode.MISCONFIGURED, f"{path} is not a key file, or is damaged", remedy)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        detail = f"the key file {path} cannot be read: {error.strerror}"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, NO_FILE) from None
    if mode & 0o077:
        detail = f"the key file {path} can be read by others (mode {mode:04o})"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, f"chmod 600 {path}")
    return content


def _parse(content: bytes) -> tuple[Key, ...]:
    """Return the keys; none of what is no key file."""
    keys: tuple[Key, ...] = ()
    with suppress(ValueError, KeyError, TypeError):  # their own text may hold half a key: not shown
        entries = json.loads(content)["keys"]
        keys = tuple(Key(entry["id"], entry["created"], _private(entry["private"])) for entry in entries)
    return () if any(key.identity != identity_of(key.private.public_key) for key in keys) else keys


def _private(text: str) -> PrivateKey:
    return PrivateKey(base64.b64decode(text, validate=True))


def write_keys(path: Path, keys: Sequence[Key], *, replace: bool) -> bool:
    """Write a key file (mode 0600), whole or not at all. Without `replace`, an existing file stays: answers false.

    Raises:
        PermanentError: `MISCONFIGURED` when its directory cannot be written.
    """
    document = {
        "keys": [
            {"id": key.identity, "created": key.created, "private": base64.b64encode(bytes(key.private)).decode()}
            for key in keys
        ],
    }
    try:
        return _put(path, json.dumps(document, indent=2), replace=replace)
    except OSError as error:
        detail = f"the key file {path} cannot be written: {error.strerror}"
        remedy = "point CONFIGDRIVE_KEYS_FILE to a place that this process may write to"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None


def _put(path: Path, text: str, *, replace: bool) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
            return True
        try:
            path.hardlink_to(draft)  # fails when the file exists: of two first runs at once, one wins
        except FileExistsError:
            return False
        return True
    finally:
        draft.unlink(missing_ok=True)


def public_text(key: Key) -> str:
    """Return the public key as publishers are given it: base64 of 32 bytes."""
    return base64.b64encode(bytes(key.private.public_key)).decode()
