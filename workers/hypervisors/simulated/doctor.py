"""The questions of `configdrive doctor` to a simulated host: each finding with its remedy. Raises nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from configdrive.errors import FleetError
from configdrive.ports import Check
from workers.hypervisors.simulated.faults import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import HostName
    from workers.hypervisors.simulated.image_folder import Storage
    from workers.hypervisors.simulated.world import World


def diagnose(world: World, host: HostName) -> Iterator[Check]:
    """Try a host and each of its storages."""
    subject = f"simulated host {host}"
    try:
        storages = world.topology.of(host)
        world.topology.require_up(host)
    except FleetError as error:
        yield Check(subject, ok=False, detail=error.detail, remedy=error.remedy)
        return
    yield Check(subject, ok=True, detail=f"answers; its world is {world.directory}")
    for storage in storages:
        yield _storage(host, storage)


def _storage(host: HostName, storage: Storage) -> Check:
    subject = f"simulated host {host}, storage {storage.place.storage}"
    try:
        with translated(f"{storage.folder}"):
            storage.require_up()
            images = len(storage.list().images)
            writable = os.access(storage.folder, os.W_OK | os.X_OK)
    except FleetError as error:
        return Check(subject, ok=False, detail=error.detail, remedy=error.remedy or f"look at {storage.folder}")
    if not writable:
        return Check(subject, ok=False, detail="is read-only for this user", remedy=f"chown or chmod {storage.folder}")
    return Check(subject, ok=True, detail=f"writable, {images} images")
