"""Asking a host that was away for what it still has of VMs: one task per host, sent when its time comes.

And verifying VMs that workers may have left half-done: one task for all of a queue (`configdrive.lifecycle.verify`).
Nothing is lost with such a message: what is left stands in the store until it is gone (`WakeupMailbox.ask_hosts`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from celery import Celery, Task

from configdrive.errors import FleetError, PermanentError, TransientCode
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.settled import Verified
from configdrive.lifecycle.state import Phase, VmRecord, peek, write
from configdrive.lifecycle.verify import Verifier
from configdrive.model import HostName, Intent, VmUuid
from configdrive.ports import Drivers
from tasks.celery_tasks import Refused, taken
from tasks.lease import LeaseKeeper
from tasks.mailbox import DeadLetters, Doubt, FencedError, Held, Leftover, LeftoverMailbox, NotNow
from tasks.wakeup import LEFTOVERS_NAME, VERIFY, Question, read_question

_log = logging.getLogger(__name__)

_BUDGET_SECONDS = 60.0
"""How long one task goes on with further VMs: events of others wait for its place in the pool. The rest comes next."""


class LeftoverObserver(Protocol):
    """Notified of what hosts have given up; must not raise."""

    def leftover_removed(self, queue: str) -> None:
        """Take note that a host which was away has nothing of one VM any more."""


class Leftovers:
    """Takes away what hosts still have of VMs, one VM at a time and under its lease.

    Args:
        mailbox: says what is left.
        drivers: of the hypervisors that this worker serves.
        leases: keeps the lease on a VM alive while it is cleaned.
        verifier: verifies VMs; whoever only asks hosts has none.
        observer: is notified of what is gone.
    """

    def __init__(
        self,
        mailbox: LeftoverMailbox,
        drivers: Drivers,
        *,
        leases: LeaseKeeper,
        verifier: Verifier | None = None,
        observer: LeftoverObserver | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._drivers = drivers
        self._leases = leases
        self._verifier = verifier
        self._observer = observer

    def answer(self, question: Question) -> str:
        """Ask the host that a message names; returns what came of it, in a sentence."""
        self._mailbox.question_arrived(question.queue, question.host, question.number)
        if question.host == VERIFY:
            return self.verify_all(question.queue)
        return self.ask(question.queue, question.host)

    def ask_all(self, queues: Iterable[str]) -> Iterator[str]:
        """Ask every host that has something of these queues' VMs; yields what came of each."""
        for queue in queues:
            for host in self._mailbox.leftovers(queue):
                yield self.ask(queue, host)

    def ask(self, queue: str, host: HostName) -> str:
        """Ask one host for what it has of a queue's VMs; returns what came of it, in a sentence."""
        finished, waiting = 0, 0
        ends = time.monotonic() + _BUDGET_SECONDS
        uuids = self._mailbox.leftovers(queue).get(host, [])
        for uuid in random.sample(uuids, len(uuids)):  # or those behind many slow ones would never have their turn
            if time.monotonic() > ends:
                break
            try:
                done = self.finish(queue, host, uuid)
            except FleetError as error:
                level = logging.WARNING if isinstance(error, PermanentError) else logging.INFO
                _log.log(level, "left on host %s by VM %s: %s", host, uuid, error)
                if error.code in {TransientCode.HOST_UNREACHABLE, TransientCode.DEFERRED}:
                    return f"host {host} is away still; {finished} VMs finished"
                done = False
            finished += done
            waiting += not done
        return f"host {host}: {finished} VMs finished, {waiting} wait"

    def verify_all(self, queue: str) -> str:
        """Verify the VMs of a queue that may have been left half-done; returns what came of it, in a sentence."""
        verified, waiting = 0, 0
        ends = time.monotonic() + _BUDGET_SECONDS
        doubts = self._mailbox.doubts(queue)
        for doubt in random.sample(doubts, len(doubts)):
            if time.monotonic() > ends or self._verifier is None:
                break
            try:
                done = self.verify(doubt, self._verifier)
            except FleetError as error:
                _log.info("VM %s cannot be verified now: %s", doubt.vm_uuid, error)
                done = False
            verified += done
            waiting += not done
        return f"{verified} VMs verified, {waiting} wait"

    def verify(self, doubt: Doubt, verifier: Verifier) -> bool:
        """Verify one VM; false when that has to wait for an event of the VM.

        Raises:
            FleetError: it cannot be done now.
        """
        uuid, asked = doubt.vm_uuid, self._leases.now()
        held = self._mailbox.hold(uuid)
        if isinstance(held, NotNow):
            return False
        found: Verified | None = None
        intended: tuple[Intent, ...] = ()
        try:
            with self._leases.keep(held, asked) as lease:
                try:
                    found = verifier.verify(uuid, held.state, self._mailbox.intents(uuid), lease)
                finally:
                    intended = lease.intended
        except PermanentError as error:  # no later look finds it otherwise
            _log.warning("VM %s is not verified, that is left to its next event and the sweep: %s", uuid, error)
            found = Verified()
        finally:
            written = self._release_verified(held, doubt, found, intended)
        return written

    def _release_verified(self, held: Held, doubt: Doubt, found: Verified | None, intended: tuple[Intent, ...]) -> bool:
        """Give the hold back; false when nothing was found, or the VM is another worker's by now."""
        try:
            if found is None:
                self._mailbox.release(held)
            else:
                self._mailbox.release_verified(held, doubt, found)
        except FencedError:
            self._mailbox.note_doubt(doubt.queue, held.vm_uuid, intended)
            return False
        return found is not None

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
        gone = written = False
        try:
            if held.state is not None:
                after = self._clean(held, asked, host, peek(held.state))
            gone = after is None or host not in after.left_on
        finally:
            written = self._release(queue, held, after, Leftover(queue, host) if gone else None)
        if gone and written:
            _log.info("host %s has nothing of VM %s any more", host, uuid)
            if self._observer is not None:
                self._observer.leftover_removed(queue)
        return gone and written

    def _clean(self, held: Held, asked: float, host: HostName, record: VmRecord) -> VmRecord:
        """Clean a host of a hypervisor that is served; the VM may be on another one by now."""
        there = (self._drivers.get(one.hypervisor) for one in record.left if one.host == host)
        driver = next((one for one in there if one is not None), None)
        if driver is None:
            return record
        with self._leases.keep(held, asked) as lease:
            return Cleaner(driver, lease).clean(record, host)

    def _release(self, queue: str, held: Held, after: VmRecord | None, finished: Leftover | None) -> bool:
        """Give the hold back; false when the VM is another worker's by now, and nothing was written."""
        gone = after is not None and after.phase is Phase.GONE and not after.left_on
        try:
            self._mailbox.release(held, None if after is None else write(after), gone=gone, finished=finished)
        except FencedError:
            self._mailbox.note_doubt(queue, held.vm_uuid)
            return False  # asked again, the host has less to give up
        return True


def register(app: Celery, leftovers: Callable[[], Leftovers], dead_letters: DeadLetters) -> Task[Any, Any]:
    """Add the task to a Celery app. `leftovers` is called in the process that works, never before it was forked."""

    @app.task(
        name=LEFTOVERS_NAME,
        bind=True,
        shared=False,
        acks_late=False,
        ignore_result=True,
        max_retries=None,
        throws=(Refused,),
    )
    def ask_host(self: Task[Any, Any], /, *arguments: object, **_named: object) -> str:
        """Ask one host for what it still has; its result is the sentence that Flower shows."""
        question = taken(self, arguments, read_question, dead_letters)
        return leftovers().answer(question)

    return ask_host
