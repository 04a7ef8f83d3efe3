"""A stream of events, as a busy orchestrator publishes it, into which a test breaks."""

import itertools
import threading
from contextlib import suppress
from typing import Any

import redis
from typing_extensions import override

from configdrive.client.postings import Receipt
from configdrive.client.replication import NotReplicatedError
from configdrive.model import EventKey
from rigs.cloud import VmScript
from rigs.process import wait_until
from tests.e2e.site import Site, new_vm


class Stream(threading.Thread):
    """Publishes starts and stops in turn, round by round over some VMs and ever slower, until it is told to end."""

    def __init__(self, site: Site, vms: int) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._ended = threading.Event()
        self.published: dict[VmScript, list[EventKey]] = {new_vm(): [] for _ in range(vms)}
        self.error: Exception | None = None

    @property
    def count(self) -> int:
        """How many events were published."""
        return sum(map(len, self.published.values()))

    @override
    def run(self) -> None:
        try:
            for number in itertools.count(1):
                for vm, events in self.published.items():
                    events.append(self._publish(vm.event("start" if number % 2 else "stop")))
                if self._ended.wait(number / 50):  # a slow machine has as few to do as another
                    return
        except Exception as error:  # noqa: BLE001  # handed to the test
            self.error = error

    def _publish(self, event: dict[str, Any]) -> EventKey:
        try:
            receipt = self._site.publisher.publish(event)
        except (NotReplicatedError, redis.ConnectionError):
            # A master that has just become one, or none for longer than a client tries, on a machine that is busy.
            return wait_until(lambda: self._again(event), "the event to be stored", timeout=60, interval=0.5).key
        assert receipt.accepted  # asked again after a lost reply, it is no duplicate of itself
        return receipt.key

    def _again(self, event: dict[str, Any]) -> Receipt | None:
        """Do what the error asks for: the same event, which is not doubled if it was stored."""
        with suppress(NotReplicatedError, redis.ConnectionError):
            return self._site.publisher.publish(event)
        return None

    def wait_for(self, more: int) -> None:
        """Wait until so many more were published, or publishing failed."""
        count = self.count + more
        wait_until(lambda: self.error or self.count >= count, f"{more} events to be published", timeout=30)

    def end(self) -> None:
        """Let it end; what it met is raised."""
        self._ended.set()
        self.join(600)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
