"""The image files in the ISO SR of one storage, by either route; every method has the same effect twice as once."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Final

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, TransientCode, TransientError
from configdrive.model import ImageName, StoredImage
from configdrive.places import alone
from workers.driverkit.ssh import MOST, clear_parts, list_directory, open_folder, part_of, read_file, unlink, write_file
from workers.hypervisors.xenserver import transfer
from workers.hypervisors.xenserver.faults import NAME_TAKEN, code_of
from workers.hypervisors.xenserver.inventory import StorageRoute
from workers.hypervisors.xenserver.iso_sr import PRIVATE, require
from workers.hypervisors.xenserver.names import description_of
from workers.hypervisors.xenserver.vms import find

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from contextlib import AbstractContextManager
    from pathlib import PurePosixPath

    import asyncssh

    from configdrive.model import Place, Vm, VmUuid
    from configdrive.ports import Inserted
    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.xenserver.records import HostRecord, Ref, SrRecord, VbdRecord, VdiRecord
    from workers.hypervisors.xenserver.visit import Visit


_MANY_SCANS: Final = "retry limit exceeded"
"""How newer releases give up a scan: others were at it all the time."""


class ImageFolder:
    """The images of one storage, in its ISO SR.

    Args:
        visit: to its pool.
        storage: the primary storage.
        host: one that has it attached.
    """

    def __init__(self, visit: Visit, storage: SrRecord, host: HostRecord) -> None:
        self._visit = visit
        self._xapi = visit.xapi
        self._storage = storage
        self._host = host
        self.iso_sr = visit.iso_sr(storage, host)
        """`None` before the first image."""

    @classmethod
    def at(cls, visit: Visit, place: Place) -> ImageFolder:
        """Return the folder of a place.

        Raises:
            FleetError: `STORAGE_NOT_FOUND`, `STORAGE_UNAVAILABLE`, `UNKNOWN_HOST`.
        """
        return cls(visit, *visit.locate(place))

    def find(self, name: ImageName) -> VdiRecord | None:
        """Return the image's VDI."""
        found = [] if self.iso_sr is None else self._xapi.vdis_at([name.file], self.iso_sr.ref)
        return found[0] if found else None

    def known(self, name: ImageName) -> Ref | None:
        """Return the image's VDI; one that this process has verified here is not asked for."""
        known = None if self.iso_sr is None else self._visit.uploaded(self.iso_sr.ref, name.file)
        if known is not None:
            return known
        found = self.find(name)
        return None if found is None else found.ref

    def forget(self, name: ImageName) -> None:
        """Believe no more that the image is there."""
        self._note(name, None)

    def attach(self) -> None:
        """See that the host has the ISO SR attached."""
        self.iso_sr = require(self._visit, self._storage, self._host)

    def read(self, name: ImageName) -> bytes | None:
        """Return the image's bytes; `None` when it is not there."""
        vdi = self.find(name)
        if vdi is None:
            return None
        content = self._read(vdi)
        if content is not None:
            self._note(name, vdi.ref)
        return content

    def store(self, name: ImageName, content: bytes, vm: Vm) -> None:
        """Make the SR hold exactly these bytes under this name; the same bytes are left alone.

        Raises:
            FleetError: `IMAGE_IN_USE`, `UPLOAD_CORRUPT`, `STORAGE_FULL`, `TASK_TIMEOUT`.
        """
        self.attach()
        self.forget(name)
        sftp = self._sftp
        self._note(name, self._import(name, content, vm) if sftp is None else self._bring(sftp, name, content, vm))

    def remove(self, name: ImageName, vm: Vm | None = None) -> None:
        """Delete the image, unless this VM has it in a drive, running or not; without one: unless any VM has.

        XAPI refuses to destroy what a running VM has. Of a halted one, such as a clone, it takes the whole drive away
        with the image.

        Raises:
            TransientError: `IMAGE_IN_USE`.
        """
        if self.iso_sr is None:
            return
        self.forget(name)
        for vdi in self._xapi.vdis_at([name.file], self.iso_sr.ref):
            self._destroy(vdi, vm)
        sftp = self._sftp
        if sftp is not None:  # what a killed upload has left, which no scan has seen
            path = self._directory / name.file

            async def work(client: asyncssh.SFTPClient) -> None:
                if await open_folder(client, path.parent, PRIVATE):
                    await unlink(client, path)
                    await unlink(client, part_of(path))

            sftp.run(work)

    def scan(self) -> None:
        """Have XAPI look for files that came past it.

        Raises:
            TransientError: `STORAGE_UNAVAILABLE` when too many scan.
        """
        with self._alone():
            self._scan()

    def clear(self, vm: VmUuid | None = None) -> None:
        """Take away what killed SFTP uploads have left; another time when that fails: what is half-written is no image.

        Args:
            vm: whose; all VMs', only what nobody has written to for long.
        """
        with suppress(FleetError):
            sftp = self._sftp
            if sftp is None or self.iso_sr is None:
                return
            directory = self._directory

            async def work(client: asyncssh.SFTPClient) -> None:
                if await open_folder(client, directory, PRIVATE):
                    await clear_parts(client, directory, await list_directory(client, directory), ImageName.parse, vm)

            sftp.run(work)

    # --- over HTTPS ------------------------------------------------------------------------------------------------

    def _import(self, name: ImageName, content: bytes, vm: Vm) -> Ref:
        vdi = self._create(name, len(content))
        if vdi is None:
            there = self._there_already(name)
            if there.size == len(content) and self._read(there) == content:
                self._name(there, name)
                return there.ref
            self._destroy(there, vm)
            vdi = self._create(name, len(content))
        if vdi is None:
            detail = f"image {name}: somebody else brings it just now"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail)
        try:
            if not transfer.write(self._xapi, vdi, content):
                raise _corrupt(name)  # noqa: TRY301
        except BaseException:
            with suppress(Failure, OSError, HTTPException, FleetError), self._alone():
                self._xapi.destroy_vdi(vdi)  # what is half there is of no use; a killed worker leaves it to the next
            raise
        return vdi

    def _create(self, name: ImageName, size: int) -> Ref | None:
        """Make an empty image; `None` when a file has that name already."""
        try:
            with self._alone():
                return self._xapi.create_vdi(self._sr.ref, name.file, size, str(name), description_of(name.vm_uuid))
        except Failure as failure:
            if code_of(failure) == NAME_TAKEN:
                return None
            raise

    def _there_already(self, name: ImageName) -> VdiRecord:
        """Return what has this name already; a file that came past XAPI is seen after a scan."""
        found = self.find(name)
        if found is None:
            found = self._scan_for(name)
        if found is None:
            detail = f"the SR {self._sr.name_label!r} has a file {name.file} that no scan finds"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see /var/log/SMlog on the host")
        return found

    # --- over SFTP -------------------------------------------------------------------------------------------------

    def _bring(self, sftp: Sftp, name: ImageName, content: bytes, vm: Vm) -> Ref:
        path = self._directory / name.file
        there = _read_by(sftp, path)
        if there is not None and there != content:
            self._destroy(self._there_already(name), vm)
        if there != content:
            sftp.run(lambda client: write_file(client, path, content), transfer=2 * len(content))
            self._scan_for(name)
        vdi = self._there_already(name)
        if vdi.size != len(content):
            raise _corrupt(name)
        self._name(vdi, name)
        return vdi.ref

    def _scan_for(self, name: ImageName) -> VdiRecord | None:
        """Have XAPI look for files that came past it, unless another attempt's scan has just found this one."""
        with self._alone() as waited:
            if not waited or self.find(name) is None:
                self._scan()
        return self.find(name)

    def _scan(self) -> None:
        try:
            self._xapi.scan(self._sr.ref)
        except Failure as failure:
            if _MANY_SCANS not in " ".join(map(str, failure.details)):
                raise
            detail = f"SR {self._sr.name_label}: so many scan it that XAPI gave up"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see who calls `xe sr-scan`") from None

    # --- either way ------------------------------------------------------------------------------------------------

    @property
    def _sr(self) -> SrRecord:
        assert self.iso_sr is not None  # noqa: S101  # `store` has seen to it
        return self.iso_sr

    def _alone(self) -> AbstractContextManager[bool]:
        """Be the only one of the fleet who creates, destroys or scans in this SR.

        XAPI lets one do so at a time, and whoever comes second sleeps 1 to 20 s at random.
        """
        return alone(line_at(self._visit.place_of(self._storage, self._host)))

    @property
    def _directory(self) -> PurePosixPath:
        """Where its files lie in dom0."""
        return self._visit.topology.site(self._storage, self._host.ref, self._visit.pool.table).directory

    @property
    def _sftp(self) -> Sftp | None:
        """The way to the host's dom0, when images go there that way."""
        by_sftp = self._visit.pool.table.storage_route is StorageRoute.SFTP
        return self._visit.sftp(self._host) if by_sftp else None

    def _note(self, name: ImageName, vdi: Ref | None) -> None:
        if self.iso_sr is not None:
            self._visit.note_upload(self.iso_sr.ref, name.file, vdi)

    def _read(self, vdi: VdiRecord) -> bytes | None:
        sftp = self._sftp
        if sftp is None:
            return transfer.fetch(self._xapi, vdi.ref, vdi.size)
        return _read_by(sftp, self._directory / vdi.location)

    def _name(self, vdi: VdiRecord, name: ImageName) -> None:
        """Give a VDI that a scan has found its names."""
        label, description = str(name), description_of(name.vm_uuid)
        if (vdi.name_label, vdi.name_description) != (label, description):
            self._xapi.name_vdi(vdi.ref, label, description)

    def _destroy(self, vdi: VdiRecord, vm: Vm | None) -> None:
        own = find(self._visit, vm) if vdi.vbds and vm is not None else None
        for ref in vdi.vbds:
            vbd = self._xapi.vbd(ref)
            user = None if vbd is None else self._xapi.vm(vbd.vm)
            if vbd is None or user is None:
                continue
            if user.is_control_domain:
                self._end_import(vdi, vbd)
            elif (user.is_a_vm and vm is None) or (own is not None and user.ref == own.ref):
                detail = f"VM {user.uuid} has the image {vdi.location} in a drive"
                raise TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")
        with self._alone():
            self._xapi.destroy_vdi(vdi.ref)

    def _end_import(self, vdi: VdiRecord, vbd: VbdRecord) -> None:
        """Take the image from the control domain, with which an import leaves it when its toolstack was restarted.

        Raises:
            TransientError: `IMAGE_IN_USE` when the import goes on, as far as its task says.
        """
        task = vbd.other_config.get("task_id")
        record = None if task is None else self._xapi.task(task)
        if task is None or (record is not None and record.status in {"pending", "cancelling"}):
            detail = f"the image {vdi.location} is being imported"
            raise TransientError(TransientCode.IMAGE_IN_USE, detail, "wait until `xe task-list` has it no more")
        if vbd.currently_attached:
            self._xapi.unplug(vbd.ref)
        self._xapi.destroy_vbd(vbd.ref)


def line_at(place: Place) -> str:
    """Return what attempts wait in line for that change images of a place: it has one ISO SR."""
    return f"SR {place.identity}"


def find_images(visit: Visit, vm: Vm, names: Collection[ImageName] | None) -> list[Inserted]:
    """Find a VM's images in a pool, with one call: those of these names, else all of them."""
    if names is None:
        vdis = visit.xapi.vdis_described(description_of(vm.uuid))
    else:
        vdis = visit.xapi.vdis_at([name.file for name in names])
    found = (visit.image_of(vdi) for vdi in vdis)
    return [image for image in found if image is not None and image.name.vm_uuid == vm.uuid]


def clear(visit: Visit, vm: Vm, places: Collection[Place]) -> None:
    """Take away what a VM's killed SFTP uploads have left on these places."""
    if visit.pool.table.storage_route is StorageRoute.SFTP:
        for place in places:
            with suppress(FleetError):
                ImageFolder.at(visit, place).clear(vm.uuid)


def stored_on(places: Collection[Place], images: Iterable[Inserted]) -> list[StoredImage]:
    """Return those of the images that lie on these places."""
    found = dict.fromkeys((image.name, image.place) for image in images)
    return [StoredImage(name, place) for name, place in found if place is not None and place in places]


def _read_by(sftp: Sftp, path: PurePosixPath) -> bytes | None:
    async def work(client: asyncssh.SFTPClient) -> bytes | None:
        return await read_file(client, path) if await open_folder(client, path.parent, PRIVATE) else None

    return sftp.run(work, transfer=MOST)


def _corrupt(name: ImageName) -> TransientError:
    return TransientError(TransientCode.UPLOAD_CORRUPT, f"image {name} reads back otherwise than written")
