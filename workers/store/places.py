"""The places that hang (hosts and storages), and who is alone at what goes one at a time, as Redis has it.

| key                         | type   | what                                                                      |
|-----------------------------|--------|---------------------------------------------------------------------------|
| `places:<hypervisor>`       | hash   | host or storage -> "doubted", "hangs" or "forgiven", and a time (ms)      |
| `busy:<hypervisor> <place>` | string | the owner of the one attempt that may be at a place that hangs            |
| `alone:<what>`              | string | the VM whose attempt is at what goes one at a time                        |
| `line:<what>`               | zset   | VM -> its number, of those who wait for that                              |
| `asked:<what>`              | zset   | VM -> when (ms) it asked last; in the future for those who work on their VM |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import override

from configdrive.client.encoding import ms
from tasks.isolation import Found, Leaving, Places
from workers.store import scripts

if TYPE_CHECKING:
    import redis

    from configdrive.model import HypervisorName

HANGS_SECONDS: Final = 60.0
"""A place at which nobody was again for so long is open to all, to find out."""

FORGIVEN_SECONDS: Final = 600.0
"""A place that was slow and answered is not doubted for so long; a call that times out counts all the same."""

BUSY_SECONDS: Final = 10.0
"""Who died at such a place keeps the others out for so long."""

ALONE_SECONDS: Final = 10.0
"""Who died where it was alone keeps the others out for so long. What takes longer is overtaken, and the hypervisor lets
one of them wait."""

ASKED_SECONDS: Final = 1.0
"""Who asks no more for so long is passed by."""

KEPT_SECONDS: Final = 120.0
"""Whoever was deferred and does not come again for so long has lost its place in line. A pause is 30 s at most
(`tasks.policy`)."""


class RedisPlaces(Places):
    """The port of the tasks.

    Args:
        client: of Redis.
        prefix: of the fleet's keys.
        doubt: seconds after which doubt counts as hanging.
    """

    def __init__(self, client: redis.Redis, prefix: str, doubt: float) -> None:
        self._prefix = prefix
        self._script = scripts.register(client, "place")
        self._alone = scripts.register(client, "alone")
        self._times = [ms(doubt), ms(HANGS_SECONDS), ms(FORGIVEN_SECONDS), ms(BUSY_SECONDS)]

    @override
    def enter_place(self, hypervisor: HypervisorName, place: str, owner: str) -> Found:
        return self._call("enter", hypervisor, place, owner)

    @override
    def doubt_place(self, hypervisor: HypervisorName, place: str, owner: str) -> Found:
        return self._call("doubt", hypervisor, place, owner)

    @override
    def leave_place(self, hypervisor: HypervisorName, place: str, owner: str, *, hangs: bool | None) -> None:
        how = "leave" if hangs is None else "hangs" if hangs else "well"
        self._call(how, hypervisor, place, owner)

    @override
    def come_alone(self, what: str, in_line: str) -> int:
        return self._ask_alone("enter", what, in_line)

    @override
    def come_near(self, what: str, in_line: str) -> int:
        return self._ask_alone("near", what, in_line)

    @override
    def go_away(self, what: str, in_line: str, leaving: Leaving) -> None:
        self._ask_alone(leaving, what, in_line)

    def _ask_alone(self, how: str, what: str, in_line: str) -> int:
        keys = [f"{self._prefix}{name}:{what}" for name in ("alone", "line", "asked")]
        times = [ms(ALONE_SECONDS), ms(ASKED_SECONDS), ms(KEPT_SECONDS)]
        return int(self._alone(keys=keys, args=[how, in_line, *times]))

    def _call(self, how: str, hypervisor: HypervisorName, place: str, owner: str) -> Found:
        keys = [f"{self._prefix}places:{hypervisor}", f"{self._prefix}busy:{hypervisor} {place}"]
        return Found(self._script(keys=keys, args=[how, place, owner, *self._times]).decode())
