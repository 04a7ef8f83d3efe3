"""The fleet's key ids on Redis (`keys`): what is sealed for another key could be opened by no worker, and is refused.

Workers enter them (`workers.store.fleet_keys`); a publisher only reads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError
from typing_extensions import override

from configdrive.contract.sealing import key_of
from configdrive.errors import PermanentCode, PermanentError
from configdrive.ports import Sealer

if TYPE_CHECKING:
    import redis

KEY: Final = "keys"
_SECONDS: Final = 30.0
"""For so long a key that was the fleet's is taken for it still."""


def read_key_ids(client: redis.Redis, prefix: str) -> tuple[str, ...]:
    """Return the ids of the fleet's keys, the newest last; none before its first worker has begun.

    Raises:
        redis.RedisError: Redis is away, or this login may not read them.
    """
    kept: object = client.get(f"{prefix}{KEY}")
    return tuple(kept.decode("ascii", "replace").split()) if isinstance(kept, bytes) else ()


class FleetKeys:
    """The fleet's key ids as a publisher asks for them: at most every half minute while all is well."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: tuple[str, ...] = ()
        self._until = 0.0

    def lack(self, key: str) -> bool:
        """Whether the fleet has keys, and `key` (an id) is none of them."""
        if key in self._known and time.monotonic() < self._until:
            return False
        try:
            self._known = read_key_ids(self._client, self._prefix)
        except NoPermissionError:  # rights from before there were such ids: as if none were known
            self._known = ()
        self._until = time.monotonic() + _SECONDS
        return bool(self._known) and key not in self._known

    def require(self, sealed: str) -> None:
        """Refuse what somebody has sealed for a key that is not the fleet's.

        Raises:
            PermanentError: `UNSEALABLE`.
        """
        if (key := key_of(sealed)) and self.lack(key):
            detail = f"data.sealed: is for key {key}, which is none of the fleet's ({', '.join(self._known)})"
            remedy = "seal with the key that `configdrive keys public` prints on a worker's machine"
            raise PermanentError(PermanentCode.UNSEALABLE, detail, remedy)


class FleetSealer(Sealer):
    """Seals for the fleet only: refuses when the process has been given another key.

    Args:
        inner: seals.
        keys: the fleet's.
    """

    def __init__(self, inner: Sealer, keys: FleetKeys) -> None:
        self._inner = inner
        self._keys = keys

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        sealed = self._inner.seal(plaintext, context)
        if (key := key_of(sealed)) and self._keys.lack(key):
            detail = f"this process seals with key {key}, which is none of the fleet's: no worker could open it"
            remedy = (
                "set CONFIGDRIVE_PUBLIC_KEY to what `configdrive keys public` prints on a worker's machine, or copy "
                "that worker's key file to here"
            )
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
        return sealed

    @override
    def open(self, sealed: str, context: str) -> bytes:
        return self._inner.open(sealed, context)
