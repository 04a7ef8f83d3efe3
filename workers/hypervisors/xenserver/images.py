"""The image files in the ISO SR of one storage, by either route; every method has the same effect twice as once."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, TransientCode, TransientError
from workers.hypervisors.xenserver import transfer
from workers.hypervisors.xenserver.faults import NAME_TAKEN, code_of
from workers.hypervisors.xenserver.inventory import StorageRoute
from workers.hypervisors.xenserver.names import description_of, location_of

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import ImageName
    from workers.hypervisors.xenserver.dom0 import Dom0
    from workers.hypervisors.xenserver.records import Ref, SrRecord, VdiRecord
    from workers.hypervisors.xenserver.visit import Visit


class Images:
    """The images in one ISO SR.

    Args:
        visit: to its pool.
        repository: the ISO SR.
        directory: where its files lie in dom0.
        dom0: of a host that has it attached; needed for the route `sftp`.
    """

    def __init__(self, visit: Visit, repository: SrRecord, directory: PurePosixPath, dom0: Dom0 | None) -> None:
        self._visit = visit
        self._xapi = visit.xapi
        self._repository = repository
        self._directory = directory
        self._dom0 = dom0 if visit.pool.table.storage_route is StorageRoute.SFTP else None

    def find(self, name: ImageName) -> VdiRecord | None:
        """Return the image's VDI."""
        found = self._xapi.vdis_at(self._repository.ref, location_of(name))
        return found[0] if found else None

    def read(self, name: ImageName) -> bytes | None:
        """Return the image's bytes; `None` when it is not there."""
        vdi = self.find(name)
        if vdi is None:
            return None
        content = self._read(vdi)
        self._visit.note_upload(self._repository.ref, vdi.location, vdi.ref)
        return content

    def store(self, name: ImageName, content: bytes) -> None:
        """Make the SR hold exactly these bytes under this name; the same bytes are left alone.

        Raises:
            FleetError: `IMAGE_IN_USE`, `UPLOAD_CORRUPT`, `STORAGE_FULL`, `TASK_TIMEOUT`.
        """
        location = location_of(name)
        self._visit.note_upload(self._repository.ref, location, None)
        vdi = self._import(name, content) if self._dom0 is None else self._bring(self._dom0, name, content)
        self._visit.note_upload(self._repository.ref, location, vdi)

    def remove(self, name: ImageName) -> None:
        """Delete the image: never one that any VM has in a drive, running or not.

        XAPI refuses to destroy what a running VM has. Of a halted one it takes the whole drive away with the image.

        Raises:
            TransientError: `IMAGE_IN_USE`.
        """
        location = location_of(name)
        self._visit.note_upload(self._repository.ref, location, None)
        for vdi in self._xapi.vdis_at(self._repository.ref, location):
            self._destroy(vdi)

    # --- over HTTPS ------------------------------------------------------------------------------------------------

    def _import(self, name: ImageName, content: bytes) -> Ref:
        vdi = self._create(name, len(content))
        if vdi is None:
            there = self._there_already(name)
            if there.size == len(content) and self._read(there) == content:
                self._name(there, name)
                return there.ref
            self._destroy(there)
            vdi = self._create(name, len(content))
        if vdi is None:
            detail = f"image {name}: somebody else brings it just now"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail)
        try:
            transfer.send(self._xapi, vdi, content)
            if transfer.fetch(self._xapi, vdi, len(content)) != content:
                raise _corrupt(name)  # noqa: TRY301
        except BaseException:
            with suppress(Failure, OSError, HTTPException, FleetError):
                self._xapi.destroy_vdi(vdi)  # what is half there is of no use; a killed worker leaves it to the next
            raise
        return vdi

    def _create(self, name: ImageName, size: int) -> Ref | None:
        """Make an empty image; `None` when a file has that name already."""
        ref, location = self._repository.ref, location_of(name)
        try:
            return self._xapi.create_vdi(ref, location, size, str(name), description_of(name.vm_uuid))
        except Failure as failure:
            if code_of(failure) == NAME_TAKEN:
                return None
            raise

    def _there_already(self, name: ImageName) -> VdiRecord:
        """Return what has this name already; a file that came past XAPI is seen after a scan."""
        found = self.find(name)
        if found is None:
            self._xapi.scan(self._repository.ref)
            found = self.find(name)
        if found is None:
            detail = f"the SR {self._repository.name_label!r} has a file {location_of(name)} that no scan finds"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see /var/log/SMlog on the host")
        return found

    # --- over SFTP -------------------------------------------------------------------------------------------------

    def _bring(self, dom0: Dom0, name: ImageName, content: bytes) -> Ref:
        path = self._directory / location_of(name)
        there = dom0.read(path)
        if there is not None and there != content:
            self._destroy(self._there_already(name))
            dom0.remove(path)
        if there != content:
            dom0.put(path, content)
            self._xapi.scan(self._repository.ref)
        vdi = self._there_already(name)
        if vdi.size != len(content):
            raise _corrupt(name)
        self._name(vdi, name)
        return vdi.ref

    # --- either way ------------------------------------------------------------------------------------------------

    def _read(self, vdi: VdiRecord) -> bytes:
        if self._dom0 is not None:
            return self._dom0.read(self._directory / vdi.location) or b""
        return transfer.fetch(self._xapi, vdi.ref, vdi.size)

    def _name(self, vdi: VdiRecord, name: ImageName) -> None:
        """Give a VDI that a scan has found its names."""
        label, description = str(name), description_of(name.vm_uuid)
        if (vdi.name_label, vdi.name_description) != (label, description):
            self._xapi.name_vdi(vdi.ref, label, description)

    def _destroy(self, vdi: VdiRecord) -> None:
        now = self._xapi.vdi(vdi.ref)
        if now is None:
            return
        user = next((user for vbd in now.vbds if (user := self._user_of(vbd))), None)
        if user is not None:
            detail = f"VM {user} has the image {now.name_label} in a drive"
            raise TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")
        self._xapi.destroy_vdi(vdi.ref)

    def _user_of(self, ref: Ref) -> str | None:
        """Return who has the image in this drive; the drive of a snapshot or template is nobody's, and goes with it."""
        vbd = self._xapi.vbd(ref)
        vm = None if vbd is None else self._xapi.vm(vbd.vm)
        return None if vm is None or vm.is_a_snapshot or vm.is_a_template else vm.uuid


def _corrupt(name: ImageName) -> TransientError:
    return TransientError(TransientCode.UPLOAD_CORRUPT, f"image {name} reads back otherwise than written")
