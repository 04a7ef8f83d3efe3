"""One attempt: claim a VM's next event, make it true, write down what became of it. Knows no Celery."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from configdrive.contract.events import LifecycleEvent, parse
from configdrive.contract.outcome import Status
from configdrive.errors import (
    BadContentError,
    FleetError,
    PermanentCode,
    PermanentError,
    StaleCode,
    TransientCode,
    TransientError,
)
from configdrive.lifecycle.reconcile import Attempt, Reconciler, Waiting
from configdrive.lifecycle.settled import Settled
from configdrive.model import HypervisorName, Intent
from configdrive.places import PlaceHangs, deferred
from configdrive.ports import Clock, Observer
from tasks.isolation import Isolation, Visit
from tasks.lease import LeaseKeeper
from tasks.mailbox import (
    AttemptMailbox,
    Claim,
    DeadLetter,
    Dropped,
    Ending,
    FencedError,
    NotNow,
    Park,
    Wakeup,
)
from tasks.policy import Limits, decide, outcome_of

_log = logging.getLogger(__name__)


class AttemptObserver(Observer, Protocol):
    """Notified of each attempt at an event, and of each step of it, in the thread that does it; must not raise."""

    def attempt_started(self, claim: Claim) -> None:
        """Take note that a worker has begun an attempt."""

    def attempt_ended(self, claim: Claim, ending: Ending | None, seconds: float) -> None:
        """Take note of its end, once that is written. `None`: it was not; another worker has the VM, or will."""


class Attempts:
    """Makes attempts, one at a time per VM.

    Args:
        leases: keeps them alive while the work goes on.
        isolation: watches where attempts are.
        timeouts: exceptions by which the pool says that an attempt's time is over.
        observer: is notified of each attempt.
    """

    def __init__(  # noqa: PLR0913 - all by name, in the one place that constructs
        self,
        *,
        mailbox: AttemptMailbox,
        reconciler: Reconciler,
        clock: Clock,
        limits: Limits,
        leases: LeaseKeeper,
        isolation: Isolation,
        timeouts: tuple[type[Exception], ...],
        observer: AttemptObserver,
    ) -> None:
        self._mailbox = mailbox
        self._reconciler = reconciler
        self._clock = clock
        self._limits = limits
        self._leases = leases
        self._isolation = isolation
        self._timeouts = timeouts
        self._observer = observer

    def make(self, wakeup: Wakeup) -> Ending | Dropped:
        """Make an attempt at the next event of the VM for which a worker was woken."""
        asked = self._leases.now()
        claim = self._mailbox.claim(wakeup)
        if isinstance(claim, NotNow):
            return Dropped(claim.value, self._mailbox.outcome_of(wakeup.key))
        stored: Ending | None = None
        intended: list[Intent] = []
        started = time.perf_counter()
        self._observer.attempt_started(claim)
        try:
            ending = self._work(claim, asked, intended)
            if isinstance(ending, Dropped):
                self._note_doubt(claim, intended)
            else:
                self._mailbox.done(claim, ending)
                stored = ending
        except FencedError:
            self._note_doubt(claim, intended)
            return Dropped(StaleCode.LEASE_LOST)
        finally:
            self._observer.attempt_ended(claim, stored, time.perf_counter() - started)
        return ending

    def _note_doubt(self, claim: Claim, intended: Sequence[Intent]) -> None:
        """Have the VM verified that was another's while this attempt may have changed something.

        Whoever had it meanwhile has looked for what was intended, perhaps before it was there.
        """
        try:
            self._mailbox.note_doubt(claim.header.queue, claim.vm_uuid, intended)
        except Exception as error:  # noqa: BLE001 - whoever takes the VM over notes the same
            _log.warning("VM %s is not noted to be verified: %s", claim.vm_uuid, type(error).__name__)

    def _work(self, claim: Claim, asked: float, intended: list[Intent]) -> Ending | Dropped:
        """Work on the event under its lease; `intended` gets what was about to be done."""
        try:
            event = _event(claim)
        except PermanentError as error:
            return self._reject(claim, error)
        visit: Visit | None = None
        try:
            with self._leases.keep(claim, asked) as lease:
                waiting = tuple(Waiting(header.event_type, header.sequence) for header in claim.waiting)
                attempt = Attempt(event, claim.state, waiting, claim.attempt, lease, claim.intents, claim.waited)
                hypervisor = HypervisorName(event.data.hypervisor)
                try:
                    with self._isolation.watch(hypervisor, claim.owner, claim.hanging, vm=claim.vm_uuid) as visit:
                        return self._handle(attempt, claim.deaths)
                finally:
                    intended += lease.intended
        except BadContentError as error:
            return self._reject(claim, error)
        except self._timeouts:
            return self._failed(claim, _out_of_time(), visit)
        except PlaceHangs:  # told on its way out of the place
            return self._failed(claim, deferred("a place"), visit)
        except Exception as error:  # noqa: BLE001 - every exception must lead to a decision, or the event would spin
            return self._failed(claim, error, visit)

    def _handle(self, attempt: Attempt, deaths: int) -> Settled:
        """Make the attempt. A stop or destroy ends whatever nobody foresaw: the leftover pass finishes it."""
        if deaths >= self._limits.unclassified_attempts:
            detail = f"workers died over this event {deaths} times"
            cause = PermanentError(PermanentCode.UNCLASSIFIED, detail, "see the workers' logs")
            if attempt.only_takes_away:
                return self._reconciler.leave(attempt, cause)
            raise cause
        try:
            return self._reconciler.handle(attempt)
        except self._timeouts:
            if not attempt.only_takes_away:
                raise
            return self._reconciler.leave(attempt, _out_of_time())
        except Exception as error:
            foreseen = isinstance(error, FleetError)
            if foreseen or not attempt.only_takes_away or attempt.attempt < self._limits.unclassified_attempts:
                raise
            cause = PermanentError(PermanentCode.UNCLASSIFIED, f"an unforeseen {type(error).__name__}")
            return self._reconciler.leave(attempt, cause)

    def _failed(self, claim: Claim, error: Exception, visit: Visit | None) -> Ending | Dropped:
        if not isinstance(error, FleetError):
            _log_unforeseen(claim, error)
        ending = decide(error, claim, self._limits, self._clock.now(), visit.failed_at if visit else "")
        if isinstance(ending, Park):
            outcome = ending.outcome
            level = logging.INFO if ending.stays else logging.ERROR
            what = (outcome.event_type, outcome.vm_uuid, outcome.code, outcome.detail)
            _log.log(level, "parked %s of VM %s: %s: %s", *what)
        return ending

    def _reject(self, claim: Claim, error: PermanentError) -> Settled:
        """An entry that is no event, or has none in its sealed data, must not block its VM: it is a dead letter."""
        header, at = claim.header, self._clock.now()
        reason = f"{error.code}: {error.detail}"
        self._mailbox.dead_letter(DeadLetter(at, "mailbox", reason, header.event_id, header.vm_uuid, header.source))
        return Settled(outcome_of(error, claim, Status.REJECTED, at))


def _out_of_time() -> TransientError:
    return TransientError(TransientCode.TASK_TIMEOUT, "the time limit of one attempt ran out")


def _event(claim: Claim) -> LifecycleEvent:
    """Read the claimed event, and make sure that it is the one whose header was queued."""
    event = parse(claim.body)
    header = claim.header
    said = (event.id, event.source, event.data.vm.uuid, event.data.sequence)
    if header.forged_key is not None or said != (header.event_id, header.source, header.vm_uuid, header.sequence):
        detail = "the event's id, source, VM or sequence differs from the header under which it lies in the mailbox"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, "publish through configdrive.client")
    return event


def _log_unforeseen(claim: Claim, error: Exception) -> None:
    """Log where it happened, frame by frame; not the exception's text or any value, which may hold a secret."""
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    _log.error(
        "unforeseen %s in %s of VM %s at %s",
        type(error).__name__,
        claim.header.event_type,
        claim.header.vm_uuid,
        " < ".join(reversed(frames)),
    )
