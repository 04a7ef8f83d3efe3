"""A fleet on a simulated cloud, and what a test asks of both."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from typing_extensions import override

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import EventKey, VmUuid
from rigs import process
from rigs.cloud import Cloud, VmScript
from rigs.fleet import Fleet
from rigs.process import RigError, wait_until
from rigs.redis import RedisServer
from rigs.simulated.faults import Fault
from rigs.simulated.spans import VERBS, spans_of
from workers.hypervisors.simulated.topology import Hosts

QUICK: dict[str, Any] = {
    "concurrency": 2,
    "lease_seconds": 3.0,
    "wakeup_seconds": 0.2,
    "resend_seconds": 1.0,
    "backoff_seconds": 0.1,
    "backoff_most_seconds": 0.5,
}
"""Settings with which a dead worker's VM goes on after four seconds."""


class Site(Fleet):
    """A fleet whose hypervisor is a simulated cloud that writes down all that is done to it."""

    def __init__(  # noqa: PLR0913  # as a fleet's
        self,
        directory: Path,
        *,
        workers: int = 1,
        redis: RedisServer | None = None,
        options: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        audit: bool = True,
        latency_ms: int = 0,
        hosts: Hosts | None = None,
    ) -> None:
        self.cloud = Cloud(directory / "world", hosts=hosts, audit=audit, latency_ms=latency_ms)
        super().__init__(
            directory, self.cloud.inventory, workers=workers, redis=redis, options=options, settings=settings
        )

    @override
    def stop_workers(self) -> None:
        """End all workers at once: how they end in order has tests of its own, and takes each two seconds."""
        for worker in self.workers:
            worker.kill()
            worker.sweep_up()

    def publish(self, *events: Mapping[str, Any]) -> list[EventKey]:
        """Publish events that are accepted; returns their keys."""
        receipts = self.publisher.publish_many(events)
        assert all(receipt.accepted for receipt in receipts)
        return [receipt.key for receipt in receipts]

    def inject(self, *faults: Fault) -> None:
        """Lay faults down."""
        for fault in faults:
            self.cloud.world.faults.inject(fault)

    def outcomes(self, events: Iterable[EventKey], timeout: float = 30) -> dict[EventKey, list[Outcome]]:
        """Wait until each event has a final outcome; returns what the stream says of each, oldest first.

        Raises:
            RigError: the time is over.
        """
        wanted = list(events)
        found: dict[EventKey, list[Outcome]] = defaultdict(list)
        position = "0"

        def all_there() -> bool:
            nonlocal position
            for latest, outcome in list(self.mailbox.outcomes(position, 0.05)):
                position = latest
                if outcome is not None:
                    found[outcome.key].append(outcome)
            return all(found[event] and found[event][-1].final for event in wanted)

        try:
            wait_until(all_there, "the outcomes", timeout=timeout)
        except RigError as error:
            missing = [event for event in wanted if not (found[event] and found[event][-1].final)]
            raise RigError(
                f"{error}: {len(missing)} of {len(wanted)} are missing: {missing[:5]}\n{self.log[-3000:]}"
            ) from None
        return {event: found[event] for event in wanted}

    def stream(self) -> list[EventKey]:
        """Return the events of the whole outcome stream, in its order."""
        position, events = "0", list[EventKey]()
        while page := list(self.mailbox.outcomes(position, 0.01)):
            position = page[-1][0]
            events += [outcome.key for _, outcome in page if outcome is not None]
        return events

    def outcome(self, event: Mapping[str, Any], timeout: float = 30) -> Outcome:
        """Publish one event and wait for its outcome, final or parked."""
        receipt = self.publisher.publish(event)
        assert receipt.accepted
        return self.ended(receipt.key, timeout)

    def ended(self, event: EventKey, timeout: float = 30) -> Outcome:
        """Wait for an event's outcome, final or parked.

        Raises:
            RigError: the time is over.
        """
        since = self.mailbox.end_of_outcomes()
        outcome = self.mailbox.outcome_of(event) or next(
            self.mailbox.outcomes_of([event], since, timeout * process.patience), None
        )
        if outcome is None:
            raise RigError(f"no outcome of {event}\n{self.log[-3000:]}")
        return outcome

    def wait_claimed(self, vm: VmScript) -> None:
        """Wait until a worker is at the VM.

        Raises:
            RigError: none was within 10 s.
        """

        def claimed() -> bool:
            view = self.mailbox.view(VmUuid(vm.uuid))
            return view is not None and view.owner is not None

        wait_until(claimed, f"a worker to take VM {vm.uuid}", timeout=10)

    def require_all_done(self, published: Mapping[VmScript, Sequence[EventKey]], timeout: float = 60) -> list[Outcome]:
        """See that each of these events ended once, in order, and that each VM has what its last one asks for.

        The events of a VM are starts and stops alternating; one that a later one made pointless may have been dropped.
        Returns the outcomes.
        """
        found = self.outcomes([event for events in published.values() for event in events], timeout)
        order = self.stream()
        assert len(order) == len(set(order))
        for vm, events in published.items():
            assert [event for event in order if event in set(events)] == list(events)
            assert {found[event][0].status for event in events} <= {Status.APPLIED, Status.DROPPED}
            self.require(vm, vm.last if vm.last % 2 else None)
        self.require_no_overlap(published)
        return [found[event][-1] for events in published.values() for event in events]

    def require(self, vm: VmScript, generation: int | None) -> None:
        """See that a VM has exactly the image of one generation, in its drive; or, with `None`, nothing at all."""
        wanted = None if generation is None else vm.image(generation)
        assert self.cloud.medium(vm.uuid) == wanted
        assert self.cloud.images(vm.uuid) == ([] if wanted is None else [wanted])

    def require_no_overlap(self, vms: Iterable[VmScript]) -> int:
        """See in the audit log that never two processes were at one VM at once; returns the number of verbs."""
        spans = spans_of(self.cloud.audit(), VERBS)
        found = [spans.get(vm.uuid, []) for vm in vms]
        for of_vm in found:
            for first, second in pairwise(of_vm):
                same = (first.pid, first.thread) == (second.pid, second.thread)
                assert same or first.end <= second.begin, f"{first} and {second} at once"
        return sum(map(len, found))


def new_vm() -> VmScript:
    """Return a VM that nobody knows yet."""
    return VmScript()


def uuid_of(vm: VmScript) -> VmUuid:
    """Return the VM's uuid, typed."""
    return VmUuid(vm.uuid)
