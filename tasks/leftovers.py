"""Asking a host that was away for what it still has of VMs: one task per host, sent when its time comes.

Nothing is lost with such a message: what is owed stands in the store until it is paid (`Mailbox.hosts_owing`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, Task

from configdrive.errors import FleetError, PermanentError, TransientCode
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.state import Phase, VmRecord, peek, write
from configdrive.model import HostName, VmUuid
from configdrive.ports import Drivers
from tasks.celery_tasks import Refused
from tasks.lease import LeaseKeeper
from tasks.mailbox import DeadLetter, Debt, FencedError, Held, Mailbox, NotNow, Wake
from tasks.wakeup import LEFTOVERS_NAME, read_host

_log = logging.getLogger(__name__)

_BUDGET_SECONDS = 60.0
"""How long one task goes on with further VMs: events of others wait for its place in the pool. The rest comes next."""


class Leftovers:
    """Takes away what hosts still have of VMs, one VM at a time and under its lease.

    Args:
        mailbox: says what is owed.
        drivers: of the hypervisors that this worker serves.
        leases: keeps the lease on a VM alive while it is cleaned.
        pause: seconds between two messages for one host; when many have heaped up, it is asked no more than twice in
            that time. 0: whenever one is told to ask.
        wake: sends the wake-up for an event that came meanwhile.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        drivers: Drivers,
        *,
        leases: LeaseKeeper,
        wake: Callable[[Wake], None],
        pause: float = 0.0,
    ) -> None:
        self._pause = pause
        self._mailbox = mailbox
        self._drivers = drivers
        self._leases = leases
        self._wake = wake

    def ask(self, queue: str, host: HostName) -> str:
        """Ask one host for what it has of a queue's VMs; returns what came of it, in a sentence."""
        if self._pause and not self._mailbox.may_ask(queue, host, self._pause / 2):
            return f"host {host} was asked just now"
        finished, waiting = 0, 0
        ends = time.monotonic() + _BUDGET_SECONDS
        uuids = self._mailbox.owed(queue).get(host, [])
        for uuid in random.sample(uuids, len(uuids)):  # or those behind many slow ones would never have their turn
            if time.monotonic() > ends:
                break
            try:
                done = self.finish(queue, host, uuid)
            except FleetError as error:
                level = logging.WARNING if isinstance(error, PermanentError) else logging.INFO
                _log.log(level, "left on host %s by VM %s: %s", host, uuid, error)
                if error.code is TransientCode.HOST_UNREACHABLE:
                    return f"host {host} is away still; {finished} VMs finished"
                done = False
            finished += done
            waiting += not done
        return f"host {host}: {finished} VMs finished, {waiting} wait"

    def finish(self, queue: str, host: HostName, uuid: VmUuid) -> bool:
        """Take away what a host has of one VM; false when that has to wait for an event of the VM.

        Raises:
            FleetError: the host is away, or the VM cannot be cleaned up now.
        """
        asked = self._leases.now()
        held = self._mailbox.hold(uuid)
        if isinstance(held, NotNow):
            return False
        after: VmRecord | None = None
        paid = written = False
        try:
            if held.state is not None:
                after = self._clean(held, asked, host, peek(held.state))
            paid = after is None or host not in after.left_on
        finally:
            written = self._release(held, after, Debt(queue, host) if paid else None)
        if paid and written:
            _log.info("host %s has nothing of VM %s any more", host, uuid)
        return paid and written

    def _clean(self, held: Held, asked: float, host: HostName, record: VmRecord) -> VmRecord:
        if record.vm is None or record.vm.hypervisor not in self._drivers:
            return record
        with self._leases.keep(held, asked) as lease:
            return Cleaner(self._drivers[record.vm.hypervisor], lease).clean(record, host)

    def _release(self, held: Held, after: VmRecord | None, paid: Debt | None) -> bool:
        """Give the hold back; false when the VM is another worker's by now, and nothing was written."""
        gone = after is not None and after.phase is Phase.GONE and not after.left_on
        try:
            following = self._mailbox.release(held, None if after is None else write(after), gone=gone, paid=paid)
        except FencedError:
            return False  # asked again, the host has less to give up
        if following is not None:
            self._wake(following)
        return True


def register(app: Celery, leftovers: Callable[[], Leftovers], bury: Callable[[DeadLetter], None]) -> Task[Any, Any]:
    """Add the task to a Celery app. `leftovers` is called in the process that works, never before it was forked."""

    @app.task(name=LEFTOVERS_NAME, bind=True, acks_late=False, ignore_result=True, max_retries=None, throws=(Refused,))
    def ask_host(self: Task[Any, Any], /, *arguments: object, **_named: object) -> str:
        """Ask one host for what it still has; its result is the sentence that Flower shows."""
        host = _read(self.request.id, arguments)
        if isinstance(host, DeadLetter):
            bury(host)
            raise Refused(host.reason)
        return leftovers().ask(str((self.request.delivery_info or {}).get("routing_key")), host)

    return ask_host


def _read(task_id: object, arguments: tuple[object, ...]) -> HostName | DeadLetter:
    try:
        return read_host(task_id, arguments)
    except PermanentError as error:
        return DeadLetter(time.time(), "broker", f"{error.code}: {error.detail}")
