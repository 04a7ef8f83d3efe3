"""The workers' Lua scripts (`lua/`), and the library of functions: PUT stands in one file only."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configdrive.client.hypervisors import known_hypervisors
from configdrive.client.scripts import source

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis
    from redis.commands.core import Script

    from workers.config.settings import Settings

CONTRACT = "v1"
"""The version of the event contract, in the names of what clients call."""

MOST_BYTES = 2**20
"""Bytes of an event that a function takes: Redis reads it while everybody waits, and a list has no such bound."""


PACKAGE = "workers.store"


def register(client: redis.Redis, name: str) -> Script:
    """Return a script of `workers/store/lua`, which is sent to Redis when it is first called."""
    return client.register_script(_with_put(name) if name == "settle" else source("common") + source(name, PACKAGE))


@dataclass(frozen=True, slots=True)
class FunctionLibrary:
    """The library of one fleet.

    Args:
        prefix: of the fleet's keys, one of `Settings.key_prefix`.
        hypervisors: whose events are taken; others are refused.
        zones: that have queues of their own.
        mailbox_bytes: what may wait for one VM.
    """

    prefix: str
    hypervisors: tuple[str, ...]
    zones: tuple[str, ...] = ()
    mailbox_bytes: int = 2**27

    @classmethod
    def of(cls, settings: Settings) -> FunctionLibrary:
        """Return PUT as a function of Redis, for the fleet of these settings."""
        return cls(settings.key_prefix, tuple(known_hypervisors(settings)), settings.zones, settings.mailbox_bytes)

    @property
    def name(self) -> str:
        """The library's name: `configdrive_v1` for the prefix `configdrive:`, and another for each other prefix."""
        return f"{self._fleet}_{CONTRACT}"

    @property
    def put(self) -> str:
        """The function's name: `configdrive_put_v1`."""
        return f"{self._fleet}_put_{CONTRACT}"

    @property
    def _fleet(self) -> str:
        plain = re.fullmatch(r"([A-Za-z0-9]+):", self.prefix)
        if plain is not None:
            return plain[1]
        readable = re.sub("[^A-Za-z0-9]+", "_", self.prefix).strip("_") or "fleet"
        return f"{readable}_{zlib.crc32(self.prefix.encode()):08x}"

    @property
    def code(self) -> str:
        """What `FUNCTION LOAD` takes."""
        constants = (
            f"local PREFIX, MOST_BYTES, MAILBOX_BYTES = '{self.prefix}', {MOST_BYTES}, {self.mailbox_bytes}",
            f"local PUT_NAME = '{self.put}'",
            f"local HYPERVISORS = {_set(self.hypervisors)}",
            f"local ZONES = {_set(self.zones)}",
        )
        return "\n".join((f"#!lua name={self.name}", *constants, source("sha256", PACKAGE), _with_put("functions")))


def _with_put(name: str) -> str:
    """Return a script behind PUT, which it calls as `put(keys, arguments)`."""
    put = f"local function put(KEYS, ARGV)\n{source('put')}end\n\n"
    return source("common") + put + source(name, PACKAGE)


def _set(names: Iterable[str]) -> str:
    """Write a Lua set. The names are those of settings: letters, digits, hyphens and underscores."""
    return "{" + ", ".join(f"['{name}'] = true" for name in sorted(names)) + "}"
