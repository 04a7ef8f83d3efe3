"""The fleet's key ids on Redis, as workers and `configdrive keys` enter them (`keys`, docs/adr/0046).

A worker that has none of the fleet's keys could open nothing: it ends and says so, instead of making a key of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from configdrive.client.fleet_keys import KEY, read_key_ids
from configdrive.errors import PermanentCode, PermanentError
from workers.config.keys import Key, read_keys, write_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import redis

_log: Final = logging.getLogger(__name__)


class WorkerKeys:
    """The keys of a worker's file, held against the fleet's.

    Args:
        client: a connection.
        prefix: of the fleet's keys on Redis.
        path: the key file.
        look: finds an image of a fleet on a host, and says which; empty when there is none. Asked before a first key is
            made: where images lie a fleet has keys, though Redis may have lost their ids.
    """

    def __init__(self, client: redis.Redis, prefix: str, path: Path, look: Callable[[], str] = lambda: "") -> None:
        self._client = client
        self._prefix = prefix
        self._path = path
        self._look = look
        self._missed: set[str] = set()

    def __call__(self) -> None:
        """Require one of the fleet's keys in the file. In a fleet that has none so far, the file's are entered.

        The very first worker of a fleet without any image, without a file, makes the first key, and says so.

        Raises:
            PermanentError: `MISCONFIGURED`: the file has none of the fleet's keys, or cannot be read or written.
            redis.RedisError: Redis is away.
        """
        known = read_key_ids(self._client, self._prefix)
        made = None
        if not known and not self._path.exists():
            if image := self._look():
                raise _not_the_first(self._path, image)
            made = Key.generate()
            write_keys(self._path, [made], replace=False)  # another worker of this machine may have been first
        if not self._path.exists():
            raise _foreign(f"the key file {self._path} is not there", self._path, known)
        own = [key.identity for key in read_keys(self._path)]
        if not known:
            self._client.set(f"{self._prefix}{KEY}", " ".join(own), nx=True)
            known = read_key_ids(self._client, self._prefix)
        if not set(own) & set(known):
            if made is not None and own == [made.identity]:
                self._path.unlink()
            raise _foreign(f"{self._path} has none of the fleet's keys", self._path, known)
        if made is not None and made.identity in known:
            _log.warning(
                "made the fleet's first key, %s, in %s: copy this file to each worker; publishers need what "
                "`configdrive keys public` prints",
                made.identity,
                self._path,
            )
        self._say_what_lacks(set(known) - set(own))

    def _say_what_lacks(self, missing: set[str]) -> None:
        for key in sorted(missing - self._missed):
            _log.warning("key %s of the fleet is not in %s: what it seals parks here. %s", key, self._path, COPY)
        self._missed = missing


def require_all(client: redis.Redis, prefix: str, path: Path, keys: Sequence[Key]) -> None:
    """Require all of the fleet's keys, of whoever changes the file that the other workers get a copy of.

    Raises:
        PermanentError: `MISCONFIGURED`, when one is missing.
        redis.RedisError: Redis is away.
    """
    known, own = read_key_ids(client, prefix), {key.identity for key in keys}
    missing = [one for one in known if one not in own]
    if missing and len(missing) == len(known):
        raise _foreign(f"{path} has none of the fleet's keys", path, known)
    if missing:
        remedy = f"{COPY}; one that is lost everywhere: `configdrive keys retire {missing[0]}`"
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{path} lacks {', '.join(missing)} of the fleet", remedy)


COPY: Final = "Copy the newest key file of the other workers to here"


def _foreign(detail: str, path: Path, known: Sequence[str]) -> PermanentError:
    remedy = (
        f"copy the key file of another worker to {path}; where all are lost, `configdrive keys generate` makes one if "
        "it is not there, and `configdrive keys enroll` makes its keys the fleet's"
    )
    return PermanentError(PermanentCode.MISCONFIGURED, f"{detail} ({', '.join(known)})", remedy)


def _not_the_first(path: Path, image: str) -> PermanentError:
    remedy = (
        f"copy the key file of another worker, or your backup, to {path}; a new fleet beside that one, or one whose "
        "keys are all lost, makes its own: `configdrive keys generate`"
    )
    detail = f"the key file {path} is not there, and Redis names no key, but this is no new fleet: there is {image}"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)


def enter(client: redis.Redis, prefix: str, keys: Sequence[str]) -> None:
    """Add ids behind those that the fleet has."""
    _change(client, prefix, lambda known: [*(one for one in known if one not in keys), *keys])


def rotated(client: redis.Redis, prefix: str, key: str) -> None:
    """Add the id of a new key; a fleet of which no worker has begun takes it from the key file later."""
    _change(client, prefix, lambda known: [*known, key] if known else [])


def remove(client: redis.Redis, prefix: str, key: str) -> bool:
    """Take an id out; says whether it was there. The last one stays."""
    known = read_key_ids(client, prefix)
    _change(client, prefix, lambda known: [one for one in known if one != key] or known)
    return key in known


def _change(client: redis.Redis, prefix: str, change: Callable[[list[str]], list[str]]) -> None:
    name = f"{prefix}{KEY}"

    def apply(pipe: Any) -> None:  # noqa: ANN401 - redis-py's pipeline, untyped here
        kept: bytes | None = pipe.get(name)
        wanted = " ".join(change((kept or b"").decode("ascii", "replace").split()))
        pipe.multi()
        if wanted:
            pipe.set(name, wanted)

    client.transaction(apply, name)
