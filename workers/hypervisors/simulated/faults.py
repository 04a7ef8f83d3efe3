"""The faults of the operating system in the words of the taxonomy. Nothing else may leave the driver."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

# All that reading a damaged world can raise. An interruption from outside (a soft time limit) is not among them:
# it is the caller's own, and passes.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn every fault of the directory into a `FleetError` whose text begins with `what`."""
    try:
        yield
    except FleetError:
        raise
    except OSError as error:
        raise _from_os(error, what) from error
    except _DAMAGE as error:
        raise TransientError(
            TransientCode.HYPERVISOR_ERROR,
            f"{what}: the simulated world is damaged ({type(error).__name__})",
            "see the files in the inventory's `directory`",
        ) from error


def _from_os(error: OSError, what: str) -> FleetError:
    reason = f"{what}: {error.strerror or type(error).__name__}"
    if error.errno in _FULL:
        return TransientError(TransientCode.STORAGE_FULL, reason, "free some space")
    if error.errno in _DENIED:
        return PermanentError(PermanentCode.ACCESS_DENIED, reason, "give the worker's user the directory")
    return TransientError(TransientCode.STORAGE_UNAVAILABLE, reason)
