"""What can go wrong, as three kinds of exception with stable codes.

The kind says what the queue does next (`tasks/policy.py`); the code says what happened and is the
same word in an outcome, a metric label, a log line and the documentation. Nothing in an error may
come from a password, user data or any other content of a drive.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

from typing_extensions import override


class TransientCode(StrEnum):
    """Causes that may pass by themselves: the event is tried again."""

    HOST_UNREACHABLE = "host_unreachable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    STORAGE_FULL = "storage_full"
    VM_BUSY = "vm_busy"
    DRIVE_LOCKED = "drive_locked"
    IMAGE_IN_USE = "image_in_use"
    UPLOAD_CORRUPT = "upload_corrupt"
    TASK_TIMEOUT = "task_timeout"
    HYPERVISOR_ERROR = "hypervisor_error"


class PermanentCode(StrEnum):
    """Causes that only a person or a new event can mend: the event is parked at once."""

    INVALID_EVENT = "invalid_event"
    CONTENT_TOO_LARGE = "content_too_large"
    INVALID_CONTENT = "invalid_content"
    UNSEALABLE = "unsealable"
    UNKNOWN_HYPERVISOR = "unknown_hypervisor"
    UNKNOWN_HOST = "unknown_host"
    STORAGE_NOT_FOUND = "storage_not_found"
    ACCESS_DENIED = "access_denied"
    VM_NOT_FOUND = "vm_not_found"
    NOT_ITS_DRIVE = "not_its_drive"
    NO_FREE_SLOT = "no_free_slot"
    IMAGE_LOST = "image_lost"
    NOT_SUPPORTED = "not_supported"
    MISCONFIGURED = "misconfigured"
    UNCLASSIFIED = "unclassified"


class StaleCode(StrEnum):
    """Work that must not be done any more: it is dropped."""

    SUPERSEDED = "superseded"
    STALE_SEQUENCE = "stale_sequence"
    VM_GONE = "vm_gone"
    LEASE_LOST = "lease_lost"


Code: TypeAlias = TransientCode | PermanentCode | StaleCode


class FleetError(Exception):
    """Base of all errors that the fleet raises on purpose.

    Args:
        code: the stable word for the cause.
        detail: one sentence for the operator: which VM, host, field or storage. Never a secret.
        remedy: one sentence that says what to do about it; empty when the detail says it.
    """

    def __init__(self, code: Code, detail: str, remedy: str = "") -> None:
        self.code: Final = code
        self.detail: Final = detail
        self.remedy: Final = remedy
        super().__init__(f"{code}: {detail}" + (f" ({remedy})" if remedy else ""))

    @override
    def __reduce__(self) -> tuple[type[FleetError], tuple[Code, str, str]]:
        """Survive the pickling that a worker pool does with exceptions."""
        return type(self), (self.code, self.detail, self.remedy)


class TransientError(FleetError):
    """The cause may pass: try again after a pause."""

    def __init__(self, code: TransientCode, detail: str, remedy: str = "") -> None:
        super().__init__(code, detail, remedy)


class PermanentError(FleetError):
    """Trying again cannot help: park the event until a person has looked."""

    def __init__(self, code: PermanentCode, detail: str, remedy: str = "") -> None:
        super().__init__(code, detail, remedy)


class StaleError(FleetError):
    """The world has moved on: drop this work without touching anything."""

    def __init__(self, code: StaleCode, detail: str, remedy: str = "") -> None:
        super().__init__(code, detail, remedy)


def error_of(code: Code, detail: str, remedy: str = "") -> FleetError:
    """Return the kind of error that belongs to a code."""
    match code:
        case TransientCode():
            return TransientError(code, detail, remedy)
        case PermanentCode():
            return PermanentError(code, detail, remedy)
        case StaleCode():
            return StaleError(code, detail, remedy)
