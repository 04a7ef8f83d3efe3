"""What follows from a failure: a table, and the pauses between attempts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.errors import (
    FleetError,
    PermanentCode,
    PermanentError,
    StaleCode,
    StaleError,
    TransientCode,
    TransientError,
)
from tasks.policy import Decision, Drop, Limits, Park, Retry, backoff, decide, describe

LIMITS = Limits(attempts=4, unclassified_attempts=2, backoff=1.0, backoff_most=10.0)


def transient() -> TransientError:
    return TransientError(TransientCode.HOST_UNREACHABLE, "host-1 does not answer", "look after it")


def permanent() -> PermanentError:
    return PermanentError(PermanentCode.NO_FREE_SLOT, "no slot")


def stale() -> StaleError:
    return StaleError(StaleCode.LEASE_LOST, "another worker")


UNREACHABLE, UNCLASSIFIED = TransientCode.HOST_UNREACHABLE, PermanentCode.UNCLASSIFIED


@pytest.mark.parametrize(
    ("error", "attempt", "decision"),
    [
        (transient, 1, Retry(1.0, UNREACHABLE)),
        (transient, 2, Retry(2.0, UNREACHABLE)),
        (transient, 3, Retry(4.0, UNREACHABLE)),
        (transient, 4, Park(UNREACHABLE)),
        (transient, 99, Park(UNREACHABLE)),
        (permanent, 1, Park(PermanentCode.NO_FREE_SLOT)),
        (permanent, 9, Park(PermanentCode.NO_FREE_SLOT)),
        (stale, 1, Drop(StaleCode.LEASE_LOST)),
        (stale, 99, Drop(StaleCode.LEASE_LOST)),
        (RuntimeError, 1, Retry(1.0, UNCLASSIFIED)),
        (RuntimeError, 2, Park(UNCLASSIFIED)),
        (lambda: KeyError("swordfish"), 2, Park(UNCLASSIFIED)),
        (lambda: OSError(28, "No space left"), 1, Retry(1.0, UNCLASSIFIED)),
    ],
)
def test_the_table(error: Callable[[], Exception], attempt: int, decision: Decision) -> None:
    assert decide(error(), attempt, LIMITS, jitter=1.0) == decision


@pytest.mark.parametrize("code", TransientCode)
def test_every_transient_code_is_tried_again_and_then_parked_under_its_own_name(code: TransientCode) -> None:
    error = TransientError(code, "x")
    assert isinstance(decide(error, 1, LIMITS), Retry)
    assert decide(error, 4, LIMITS) == Park(code)


@pytest.mark.parametrize("code", PermanentCode)
def test_every_permanent_code_is_parked_at_once(code: PermanentCode) -> None:
    assert decide(PermanentError(code, "x"), 1, LIMITS) == Park(code)


@pytest.mark.parametrize("code", StaleCode)
def test_every_stale_code_is_dropped(code: StaleCode) -> None:
    assert decide(StaleError(code, "x"), 1, LIMITS) == Drop(code)


def test_one_attempt_turns_retries_off() -> None:
    assert decide(transient(), 1, Limits(attempts=1)) == Park(UNREACHABLE)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_a_pause_is_between_half_of_the_exponential_value_and_all_of_it_and_never_too_long(
    attempt: int, spread: float
) -> None:
    whole = min(2.0 ** min(attempt - 1, 100), 10.0)
    pause = backoff(attempt, LIMITS, spread)
    assert whole / 2 <= pause <= whole


def test_pauses_of_many_vms_are_spread() -> None:
    pauses = {decide(transient(), 3, LIMITS) for _ in range(50)}
    assert len(pauses) > 10


def test_a_description_tells_the_fleet_s_own_errors() -> None:
    assert describe(transient()) == ("host-1 does not answer", "look after it")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("swordfish"),
        KeyError("swordfish"),
        ValueError({"password": "swordfish"}),
        UnicodeDecodeError("utf-8", b"swordfish", 0, 1, "swordfish"),
    ],
)
def test_a_description_never_uses_the_text_of_a_foreign_exception(error: Exception) -> None:
    detail, remedy = describe(error)
    assert "swordfish" not in detail + remedy
    assert type(error).__name__ in detail
    assert remedy


def test_every_error_survives_the_way_out_of_a_pool_s_process() -> None:
    for error in (transient(), permanent(), stale()):
        kind, arguments = error.__reduce__()
        again = kind(*arguments)
        assert isinstance(again, FleetError)
        assert (type(again), again.code, again.detail, again.remedy, str(again)) == (
            type(error), error.code, error.detail, error.remedy, str(error),
        )  # fmt: skip
