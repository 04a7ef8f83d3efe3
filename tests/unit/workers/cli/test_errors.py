from dataclasses import replace

import kombu.exceptions
import pytest
import redis

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import StaleCode
from workers.cli.errors import ExitCode, code_of, problem_of, redis_address

OUTCOME = Outcome("e1", "/tests", "start", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", 1, Status.APPLIED, 0.0)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:Hunter2@queue.example:7000/1", "queue.example:7000"),
        ("rediss://:Hunter2@queue.example", "queue.example:6379"),
        ("unix://user:Hunter2@/run/redis.sock?db=1", "/run/redis.sock"),
    ],
)
def test_the_address_never_has_the_login(url: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGDRIVE_REDIS_URL", url)

    assert redis_address() == address


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (redis.ConnectionError("Error 111 connecting"), ExitCode.UNAVAILABLE, "cannot be reached (ConnectionError)"),
        (redis.TimeoutError("Timeout reading"), ExitCode.UNAVAILABLE, "cannot be reached (TimeoutError)"),
        (kombu.exceptions.OperationalError("no"), ExitCode.UNAVAILABLE, "cannot be reached (OperationalError)"),
        (redis.BusyLoadingError("LOADING"), ExitCode.UNAVAILABLE, "cannot be reached (BusyLoadingError)"),
        (redis.AuthenticationError("WRONGPASS Hunter2"), ExitCode.MISCONFIGURED, "refuses the login"),
        (redis.exceptions.NoPermissionError("this user has no"), ExitCode.MISCONFIGURED, "does not allow this user"),
        (
            redis.ResponseError("ERR The user can't run this command"),
            ExitCode.MISCONFIGURED,
            "does not allow this user",
        ),
        (redis.ResponseError("NOAUTH Authentication required."), ExitCode.MISCONFIGURED, "refuses the login"),
        (redis.ResponseError("MISCONF Hunter2"), ExitCode.UNAVAILABLE, "refused a command (MISCONF)"),
        (redis.exceptions.OutOfMemoryError("command not allowed Hunter2"), ExitCode.UNAVAILABLE, "(OutOfMemoryError)"),
    ],
)
def test_what_redis_says_becomes_a_sentence(
    error: Exception, code: ExitCode, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIGDRIVE_REDIS_URL", "redis://:Hunter2@queue.example:7000")
    problem = problem_of(error)

    assert problem.code is code
    assert words in problem.message
    assert "queue.example:7000" in problem.message
    assert problem.remedy
    assert "Hunter2" not in problem.message + problem.remedy


def test_the_system_s_reason_is_reported() -> None:
    error = redis.ConnectionError("Error 111 connecting to x")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")

    assert "(Connection refused)" in problem_of(error).message


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (Status.APPLIED, None, ExitCode.DONE),
        (Status.NOT_APPLICABLE, None, ExitCode.DONE),
        (Status.DROPPED, StaleCode.SUPERSEDED, ExitCode.DONE),
        (Status.DROPPED, StaleCode.STALE_SEQUENCE, ExitCode.FAILED),
        (Status.DROPPED, StaleCode.VM_GONE, ExitCode.FAILED),
        (Status.SKIPPED, None, ExitCode.FAILED),
        (Status.REJECTED, "invalid_event", ExitCode.FAILED),
        (Status.PARKED, "storage_full", ExitCode.FAILED),
    ],
)
def test_an_outcome_decides_on_the_exit_code(status: Status, code: str | None, exit_code: ExitCode) -> None:
    assert code_of(replace(OUTCOME, status=status, code=code)) is exit_code
