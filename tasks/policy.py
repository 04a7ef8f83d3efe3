"""What the queue does after a failed attempt. Pure: (error, attempt) in, decision out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from configdrive.errors import Code, FleetError, PermanentCode, PermanentError, StaleError, TransientError


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the fleet is.

    Args:
        attempts: tries of an event with a transient cause, before it is parked.
        unclassified_attempts: the same for an exception that nobody foresaw, and for workers that died over an event.
        backoff: seconds before the second attempt; doubled for each further one.
        backoff_most: the longest pause in seconds.
    """

    attempts: int = 12
    unclassified_attempts: int = 3
    backoff: float = 1.0
    backoff_most: float = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after so many seconds."""

    after: float
    code: Code


@dataclass(frozen=True, slots=True)
class Park:
    """Stop, and wait for a person."""

    code: Code


@dataclass(frozen=True, slots=True)
class Drop:
    """The work is another's or nobody's by now."""

    code: Code


Decision = Retry | Park | Drop


def decide(error: Exception, attempt: int, limits: Limits, *, jitter: float | None = None) -> Decision:
    """Say what follows from an error in the `attempt`-th attempt (1 is the first).

    `jitter` between 0 and 1 spreads the retries of many VMs; left out, it is random.
    """
    spread = random.random() if jitter is None else jitter  # noqa: S311 - spreads load, guards nothing
    match error:
        case StaleError(code=code):
            return Drop(code)
        case PermanentError(code=code):
            return Park(code)
        case TransientError(code=code):
            most = limits.attempts
        case _:
            code, most = PermanentCode.UNCLASSIFIED, limits.unclassified_attempts
    if attempt >= most:
        return Park(code)
    return Retry(backoff(attempt, limits, spread), code)


def backoff(attempt: int, limits: Limits, spread: float) -> float:
    """Return the pause in seconds after the `attempt`-th attempt: half of the exponential value up to all of it."""
    exponential = min(limits.backoff * 2.0 ** min(attempt - 1, 30), limits.backoff_most)
    return exponential * (0.5 + 0.5 * spread)


def describe(error: Exception) -> tuple[str, str]:
    """Return detail and remedy for an outcome. The text of a foreign exception is never used: it may hold a secret."""
    if isinstance(error, FleetError):
        return error.detail, error.remedy
    return f"an unforeseen {type(error).__name__}", "see the worker's log for where; then `configdrive retry`"
