"""What an error means to the person at the keyboard: a sentence, a remedy and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from configdrive.errors import FleetError, PermanentCode
from workers.cli.exits import ExitCode

_CONFIGURATION = frozenset({PermanentCode.MISCONFIGURED, PermanentCode.UNKNOWN_HYPERVISOR})
_TRACEBACK = "CONFIGDRIVE_TRACEBACK"


@dataclass(frozen=True, slots=True)
class Problem:
    """One error, told."""

    code: ExitCode
    message: str
    remedy: str = ""


def problem_of(error: Exception) -> Problem:
    """Tell an error. The text of a foreign exception is never used: it may hold a secret."""
    if isinstance(error, FleetError):
        code = ExitCode.MISCONFIGURED if error.code in _CONFIGURATION else ExitCode.FAILED
        return Problem(code, f"{error.code}: {error.detail}", error.remedy)
    found = _redis_problem(error)
    if found is not None:
        return found
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{os.fsdecode(error.filename)}: {error.strerror}"
        return Problem(ExitCode.MISCONFIGURED, message, "correct the path or its permissions")
    return _unforeseen(error)


def redis_address() -> str:
    """Return host and port of the fleet's Redis, without the login."""
    from workers.config.redis_url import endpoint_of
    from workers.config.settings import load_settings

    return endpoint_of(load_settings()).address


def _redis_problem(error: Exception) -> Problem | None:
    # An error of a library that was never imported cannot have been raised: nothing is imported to find that out.
    redis, kombu = sys.modules.get("redis"), sys.modules.get("kombu.exceptions")
    if _is(error, kombu, "OperationalError"):
        return _unreachable(error)
    if not _is(error, redis, "RedisError"):
        return None
    if _is(error, redis, "AuthenticationError") or str(error).startswith(("NOAUTH", "NOPERM", "WRONGPASS")):
        message = f"Redis at {redis_address()} refuses the login, or what this user may do is too little"
        return Problem(ExitCode.MISCONFIGURED, message, "put the right user and password into CONFIGDRIVE_REDIS_URL")
    if _is(error, redis, "ConnectionError") or _is(error, redis, "TimeoutError"):
        return _unreachable(error)
    word = str(error).partition(" ")[0]
    shown = word if word.isalpha() and word.isupper() else type(error).__name__
    message = f"Redis at {redis_address()} refused a command ({shown})"
    return Problem(ExitCode.UNAVAILABLE, message, "ask `configdrive doctor`, and see Redis' own log")


def _unreachable(error: Exception) -> Problem:
    reason = next((cause.strerror for cause in _chain(error) if isinstance(cause, OSError) and cause.strerror), None)
    message = f"Redis at {redis_address()} cannot be reached ({reason or type(error).__name__})"
    return Problem(ExitCode.UNAVAILABLE, message, "start it, or correct CONFIGDRIVE_REDIS_URL")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is(error: Exception, module: ModuleType | None, name: str) -> bool:
    return module is not None and isinstance(error, getattr(module, name))


def _unforeseen(error: Exception) -> Problem:
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"unforeseen {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {frame.name}"
    remedy = f"please report it; with {_TRACEBACK}=1 all of it is shown, which may include secrets"
    return Problem(ExitCode.UNFORESEEN, message, remedy)
