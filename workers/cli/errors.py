"""The exit codes (the table stands in `workers.cli`), and errors as sentences with a remedy and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from configdrive.errors import FleetError, PermanentCode, StaleCode

if TYPE_CHECKING:
    from configdrive.contract.outcome import Outcome

_CONFIGURATION = frozenset({PermanentCode.MISCONFIGURED, PermanentCode.UNKNOWN_HYPERVISOR})
_TRACEBACK = "CONFIGDRIVE_TRACEBACK"


class ExitCode(IntEnum):
    """What the process says at its end; 69, 70 and 78 as in BSD's sysexits.h."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TIME_OVER = 3
    UNAVAILABLE = 69
    UNFORESEEN = 70
    MISCONFIGURED = 78
    INTERRUPTED = 130
    READER_GONE = 141
    """128 + SIGPIPE: whoever read our output has stopped, as in `configdrive watch | head`."""


_NO_RIGHT = ("NOPERM", "can't run this command", "can't access at least one of the keys")
"""How Redis says it, in an answer and in that of a script."""


def code_of(outcome: Outcome) -> ExitCode:
    """Say whether an event came to what it asked for; one that a later event made pointless did no worse."""
    from configdrive.contract.outcome import Status

    done = outcome.status in {Status.APPLIED, Status.NOT_APPLICABLE} or outcome.code == StaleCode.SUPERSEDED
    return ExitCode.DONE if done else ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class Problem:
    """One error, in words for the person at the keyboard."""

    code: ExitCode
    message: str
    remedy: str = ""


def problem_of(error: Exception) -> Problem:
    """Put an error into words. The text of a foreign exception is never used: it may hold a secret."""
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
    from configdrive.client.connection import endpoint_of
    from workers.config.settings import load_settings

    return endpoint_of(load_settings()).address


def _redis_problem(error: Exception) -> Problem | None:
    # An error of a library that was never imported cannot have been raised: nothing is imported to find that out.
    redis, kombu = sys.modules.get("redis"), sys.modules.get("kombu.exceptions")
    if _is(error, kombu, "OperationalError") and not lacks_rights(error):
        return _unreachable(error)
    if not _is(error, redis, "RedisError") and not lacks_rights(error):
        return None
    if _is(error, redis, "AuthenticationError") or str(error).startswith(("NOAUTH", "WRONGPASS")):
        message = f"Redis at {redis_address()} refuses the login"
        return Problem(ExitCode.MISCONFIGURED, message, "put the right user and password into CONFIGDRIVE_REDIS_URL")
    if lacks_rights(error):
        message = f"Redis at {redis_address()} does not allow this user what this command needs"
        remedy = "use a login that may, such as a worker's: deploy/redis/users.acl.template says what each role may"
        return Problem(ExitCode.MISCONFIGURED, message, remedy)
    if _is(error, redis, "ConnectionError") or _is(error, redis, "TimeoutError"):
        return _unreachable(error)
    word = str(error).partition(" ")[0]
    shown = word if word.isalpha() and word.isupper() else type(error).__name__
    message = f"Redis at {redis_address()} refused a command ({shown})"
    return Problem(ExitCode.UNAVAILABLE, message, "ask `configdrive doctor`, and see Redis' own log")


def lacks_rights(error: BaseException) -> bool:
    """Whether Redis has refused a command, or one within a script, because of who asks."""
    known = sys.modules.get("redis.exceptions")
    return known is not None and any(
        isinstance(one, known.NoPermissionError)
        or (isinstance(one, known.ResponseError) and any(words in str(one) for words in _NO_RIGHT))
        for one in _chain(error)
    )


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
