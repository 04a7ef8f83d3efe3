"""The reasons why an event has no outcome so far, as far as Redis and the workers tell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workers.cli.output import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.client.postings import Header
    from configdrive.model import EventKey
    from tasks.mailbox import VmView
    from workers.store.inspection import Inspection


class Reasons:
    """Asks why events wait; which workers there are is asked once.

    Args:
        mailbox: the mailboxes.
        served: returns the queues that each worker takes from, by its node's name.
    """

    def __init__(self, mailbox: Inspection, served: Mapping[str, set[str]]) -> None:
        self._mailbox = mailbox
        self._queues = set().union(*served.values()) if served else set()

    def why(self, key: EventKey) -> str:
        """Return why an event has no outcome, in words that are the same for all that wait for the same.

        Raises:
            redis.RedisError: Redis is away, or this login may not see it.
        """
        uuid = self._mailbox.vm_of(key)
        view = None if uuid is None else self._mailbox.view(uuid)
        own = None if view is None else next((one for one in view.mail if one.key == key), None)
        if view is None or own is None:
            return "it ended just now: `configdrive watch --since 10m` shows how"
        if own is not view.mail[0]:
            return self._behind(view, view.mail[0])
        return self._first(view, own)

    def _behind(self, view: VmView, head: Header) -> str:
        what = f"{head.event_type} #{head.sequence}"
        if view.parked is not None:
            return f"it waits behind {what}, which is parked ({view.parked}): `configdrive show {view.uuid}`"
        return f"it waits behind {what}: {self._first(view, head)}"

    def _first(self, view: VmView, header: Header) -> str:
        now = time.time()
        if view.owner is not None and view.leased_until is not None and view.leased_until > now:
            return "a worker is at it"
        if view.reason is not None and view.due is not None and view.due > now:
            return f"{view.reason}: the next attempt is at {clock(view.due)}"
        if header.queue not in self._queues:
            hypervisor = header.queue.split(".")[1] if "." in header.queue else header.queue
            return f"no worker takes from {header.queue}: `configdrive worker --hypervisor {hypervisor}`"
        return f"all workers of {header.queue} are busy with other VMs"
