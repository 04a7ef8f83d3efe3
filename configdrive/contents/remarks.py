"""The remarks on a drive, for the outcome: what is not on it, or will not work, as one may expect. Pure; no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.contents.openstack import reads_admin_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import DriveSettings, Vm


def remarks(vm: Vm, settings: DriveSettings, *, has_password: bool) -> tuple[str, ...]:
    """Return a sentence for each thing that the sender of an event should know of the drive that was made for it."""
    return tuple(_of_password(vm, settings) if has_password else ())


def _of_password(vm: Vm, settings: DriveSettings) -> Iterator[str]:
    if vm.guest_os is None and not reads_admin_pass(vm, settings.admin_pass):
        yield "no admin_pass: guest_os unknown"
