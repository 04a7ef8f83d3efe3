"""One turn: claim a VM's head event, make it true, write down what became of it. Knows no Celery."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from configdrive.contract.events import LifecycleEvent, parse
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import (
    BadContentError,
    FleetError,
    PermanentCode,
    PermanentError,
    StaleCode,
    TransientCode,
    TransientError,
)
from configdrive.lifecycle.reconcile import Attempt, Reconciler
from configdrive.model import EventId, VmUuid
from configdrive.ports import Clock
from tasks.lease import LeaseKeeper
from tasks.mailbox import Again, Claim, DeadLetter, Ending, FencedError, Finish, Mailbox, NotNow, ParkIt, Wake
from tasks.policy import Drop, Limits, Park, Retry, decide, describe

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """The event has its outcome (final or parked)."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Later:
    """The event is tried again after so many seconds."""

    after: float
    code: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """There was nothing to do for this wake-up; `outcome` is what the event came to earlier, when that is known."""

    why: str
    outcome: Outcome | None = None


Verdict = Ended | Later | Nothing


class Turns:
    """Takes turns, one at a time per VM.

    Args:
        leases: keeps them alive while the work goes on.
        timeouts: exceptions by which the pool says that an attempt's time is over.
        wake: sends the wake-up for a VM's next event.
    """

    def __init__(  # noqa: PLR0913 - all by name, in the one place that constructs
        self,
        *,
        mailbox: Mailbox,
        reconciler: Reconciler,
        clock: Clock,
        limits: Limits,
        leases: LeaseKeeper,
        timeouts: tuple[type[Exception], ...],
        wake: Callable[[Wake], None],
    ) -> None:
        self._mailbox = mailbox
        self._reconciler = reconciler
        self._clock = clock
        self._limits = limits
        self._leases = leases
        self._timeouts = timeouts
        self._wake = wake

    def take(self, vm_uuid: VmUuid, event_id: EventId) -> Verdict:
        """Take the turn of this event, if it is the VM's next."""
        asked = self._leases.now()
        claim = self._mailbox.claim(vm_uuid, event_id)
        if isinstance(claim, NotNow):
            return Nothing(claim.value, self._mailbox.outcome_of(event_id))
        ending, verdict = self._work(claim, asked)
        if ending is None:
            return verdict
        try:
            following = self._mailbox.done(claim, ending)
        except FencedError:
            return Nothing(StaleCode.LEASE_LOST)
        if following is not None:
            self._wake(following)
        return verdict

    def _work(self, claim: Claim, asked: float) -> tuple[Ending | None, Verdict]:
        """Work on the event under its lease; no ending means that the VM is another worker's by now."""
        try:
            event = _event(claim)
        except PermanentError as error:
            return self._bury(claim, error)
        if claim.deaths >= self._limits.unclassified_attempts:
            died = f"workers died over this event {claim.deaths} times"
            return self._park(claim, event, PermanentCode.UNCLASSIFIED, died, "see the workers' logs")
        try:
            with self._leases.keep(claim, asked) as lease:
                waiting = tuple(header.event_type for header in claim.waiting)
                settled = self._reconciler.handle(Attempt(event, claim.state, waiting, claim.attempt, lease))
        except Exception as error:  # noqa: BLE001 - every exception must lead to a decision, or the event would spin
            return self._failed(claim, event, error)
        return Finish(settled.outcome, settled.state, settled.gone, settled.left_on), Ended(settled.outcome)

    def _failed(self, claim: Claim, event: LifecycleEvent, error: Exception) -> tuple[Ending | None, Verdict]:
        if isinstance(error, BadContentError):
            return self._bury(claim, error)
        if isinstance(error, self._timeouts):
            error = TransientError(TransientCode.TASK_TIMEOUT, "the time limit of one attempt ran out")
        if not isinstance(error, FleetError):
            _log_unforeseen(claim, error)
        match decide(error, claim.attempt, self._limits):
            case Drop(code):
                return None, Nothing(code)
            case Retry(after, code):
                return Again(after, code), Later(after, code)
            case Park(code):
                return self._park(claim, event, code, *describe(error))

    def _park(
        self,
        claim: Claim,
        event: LifecycleEvent,
        code: str,
        detail: str,
        remedy: str,
    ) -> tuple[Ending, Verdict]:
        outcome = self._outcome(claim, event.data.sequence, Status.PARKED, code, detail, remedy)
        _log.error("parked %s of VM %s: %s: %s", outcome.event_type, outcome.vm_uuid, code, detail)
        return ParkIt(outcome), Ended(outcome)

    def _bury(self, claim: Claim, error: PermanentError) -> tuple[Ending, Verdict]:
        """An entry that is no event, or has none in its box, must not block its VM: it goes to the dead letters."""
        header = claim.header
        self._mailbox.bury(
            DeadLetter(self._clock.now(), "mailbox", f"{error.code}: {error.detail}", header.event_id, header.vm_uuid),
        )
        outcome = self._outcome(claim, header.sequence, Status.REJECTED, error.code, error.detail, error.remedy)
        return Finish(outcome), Ended(outcome)

    def _outcome(  # noqa: PLR0913, PLR0917 - the fields of an outcome
        self,
        claim: Claim,
        sequence: int,
        status: Status,
        code: str,
        detail: str,
        remedy: str,
    ) -> Outcome:
        return Outcome(
            event_id=claim.header.event_id,
            event_type=claim.header.event_type,
            vm_uuid=claim.header.vm_uuid,
            sequence=sequence,
            status=status,
            at=self._clock.now(),
            code=code,
            detail=detail,
            remedy=remedy,
            attempts=claim.attempt,
        )


def _event(claim: Claim) -> LifecycleEvent:
    """Read the claimed event, and make sure that it is the one whose header was queued."""
    event = parse(claim.body)
    if event.id != claim.header.event_id or event.data.vm.uuid != claim.header.vm_uuid:
        detail = "the event's id or VM differs from the mailbox it lies in"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, "publish through LifecyclePublisher")
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
