"""What follows from a failure: a table, and the pauses between attempts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.client.postings import Header
from configdrive.contract.outcome import Status
from configdrive.errors import (
    AWAY,
    UNCOUNTED,
    FleetError,
    PermanentCode,
    PermanentError,
    StaleCode,
    StaleError,
    TransientCode,
    TransientError,
)
from configdrive.model import EventId, VmUuid
from tasks.mailbox import Claim, Dropped, Park, Retry
from tasks.policy import Limits, backoff, decide, outcome_of
from tests.unit.documents import UUID

LIMITS = Limits(attempts=4, unclassified_attempts=2, backoff=1.0, backoff_most=10.0)


def transient() -> TransientError:
    return TransientError(TransientCode.HOST_UNREACHABLE, "host-1 does not answer", "look after it")


def permanent() -> PermanentError:
    return PermanentError(PermanentCode.NO_FREE_SLOT, "no slot")


def stale() -> StaleError:
    return StaleError(StaleCode.LEASE_LOST, "another worker")


def claim(attempt: int, tried: float = 0.0, waited: float = 0.0) -> Claim:
    header = Header(EventId("event-1"), "/tests", "start", VmUuid(UUID), "configdrive.kvm", 7)
    return Claim(header, 1, "owner", attempt, 0, b"", None, (), waited=waited, tried=tried)


def follows(error: Exception, attempt: int, limits: Limits = LIMITS) -> tuple[str, float | str]:
    """Say what follows: the kind, and a retry's pause or another's code."""
    match decide(error, claim(attempt), limits, 5.0, jitter=1.0):
        case Retry(delay, _):
            return "retry", delay
        case Park(outcome):
            assert (outcome.status, outcome.attempts, outcome.at, outcome.sequence) == (Status.PARKED, attempt, 5.0, 7)
            return "park", str(outcome.code)
        case Dropped(why):
            return "drop", why


UNREACHABLE, UNCLASSIFIED = TransientCode.HOST_UNREACHABLE, PermanentCode.UNCLASSIFIED


@pytest.mark.parametrize(
    ("error", "attempt", "decision"),
    [
        (transient, 1, ("retry", 1.0)),
        (transient, 2, ("retry", 2.0)),
        (transient, 3, ("retry", 4.0)),
        (transient, 99, ("park", UNREACHABLE)),
        (RuntimeError, 1, ("retry", 1.0)),
        (RuntimeError, 2, ("park", UNCLASSIFIED)),
        (lambda: KeyError("swordfish"), 2, ("park", UNCLASSIFIED)),
        (lambda: OSError(28, "No space left"), 1, ("retry", 1.0)),
    ],
)
def test_the_table(error: Callable[[], Exception], attempt: int, decision: tuple[str, float | str]) -> None:
    assert follows(error(), attempt) == decision


@pytest.mark.parametrize("code", sorted(set(TransientCode) - UNCOUNTED))
def test_every_transient_code_is_tried_again_and_then_parked_under_its_own_name(code: TransientCode) -> None:
    error = TransientError(code, "x")
    retry = decide(error, claim(1), LIMITS, 5.0)
    assert isinstance(retry, Retry)
    assert retry.code == code
    assert follows(error, 4) == ("park", code)


@pytest.mark.parametrize("code", sorted(UNCOUNTED))
def test_what_was_not_tried_counts_as_no_attempt_until_it_is_given_up(code: TransientCode) -> None:
    error = TransientError(code, "x")
    for tried, delay in ((0.0, 1.0), (8.0, 2.0), (3599.0, 30.0)):
        waited = tried + 7200.0  # in a backlog
        assert decide(error, claim(99, tried, waited), LIMITS, 5.0, jitter=1.0) == Retry(delay, code, counted=False)
    assert isinstance(decide(error, claim(1, 3600.0), LIMITS, 5.0), Park)


@pytest.mark.parametrize("code", TransientCode)
def test_what_is_parked_because_a_place_is_away_waits_for_that_place(code: TransientCode) -> None:
    error = TransientError(code, "x")
    for place, waits_for in (("host h1", "host h1"), ("", str(code))):
        ending = decide(error, claim(99, 3600.0), LIMITS, 5.0, place)
        assert isinstance(ending, Park)
        assert (ending.away, ending.stays) == (waits_for if code in AWAY else "", False)


@pytest.mark.parametrize("code", TransientCode)
def test_a_trial_ends_at_once_where_the_place_is_away_still(code: TransientCode) -> None:
    """And publishes nothing, unless another cause than before was found."""
    trial = replace(claim(1), trial=TransientCode.HOST_UNREACHABLE)
    ending = decide(TransientError(code, "x"), trial, LIMITS, 5.0, "host h1")
    if code not in AWAY:
        assert isinstance(ending, Retry), "it is an attempt as any other"
        return
    assert isinstance(ending, Park)
    assert (ending.away, ending.stays) == ("host h1", code is not TransientCode.STORAGE_UNAVAILABLE)


@pytest.mark.parametrize(
    "error", [*(PermanentError(code, "x") for code in PermanentCode), *(StaleError(code, "x") for code in StaleCode)]
)
def test_every_other_code_is_parked_or_dropped_at_once(error: FleetError) -> None:
    for attempt in (1, 99):
        assert follows(error, attempt) == ("park" if isinstance(error, PermanentError) else "drop", error.code)


def test_one_attempt_turns_retries_off() -> None:
    assert follows(transient(), 1, Limits(attempts=1)) == ("park", UNREACHABLE)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_a_pause_is_between_half_of_the_exponential_value_and_all_of_it_and_never_too_long(
    attempt: int, spread: float
) -> None:
    whole = min(2.0 ** min(attempt - 1, 100), 10.0)
    pause = backoff(attempt, LIMITS, spread)
    assert whole / 2 <= pause <= whole


def test_pauses_of_many_vms_are_spread() -> None:
    pauses = {decide(transient(), claim(3), LIMITS, 5.0) for _ in range(50)}
    assert len(pauses) > 10


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("swordfish"),
        KeyError("swordfish"),
        ValueError({"password": "swordfish"}),
        UnicodeDecodeError("utf-8", b"swordfish", 0, 1, "swordfish"),
    ],
)
def test_an_outcome_never_uses_the_text_of_a_foreign_exception(error: Exception) -> None:
    outcome = outcome_of(error, claim(1), Status.PARKED, 5.0)
    assert "swordfish" not in outcome.to_json()
    assert type(error).__name__ in outcome.detail
    assert outcome.remedy


def test_every_error_survives_the_way_out_of_a_pool_s_process() -> None:
    for error in (transient(), permanent(), stale()):
        kind, arguments = error.__reduce__()
        again = kind(*arguments)
        assert isinstance(again, FleetError)
        assert (type(again), again.code, again.detail, again.remedy, str(again)) == (
            type(error), error.code, error.detail, error.remedy, str(error),
        )  # fmt: skip
