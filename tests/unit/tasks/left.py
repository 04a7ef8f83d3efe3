"""A queue whose VM has left something on a host, for the tests of what comes of that."""

from configdrive.contract.outcome import Status
from configdrive.errors import TransientCode
from configdrive.lifecycle.state import VmRecord, peek
from configdrive.model import HostName, VmUuid
from tests.unit.fakes.fleet import HOST_1, VM
from tests.unit.fakes.queue import QUEUE, Queue


class World:
    """A queue whose VM has left something on host-1."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.cloud = self.queue.fleet.cloud
        self.mailbox = self.queue.mailbox
        self.leftovers = self.queue.leftovers

    def leave(self, word: str = "stop") -> None:
        """Start the VM, take its host away, and have a stop or destroy leave what it has."""
        self.queue.take(self.queue.put("deploy", start=True))
        self.cloud.down.add(HOST_1)
        header = self.queue.put(word)
        for _ in range(2):
            self.queue.take(header)
            self.queue.fleet.clock.time += 13
        outcome = self.queue.ended(header)
        assert (outcome.status, outcome.code) == (Status.APPLIED, TransientCode.HOST_UNREACHABLE)

    def ask(self, host: HostName = HOST_1) -> str:
        return self.leftovers.ask(QUEUE, host)

    def known(self) -> VmRecord:
        text = self.queue.store.field(VM, "state")
        assert text is not None
        return peek(text)

    def left(self) -> dict[HostName, list[VmUuid]]:
        return self.mailbox.leftovers(QUEUE)
