"""The retry policy, pure: a failed attempt's error and claim in, what the mailbox stores out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import AWAY, UNCOUNTED, FleetError, PermanentCode, PermanentError, StaleError, TransientError
from tasks.mailbox import Claim, Dropped, Park, Retry

_PAUSE_LEAST, _PAUSE_SHARE, _PAUSE_MOST = 1.0, 0.25, 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the fleet is.

    Args:
        attempts: tries of an event with a transient cause, before it is parked.
        unclassified_attempts: the same for an exception that nobody foresaw, and for workers that died over an event.
        backoff: seconds before the second attempt; doubled for each further one.
        backoff_most: the longest pause in seconds.
        give_up: seconds since its first attempt after which an event is parked for which nothing could be tried.
    """

    attempts: int = 12
    unclassified_attempts: int = 3
    backoff: float = 1.0
    backoff_most: float = 300.0
    give_up: float = 3600.0


def decide(  # noqa: PLR0913 - what an attempt knows, and what tests leave out
    error: Exception, claim: Claim, limits: Limits, at: float, place: str = "", *, jitter: float | None = None
) -> Retry | Park | Dropped:
    """Say what follows from an error in an attempt that fails at the time `at` (seconds since 1970 UTC).

    `place` is the host or storage where it came from: an event that is parked because that is away goes on by itself.
    `jitter` between 0 and 1 spreads the retries of many VMs; left out, it is random.
    """
    spread = random.random() if jitter is None else jitter  # noqa: S311 - spreads load, guards nothing
    match error:
        case StaleError(code=code):
            return Dropped(code)
        case PermanentError():
            return Park(outcome_of(error, claim, Status.PARKED, at))
        case TransientError(code=code) if code in UNCOUNTED:
            if claim.trial or claim.tried >= limits.give_up:
                return _park(error, claim, at, place)
            return Retry(pause(claim.tried, spread), code, counted=False, detail=error.detail)
        case TransientError(code=code):
            most = 1 if claim.trial and code in AWAY else limits.attempts
        case _:
            code, most = PermanentCode.UNCLASSIFIED, limits.unclassified_attempts
    if claim.attempt >= most:
        return _park(error, claim, at, place)
    detail = error.detail if isinstance(error, FleetError) else ""
    return Retry(backoff(claim.attempt, limits, spread), code, detail=detail)


def _park(error: Exception, claim: Claim, at: float, place: str) -> Park:
    outcome = outcome_of(error, claim, Status.PARKED, at)
    if not isinstance(error, FleetError) or error.code not in AWAY:
        return Park(outcome)
    stays = bool(claim.trial) and (error.code in UNCOUNTED or error.code == claim.trial)
    return Park(outcome, place or str(error.code), stays)


def backoff(attempt: int, limits: Limits, spread: float) -> float:
    """Return the pause in seconds after the `attempt`-th attempt: half of the exponential value up to all of it."""
    exponential = min(limits.backoff * 2.0 ** min(attempt - 1, 30), limits.backoff_most)
    return exponential * (0.5 + 0.5 * spread)


def pause(tried: float, spread: float) -> float:
    """Return the pause in seconds after what was no attempt: longer for an event that is tried for long.

    A thousand VMs of a storage that hangs must not keep the workers busy with asking whether it does.
    """
    return max(_PAUSE_LEAST, min(tried * _PAUSE_SHARE, _PAUSE_MOST) * (0.5 + 0.5 * spread))


def outcome_of(error: Exception, claim: Claim, status: Status, at: float) -> Outcome:
    """Return what is published of an error. The text of a foreign exception is never used: it may hold a secret."""
    code, detail = PermanentCode.UNCLASSIFIED.value, f"an unforeseen {type(error).__name__}"
    remedy = "see the worker's log for where; then `configdrive retry`"
    if isinstance(error, FleetError):
        code, detail, remedy = str(error.code), error.detail, error.remedy
    return Outcome(
        event_id=claim.header.event_id,
        source=claim.header.source,
        event_type=claim.header.event_type,
        vm_uuid=claim.header.vm_uuid,
        sequence=claim.header.sequence,
        status=status,
        at=at,
        code=code,
        detail=detail,
        remedy=remedy,
        attempts=claim.attempt,
    )
