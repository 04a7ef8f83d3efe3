"""The intake and the function of one store, and a look at what came of what was put there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configdrive.model import HypervisorName, VmUuid
from tasks.intake import Ingester, Unsealed
from tasks.mailbox import Wake
from tasks.publish import LifecyclePublisher
from workers.observability.logs import SystemClock
from workers.store.intake import RedisIntake
from workers.store.scripts import FunctionLibrary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from configdrive.ports import Sealer
    from tasks.mailbox import DeadLetter
    from tests.integration.queue.box import Box

BOX = "v1.0123456789abcdef.AAAA"


class Door:
    """One ingester of a store, without a process around it; `woken` are the wake-ups that it has sent."""

    def __init__(self, box: Box, client: redis.Redis | None = None, sealer: Sealer | None = None) -> None:
        self.box = box
        self.woken: list[Wake] = []
        client = client or box.client
        store = box.through(client)
        # A publisher's check, as every ingester has it; it sends nothing, so it needs nothing to send with.
        publisher = LifecyclePublisher(
            store,
            None,  # type: ignore[arg-type]
            sealer or Unsealed(),
            hypervisors=[HypervisorName("simulated")],
            zones=["zone-1"],
        )
        self.intake = RedisIntake(client, store._options)
        self.ingester = Ingester(self.intake, publisher.posting, self.woken.extend, SystemClock(), pause=0.05)

    def push(self, *events: dict[str, Any] | bytes) -> None:
        """Do what a foreign client does."""
        for event in events:
            self.box.client.lpush(self.box.key("intake"), event if isinstance(event, bytes) else json.dumps(event))

    def drain(self) -> None:
        """Take until nothing is there."""
        while not self.ingester.look():
            pass

    def left(self) -> int:
        """Return how many entries lie in the intake's lists."""
        keys = map(self.box.key, ("intake", "intake:taken"))
        return sum(int(self.box.client.llen(key)) for key in keys)

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        return self.box.mailbox.dead_letters(10_000)[::-1]


def ids(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


def vm_of(event: dict[str, Any]) -> VmUuid:
    return VmUuid(event["data"]["vm"]["uuid"])


def library(box: Box) -> FunctionLibrary:
    return FunctionLibrary(box.prefix, round(box.resend * 1000), ("kvm", "simulated"), ("zone-1",))
