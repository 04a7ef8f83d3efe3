"""The mailboxes in memory keep what the store on Redis keeps: both are put through the same model."""

from __future__ import annotations

from typing import Any

import redis
from hypothesis import settings
from typing_extensions import override

from configdrive.contract.outcome import Outcome
from configdrive.model import VmUuid
from tests.integration.queue.box import QUEUE
from tests.integration.queue.test_model import Mailboxes
from tests.unit.fakes.mailbox import Box, MemoryMailbox
from tests.unit.fakes.small import FakeClock


class MemoryBox:
    """What the model asks of a store past its door."""

    def __init__(self) -> None:
        self.mailbox = MemoryMailbox(FakeClock())

    def _box(self, vm: VmUuid) -> Box:
        return self.mailbox.boxes.get(vm, Box())

    def age(self, vm: VmUuid, seconds: float) -> None:
        box = self._box(vm)
        box.until -= seconds
        box.retry_at = None if box.retry_at is None else box.retry_at - seconds
        box.due = None if box.due is None else box.due - seconds

    def outcomes(self) -> list[Outcome]:
        return self.mailbox.stream

    def mail(self, vm: VmUuid) -> list[str]:
        return [posting.header.event_id for posting in self._box(vm).mail]

    def bodies(self, vm: VmUuid) -> set[str]:
        return set(self.mail(vm))

    def due(self, vm: VmUuid, queue: str = QUEUE) -> float | None:
        box = self._box(vm)
        return box.due if box.queue == queue else None

    def field(self, vm: VmUuid, name: str) -> Any:  # noqa: ANN401 - one of several
        box = self._box(vm)
        return {
            "epoch": box.epoch,
            "attempts": box.attempts,
            "owner": box.owned or None,
            "parked": box.parked,
            "state": box.state,
        }[name]

    def ttl(self, _kind: str, vm: VmUuid) -> int:
        box = self._box(vm)
        forgotten = not box.mail and (box.gone or box.state is None)
        return 1 if forgotten and box.epoch else -1


class InMemory(Mailboxes):
    """The model of the store on Redis, over the mailboxes in memory."""

    client = redis.Redis()  # which never connects

    def __init__(self) -> None:
        super().__init__()
        self.box = MemoryBox()  # type: ignore[assignment]  # the part of it that the model uses

    @override
    def the_scripts_invariants_hold(self) -> None:
        """There are no scripts here."""


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=40)
