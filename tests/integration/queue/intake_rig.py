"""The intake and the function of one store, and what came of what was put there."""

import json
from collections.abc import Sequence
from typing import Any

import redis

from configdrive.client.publisher import Publisher
from configdrive.model import EventKey, HypervisorName, VmUuid
from configdrive.ports import Sealer
from rigs.cloud import key_of
from tasks.intake import Ingester, Unsealed
from tasks.mailbox import DeadLetter
from tests.mailboxes import Store
from workers.config.clock import SystemClock
from workers.store.intake import RedisIntake
from workers.store.scripts import FunctionLibrary

SEALED = "v1.0123456789abcdef.AAAA"


class IntakeRig:
    """One ingester of a store, without a process around it."""

    def __init__(self, store: Store, client: redis.Redis | None = None, sealer: Sealer | None = None) -> None:
        self.store = store
        client = client or store.client
        publisher = Publisher(
            store.through(client),
            sealer or Unsealed(),
            hypervisors=[HypervisorName("simulated")],
            zones=["zone-1"],
        )
        self.intake = RedisIntake(client, store.options)
        self.ingester = Ingester(self.intake, publisher.posting, SystemClock(), pause=0.05)

    def push(self, *events: dict[str, Any] | bytes) -> None:
        """Do what a foreign client does."""
        for event in events:
            self.store.client.lpush(self.store.key("intake"), event if isinstance(event, bytes) else json.dumps(event))

    def drain(self) -> None:
        """Take until nothing is there."""
        while not self.ingester.look():
            pass

    def left(self) -> int:
        """Return how many entries lie in the intake's lists."""
        keys = map(self.store.key, ("intake", "intake:taken"))
        return sum(int(self.store.client.llen(key)) for key in keys)

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        return self.store.mailbox.dead_letters(10_000)[::-1]


def keys(events: Sequence[dict[str, Any]]) -> list[EventKey]:
    return [key_of(event) for event in events]


def vm_of(event: dict[str, Any]) -> VmUuid:
    return VmUuid(event["data"]["vm"]["uuid"])


def library(store: Store) -> FunctionLibrary:
    return FunctionLibrary(store.prefix, ("kvm", "simulated"), ("zone-1",), store.options.mailbox_bytes)
