"""A queue whose VM has left something on a host, for the tests of what comes of that."""

from __future__ import annotations

from configdrive.contract.outcome import Status
from configdrive.errors import TransientCode
from configdrive.lifecycle.state import VmRecord, peek
from configdrive.model import HostName, VmUuid
from configdrive.ports import Drivers
from tasks.attempt import Ended
from tasks.leftovers import Leftovers
from tests.unit.fakes.fleet import HOST_1, VM
from tests.unit.fakes.queue import QUEUE, Queue


class World:
    """A queue whose VM has left something on host-1."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.cloud = self.queue.fleet.cloud
        self.mailbox = self.queue.mailbox
        self.leftovers = self.make({self.queue.fleet.driver.name: self.queue.fleet.driver})

    def make(self, drivers: Drivers, pause: float = 0.0) -> Leftovers:
        wake = self.queue.sent.append
        return Leftovers(self.mailbox, drivers, leases=self.queue.leases, wake=wake, pause=pause)

    def leave(self, word: str = "stop") -> None:
        """Start the VM, take its host away, and have a stop or destroy leave what it has."""
        self.queue.take(self.queue.put("deploy", start=True))
        self.cloud.down.add(HOST_1)
        header = self.queue.put(word)
        for _ in range(2):
            self.queue.take(header)
            self.queue.fleet.clock.time += 13
        verdict = self.queue.take(header)
        assert isinstance(verdict, Ended)
        assert (verdict.outcome.status, verdict.outcome.code) == (Status.APPLIED, TransientCode.HOST_UNREACHABLE)

    def ask(self, host: HostName = HOST_1) -> str:
        return self.leftovers.ask(QUEUE, host)

    def known(self) -> VmRecord:
        text = self.mailbox.boxes[VM].state
        assert text is not None
        return peek(text)

    def owed(self) -> dict[HostName, list[VmUuid]]:
        return self.mailbox.owed(QUEUE)
