"""The errors of the fleet: three kinds of exception with stable codes.

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
    """The host, its libvirtd, XAPI or vCenter did not answer.

    Remedy: bring the host back; `configdrive doctor` asks each one. A `stop` or `destroy` ends all the same and
    names what it left behind; workers finish that when the host answers again."""

    STORAGE_UNAVAILABLE = "storage_unavailable"
    """The storage is known and cannot be used now: not mounted, not attached on this host, or its server is away.

    Remedy: see `virsh pool-info` and the mount, `xe pbd-list`, or the datastore's state in vSphere."""

    STORAGE_FULL = "storage_full"
    """The storage, or the host's cache, has no space or quota left for the image.

    Remedy: free some; `configdrive sweep --dry-run` shows which images no VM needs."""

    VM_BUSY = "vm_busy"
    """The hypervisor is at something else with this VM: it boots, moves, is suspended, or another change lasts.

    Remedy: wait; or end what the message names, such as a suspended state."""

    DRIVE_LOCKED = "drive_locked"
    """The guest holds the tray of its CD drive and does not let go of the medium.

    Remedy: unmount it in the guest, turn on the setting `force_eject`, or power the VM off."""

    IMAGE_IN_USE = "image_in_use"
    """An image that shall go is in some VM's drive still.

    Remedy: eject it from the VM that the message names."""

    UPLOAD_CORRUPT = "upload_corrupt"
    """The image is not on the storage as it was written: gone, shorter, or with other bytes. It is uploaded anew.

    Remedy: when it comes back again and again, look at the storage and at the network to it."""

    DEFERRED = "deferred"
    """The host or the storage hangs, or was silent a moment ago, and was not asked: another VM's attempt finds out
    whether it answers again. Or many VMs' images change in one XenServer SR, and the VM's place in line is kept.
    Counts as no attempt.

    Remedy: see what is wrong with the place that the message names; in line there is nothing to do."""

    SATURATED = "saturated"
    """All connections of the worker's process to this host or endpoint were in use for too long. Counts as no attempt.

    Remedy: raise `connections` or `sessions` in the inventory, or lower `concurrency`."""

    TASK_TIMEOUT = "task_timeout"
    """The attempt, or a task of the hypervisor, took longer than its limit (`task_seconds`).

    Remedy: look at the hypervisor's running tasks (`xe task-list`, the recent tasks in vSphere); raise
    `task_seconds` where storage is slow."""

    HYPERVISOR_ERROR = "hypervisor_error"
    """The hypervisor answered with an error that is none of the others, or with what its API does not know.

    Remedy: the message quotes it; the hypervisor's own log says more."""


class PermanentCode(StrEnum):
    """Causes that only an operator or a new event can mend: the event is parked at once."""

    INVALID_EVENT = "invalid_event"
    """The event is not as its schema says, or lacks what is known of no earlier event (such as the host). The detail
    names the field.

    Remedy: correct the field and publish the event again under a new id; one that is parked goes first
    (`configdrive skip VM`)."""

    ID_CONFLICT = "id_conflict"
    """Another event has this source and id: one of another type, VM or sequence. Nothing was stored.

    Remedy: give each event an id that no other event of its source has, and publish it again; only the very same event
    may come again under its id."""

    MAILBOX_FULL = "mailbox_full"
    """So much waits for the VM that no more of it is taken, but its `stop` and `destroy`. Nothing was stored.

    Remedy: `configdrive show VM` says what holds it up; retry or skip that and publish the event again, or raise the
    setting `mailbox_bytes`."""

    CONTENT_TOO_LARGE = "content_too_large"
    """The event or the drive would be larger than 64 MiB.

    Remedy: keep large content elsewhere and let the user data fetch it."""

    INVALID_CONTENT = "invalid_content"
    """A value cannot stand on a drive: a name that is no file name, two names that differ in case only, a network
    that contradicts itself.

    Remedy: correct the field that the detail names."""

    UNSEALABLE = "unsealable"
    """What is sealed cannot be opened: the key is not in the key file, or it was made for another VM or event.

    Remedy: give all workers the same key file, and publishers its newest public key (`configdrive keys public`); then
    `configdrive retry VM`. What was made for another VM or event, or for a key that is lost, is skipped
    (`configdrive skip VM`) and published under a new id. A VM of which the fleet remembers what a lost key has sealed
    is stopped and destroyed as ever, and begins anew with a deploy that brings all its data (`start`: at once)."""

    UNKNOWN_HYPERVISOR = "unknown_hypervisor"
    """No driver of that name is installed, or the inventory has no table for it.

    Remedy: correct the event's `hypervisor`, install the extra of that name, or add the table."""

    UNKNOWN_HOST = "unknown_host"
    """The inventory has no host of that name, or the hypervisor has none by the name that the inventory gives.

    Remedy: add the host to the inventory and restart the workers, or correct the event; then retry."""

    STORAGE_NOT_FOUND = "storage_not_found"
    """The storage that the event names is not there, or none was found around the VM's root disk.

    Remedy: name it in the event (`primary_storage`), or set up `cache_directory` for disks on storages that hold
    no files."""

    ACCESS_DENIED = "access_denied"
    """Credentials, a host key, a certificate, a role or a file's permissions do not suffice.

    Remedy: correct them; `configdrive doctor` says which. A changed host key is refused until `known_hosts` has
    the new one."""

    VM_NOT_FOUND = "vm_not_found"
    """The host knows no VM with this uuid, or several by its name.

    Remedy: correct the event's host or uuid, or define the VM first."""

    NOT_ITS_DRIVE = "not_its_drive"
    """An image of another VM is in this VM's drive, or one would have to be put there; or name and uuid are of
    different VMs.

    Remedy: find out who inserted it, eject it, and retry. Nothing was changed."""

    NO_FREE_SLOT = "no_free_slot"
    """The VM has no drive that can be the config drive: all hold other media, or there is none and it takes none
    now.

    Remedy: free a drive, power the VM off, or name others in the inventory (`cd_targets`, `cd_slots`)."""

    IMAGE_LOST = "image_lost"
    """The image is gone, and what stood on it is not known here (after `configdrive adopt`), so it cannot be made
    again.

    Remedy: send a `start` that carries the VM's data."""

    NOT_SUPPORTED = "not_supported"
    """The hypervisor, its version or its licence cannot do this.

    Remedy: do without what the message names, or upgrade the hypervisor."""

    MISCONFIGURED = "misconfigured"
    """A setting, the inventory, a key file or a stored record is wrong. The detail names it, never its value.

    Remedy: correct it and restart; `configdrive doctor` finds the rest."""

    UNCLASSIFIED = "unclassified"
    """Something that nobody foresaw, or workers that died over this event again and again.

    Remedy: the workers' logs have the traceback; retry once the cause is known, and report it."""


class StaleCode(StrEnum):
    """Work that must not be done any more: it is dropped."""

    SUPERSEDED = "superseded"
    """A `stop` or `destroy` of the same VM waits behind this event, so its work would be undone at once. Its data
    were taken in.

    Remedy: none is needed."""

    STALE_SEQUENCE = "stale_sequence"
    """An event of this VM with the same or a larger sequence was applied before.

    Remedy: count upwards; by hand, `--sequence next`. A counter that went back: `configdrive sequence VM --set N`."""

    VM_GONE = "vm_gone"
    """The VM was destroyed; its uuid is refused for `tombstone_seconds` (30 days).

    Remedy: none; a new VM has a new uuid."""

    LEASE_LOST = "lease_lost"
    """Another worker has taken the VM over; this one stopped before it touched anything more.

    Remedy: none for one of them; when there are many, the workers' machine or Redis is starved."""


UNCOUNTED: Final = frozenset({TransientCode.DEFERRED, TransientCode.SATURATED})
"""Codes that say that nothing was tried: the event comes again, and they count as no attempt."""

AWAY: Final = UNCOUNTED | {TransientCode.HOST_UNREACHABLE, TransientCode.STORAGE_UNAVAILABLE}
"""Codes that say that a host or storage is away: what is parked for one goes on by itself when the place is back."""

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
    """Trying again cannot help: park the event until an operator has looked."""

    def __init__(self, code: PermanentCode, detail: str, remedy: str = "") -> None:
        super().__init__(code, detail, remedy)


class BadContentError(PermanentError):
    """What was sealed in an event is no guest data. Nothing can mend this event: it is rejected, not parked."""


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
