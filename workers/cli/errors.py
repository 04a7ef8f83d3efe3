"""The exit codes (the table stands in `workers.cli`), and errors as sentences with a remedy and an exit code."""

from __future__ import annotations

import errno
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

_CONFIGURATION = frozenset({PermanentCode.MISCONFIGURED, PermanentCode.UNKNOWN_HYPERVISOR, PermanentCode.ACCESS_DENIED})
"""What no restart mends: a supervisor must not try again for ever."""
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


_OF_THE_SYSTEM = {
    errno.EADDRINUSE: "another process listens there (`ss -ltnp` says which): end it, or give another --port",
    errno.EADDRNOTAVAIL: "give an address of this machine: --address",
    errno.ENOSPC: "make room on that disk (`df -h`)",
    errno.EDQUOT: "make room within the quota of that disk",
    errno.EROFS: "that disk is mounted read-only: name a place that may be written",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`, LimitNOFILE= in the unit)",
    errno.ENFILE: "raise the system's limit of open files (sysctl fs.file-max)",
    errno.EIO: "see the kernel's log (`dmesg`): a disk fails",
}
"""What can be done about what the system says, whatever was tried. The text of such an error is the system's own."""


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
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_THE_SYSTEM):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        remedy = _OF_THE_SYSTEM.get(error.errno or 0, "correct the path or its permissions")
        return Problem(ExitCode.MISCONFIGURED, f"{where}{os.strerror(error.errno or 0)}", remedy)
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
    return _refused(error)


def _refused(error: Exception) -> Problem:
    """Put into words that Redis answers, and does not do it."""
    answers = sys.modules.get("redis.exceptions")
    if any(_is(error, answers, name) for name in ("AskError", "ClusterCrossSlotError", "ClusterDownError")):
        from configdrive.client.connection import IS_A_CLUSTER, NO_CLUSTER

        return Problem(ExitCode.MISCONFIGURED, f"Redis at {redis_address()} {IS_A_CLUSTER}", NO_CLUSTER)
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
    ssl = sys.modules.get("ssl")
    if any(_is(cause, ssl, "SSLCertVerificationError") for cause in _chain(error)):
        remedy = "name its authority in CONFIGDRIVE_REDIS_CA, and the host as its certificate does"
        return Problem(ExitCode.MISCONFIGURED, message, remedy)
    if any(_is(cause, ssl, "SSLError") for cause in _chain(error)):
        remedy = "a port that speaks no TLS is redis:// in CONFIGDRIVE_REDIS_URL, not rediss://"
        return Problem(ExitCode.MISCONFIGURED, message, remedy)
    if "closed by server" in str(error):
        remedy = "a port that speaks TLS is rediss:// in CONFIGDRIVE_REDIS_URL, not redis://; see Redis' own log"
        return Problem(ExitCode.UNAVAILABLE, message, remedy)
    return Problem(ExitCode.UNAVAILABLE, message, "start it, or correct CONFIGDRIVE_REDIS_URL")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is(error: BaseException, module: ModuleType | None, name: str) -> bool:
    return module is not None and isinstance(error, getattr(module, name))


def _unforeseen(error: Exception) -> Problem:
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"unforeseen {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {frame.name}"
    remedy = f"please report it; with {_TRACEBACK}=1 all of it is shown, which may include secrets"
    return Problem(ExitCode.UNFORESEEN, message, remedy)
