"""The fleet's id, which every image's name carries: set, or made once and kept in Redis (`fleet`)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from redis import Redis

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
    key = f"{prefix}{KEY}"
    if (
        kept := client.get(key)
    ) is None:  # asked before it is written: a full Redis refuses even a SET that changes nothing
        client.set(key, wanted or "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)), nx=True)
        kept = client.get(key)
    found = kept.decode() if isinstance(kept, bytes) else str(kept)
    if wanted is not None and found != wanted:
        detail = f"fleet_id: is {wanted!r}, and Redis has {found!r}"
        remedy = f"set it to the one in Redis; after a loss of Redis, `redis-cli del {prefix}{KEY}` and start again"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
    return found
