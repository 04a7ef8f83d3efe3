"""The fleet's images on a world's storages: kept whole, kept while a VM has them, their comings and goings noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.hypervisors.simulated.audit import Mark
from workers.hypervisors.simulated.drives import fleet_media
from workers.hypervisors.simulated.hooks import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import HostName, ImageName, Place, StoredImage, VmUuid
    from workers.hypervisors.simulated.storage import Storage
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

    def store(  # noqa: PLR0913  # what, whose, where, and what happens on the way
        self,
        verb: Verb,
        vm: VmUuid,
        name: ImageName,
        content: bytes,
        storage: Storage,
        *,
        halfway: Callable[[], None],
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
            self._world.audit.write(
                verb,
                Mark.CHANGE,
                vm,
                image=str(name),
                place=storage.place,
                before=None if before is None else {"bytes": len(before)},
                after={"bytes": len(content)},
            )

    def delete(self, name: ImageName, storage: Storage) -> None:
        """Delete an image; gone already is success.

        Raises:
            TransientError: `IMAGE_IN_USE` when any VM has it in a drive, `VM_BUSY`.
        """
        with self._world.records.lock(name.vm_uuid, self._timeout):
            size = storage.size(name)
            if size is None:
                return
            self._require_unused(name, storage)
            storage.remove(name)
            self._world.audit.write(
                Verb.DELETE, Mark.CHANGE, name.vm_uuid, image=str(name), place=storage.place, before={"bytes": size}
            )

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

    def _require_unused(self, name: ImageName, storage: Storage) -> None:
        for record in self._world.records.users(name):
            for image, medium in fleet_media(record):
                seen = self._world.topology.find(record.host, medium.storage)
                if image == name and seen is not None and seen.place == storage.place:
                    raise TransientError(
                        TransientCode.IMAGE_IN_USE,
                        f"VM {record.uuid} has the image {name} in a drive",
                        "eject it first",
                    )
