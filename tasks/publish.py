"""The producers' door: take an event, check it, seal it, put it into its VM's mailbox, wake a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from configdrive.contract.events import LifecycleEvent, parse, short_type
from configdrive.contract.outcome import Outcome
from configdrive.contract.sealing import body_of
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId, HypervisorName, VmUuid
from configdrive.ports import Sealer
from tasks.mailbox import Header, Mailbox, Posting, Receipt
from tasks.wakeup import WakeUps, queue_name

_BATCH = 500
_BATCH_BYTES = 8 * 2**20
_POLL = 0.25


class LifecyclePublisher:
    """Publishes lifecycle events.

    When `publish` has returned, the event is stored: its outcome will come, whatever process dies.

    Args:
        hypervisors: the names that some worker serves; an event for another is refused here.
        zones: the zones that have queues of their own.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        wakeups: WakeUps,
        sealer: Sealer,
        *,
        hypervisors: Collection[HypervisorName],
        zones: Collection[str] = (),
    ) -> None:
        self._mailbox = mailbox
        self._wakeups = wakeups
        self._sealer = sealer
        self._hypervisors = frozenset(hypervisors)
        self._zones = frozenset(zones)

    def publish(self, event: LifecycleEvent | Mapping[str, Any] | str | bytes) -> Receipt:
        """Store one event and wake a worker. An id that is known already is not stored again: see the receipt.

        Raises:
            PermanentError: `INVALID_EVENT`, `CONTENT_TOO_LARGE` or `UNKNOWN_HYPERVISOR`; nothing was stored.
        """
        receipt = self._mailbox.put(self.posting(event))
        if receipt.wake is not None:
            self._wakeups.send(receipt.wake)
        return receipt

    def publish_many(
        self,
        events: Iterable[LifecycleEvent | Mapping[str, Any] | str | bytes],
        refused: Callable[[int, PermanentError], None] | None = None,
    ) -> Iterator[Receipt]:
        """Store many events, in order, some hundred in a round trip; yields a receipt for each once it is stored.

        `refused` is told the index and the error of each bad event, which has no receipt then.

        Raises:
            PermanentError: without `refused`, as `publish`, at the first bad event; those before it are stored.
        """
        postings = self._valid(events, refused)
        while batch := _batch(postings):
            problems = [item for item in batch if isinstance(item, PermanentError)]
            receipts = self._mailbox.put_many([item for item in batch if isinstance(item, Posting)])
            self._wakeups.send_many([receipt.wake for receipt in receipts if receipt.wake is not None])
            yield from receipts
            if problems:
                raise problems[0]

    def wait(self, event_id: str, timeout: float) -> Outcome | None:
        """Wait for an event's outcome (final, or parked), at most `timeout` seconds; `None` when the time is over."""
        identity = EventId(event_id)
        deadline = time.monotonic() + timeout
        position = self._mailbox.end_of_outcomes()
        outcome = self._mailbox.outcome_of(identity)
        while outcome is None and (left := deadline - time.monotonic()) > 0:
            for reached, candidate in self._mailbox.outcomes(position, min(left, _POLL)):
                position = reached
                if candidate.event_id == identity:
                    outcome = candidate
        return outcome or self._mailbox.outcome_of(identity)

    def posting(self, event: LifecycleEvent | Mapping[str, Any] | str | bytes) -> Posting:
        """Check and seal an event.

        Raises:
            PermanentError: as `publish`.
        """
        checked = _checked(event)
        data = checked.data
        if data.hypervisor not in self._hypervisors:
            detail = f"data.hypervisor: no driver is called {data.hypervisor!r}"
            remedy = f"known are: {', '.join(sorted(self._hypervisors))}"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        zone = data.zone if data.zone in self._zones else None
        header = Header(
            event_id=EventId(checked.id),
            event_type=short_type(checked.type),
            vm_uuid=VmUuid(data.vm.uuid),
            queue=queue_name(data.hypervisor, zone),
            sequence=data.sequence,
            traceparent=checked.traceparent,
        )
        return Posting(header, body_of(checked, self._sealer))

    def _valid(
        self,
        events: Iterable[Any],
        refused: Callable[[int, PermanentError], None] | None,
    ) -> Iterator[Posting | PermanentError]:
        for index, event in enumerate(events):
            try:
                yield self.posting(event)
            except PermanentError as error:
                if refused is None:
                    yield error
                    return
                refused(index, error)


def _checked(event: LifecycleEvent | Mapping[str, Any] | str | bytes) -> LifecycleEvent:
    match event:
        case str() | bytes():
            return parse(event)
        case Mapping():
            return parse(_dumped(event))
        case _:
            return event


def _dumped(event: Mapping[str, Any]) -> str:
    try:
        return json.dumps(event)
    except (TypeError, ValueError, RecursionError):
        detail = "event: cannot be written as JSON"
    raise PermanentError(PermanentCode.INVALID_EVENT, detail, "give plain dicts, lists, strings, numbers and booleans")


def _batch(items: Iterator[Posting | PermanentError]) -> list[Posting | PermanentError]:
    """Take the next batch: at most so many events, and at most so many bytes."""
    batch: list[Posting | PermanentError] = []
    size = 0
    for item in islice(items, _BATCH):
        batch.append(item)
        size += len(item.body) if isinstance(item, Posting) else 0
        if size > _BATCH_BYTES:
            break
    return batch
