"""The fleet's id, which every image's name carries: set, or made once and kept in Redis (`fleet`)."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from redis import Redis

_log = logging.getLogger(__name__)

KEY: Final = "fleet"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH: Final = 8


def fleet_id(client: Redis, prefix: str, wanted: str | None) -> str:
    """Return the fleet's id; the first who asks makes it.

    Args:
        client: a connection.
        prefix: of the fleet's keys.
        wanted: the setting `fleet_id`.

    Raises:
        PermanentError: `MISCONFIGURED`, when the setting is another one than Redis'.
    """
    found = read_fleet_id(client, prefix)
    if found is None:  # asked before it is written: a full Redis refuses even a SET that changes nothing
        made = wanted or "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        client.set(f"{prefix}{KEY}", made, nx=True)
        found = read_fleet_id(client, prefix) or made
    if wanted is not None and found != wanted:
        raise another_id(prefix, wanted, found)
    return found


class FleetId:
    """Asks for the fleet's id, and says when it is another than before: the Redis that had it was lost.

    Args:
        client, prefix, wanted: as for `fleet_id`.
        kept: seconds for which an answer holds. An attempt that began before Redis was lost is fenced off by then.
    """

    def __init__(self, client: Redis, prefix: str, wanted: str | None, *, kept: float = 0.0) -> None:
        self._client = client
        self._prefix = prefix
        self._wanted = wanted
        self._kept = kept
        self._last: str | None = None
        self._asked = 0.0

    def __call__(self) -> str:
        """Return the fleet's id.

        Raises:
            PermanentError: as `fleet_id`.
        """
        asked = time.monotonic()
        if self._last is not None and asked - self._asked < self._kept:
            return self._last
        last, self._last = self._last, fleet_id(self._client, self._prefix, self._wanted)
        self._asked = asked
        if last not in {None, self._last}:
            _log.error(
                "the fleet's id is %s, and was %s: Redis has lost what it knew. Remedy: `configdrive adopt --fleet %s`",
                self._last,
                last,
                last,
            )
        return self._last


def read_fleet_id(client: Redis, prefix: str) -> str | None:
    """Return the id that Redis has; `None` before it is made."""
    kept = client.get(f"{prefix}{KEY}")
    return None if kept is None else kept.decode("utf-8", "replace") if isinstance(kept, bytes) else str(kept)


def another_id(prefix: str, wanted: str, found: str) -> PermanentError:
    """Return what is to be said of a setting that is not what Redis has."""
    detail = f"fleet_id: is {wanted!r}, and Redis has {found!r}"
    remedy = (
        "set it to the one in Redis; after a loss of Redis stop all workers, "
        f"`redis-cli del {prefix}{KEY}`, and start them again"
    )
    return PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
