"""The images of VMs: stored and deleted under the VM's own lock, and kept while a VM has them in a drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.hypervisors.simulated.drives import fleet_media

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import HostName, ImageName, Place, StoredImage, VmUuid
    from workers.hypervisors.simulated.image_folder import Storage
    from workers.hypervisors.simulated.world import World


class Images:
    """What may be done to image files. `timeout` is the seconds to wait for a VM that somebody else works on."""

    def __init__(self, world: World, timeout: float) -> None:
        self._world = world
        self._timeout = timeout

    def list(self, storage: Storage, vm: VmUuid | None = None) -> tuple[StoredImage, ...]:
        """List the images of one VM, or of all, and clear what killed uploads have left half-written.

        Raises:
            TransientError: `STORAGE_UNAVAILABLE`.
        """
        storage.require_up()
        listing = storage.list(vm)
        for owner in listing.half_written:
            try:
                with self._world.records.lock(owner, timeout=0):
                    storage.remove_half_written(owner)
            except TransientError:  # it is being written just now
                continue
        return listing.images

    def store(
        self, vm: VmUuid, name: ImageName, content: bytes, storage: Storage, *, halfway: Callable[[], None]
    ) -> None:
        """Make the storage hold exactly these bytes under this name; the same bytes are left alone.

        Raises:
            TransientError: `IMAGE_IN_USE` when other bytes are there and a VM has them in a drive, `STORAGE_FULL`,
                `UPLOAD_CORRUPT`, `VM_BUSY`.
        """
        with self._world.records.lock(vm, self._timeout):
            before = storage.read(name)
            if before == content:
                return
            if before is not None:
                self._require_unused(name, storage)
            storage.write(name, content, halfway)
            self._changed(vm, name, storage, None if before is None else len(before), len(content))

    def delete(self, name: ImageName, storage: Storage, of: VmUuid | None = None) -> None:
        """Delete an image, with what a killed upload has left of it; gone already is success.

        Raises:
            TransientError: `IMAGE_IN_USE` when the VM `of`, or without it any, has it in a drive, `VM_BUSY`.
        """
        with self._world.records.lock(name.vm_uuid, self._timeout):
            storage.remove_half_written(name.vm_uuid)
            size = storage.size(name)
            if size is None:
                return
            self._require_unused(name, storage, of)
            storage.remove(name)
            self._changed(name.vm_uuid, name, storage, size, None)

    def seen_by(self, host: HostName, place: Place) -> Storage:
        """Return the storage at `place` as `host` sees it.

        Raises:
            PermanentError: `UNKNOWN_HOST`, or `STORAGE_NOT_FOUND` when this host cannot read it.
        """
        storage = self._world.topology.storage(host, place.storage)
        if storage.place.host not in {None, place.host}:
            raise PermanentError(
                PermanentCode.STORAGE_NOT_FOUND,
                f"host {host!r} cannot read storage {place.storage!r} of host {place.host!r}",
                "copy the image to the VM's host first",
            )
        return storage

    def _changed(self, vm: VmUuid, name: ImageName, storage: Storage, before: int | None, after: int | None) -> None:
        """Do nothing about a file that has come or gone, of so many bytes: a rig writes it down."""

    def _require_unused(self, name: ImageName, storage: Storage, of: VmUuid | None = None) -> None:
        for record in self._world.records.users(name):
            if of is not None and record.uuid != of:
                continue
            for image, medium in fleet_media(record):
                seen = self._world.topology.find(record.host, medium.storage)
                if image == name and seen is not None and seen.place == storage.place:
                    raise TransientError(
                        TransientCode.IMAGE_IN_USE,
                        f"VM {record.uuid} has the image {name} in a drive",
                        "eject it first",
                    )
