"""The driver port on vSphere: what each verb does, in the order in which it does it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import (
    AttachBy,
    HostName,
    HypervisorName,
    ImageName,
    Place,
    PowerState,
    Presentation,
    StorageName,
    StoredImage,
    Vm,
)
from configdrive.ports import AttachedHow, Attachment, Check, NoDrive, Observation, Survey
from workers.hypervisors.vmware.doctor import diagnose
from workers.hypervisors.vmware.drives import Drives
from workers.hypervisors.vmware.faults import translated
from workers.hypervisors.vmware.image_folder import store
from workers.hypervisors.vmware.inventory import parse
from workers.hypervisors.vmware.sessions import Sessions
from workers.hypervisors.vmware.slots import content, expected_device, find_slot
from workers.hypervisors.vmware.storages import Storages
from workers.hypervisors.vmware.survey import survey_vms
from workers.hypervisors.vmware.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from configdrive.model import Image
    from configdrive.ports import Connections
    from workers.hypervisors.vmware.image_folder import ImageFolder
    from workers.hypervisors.vmware.inventory import HostTable, Section
    from workers.hypervisors.vmware.vms import VmRecord


class VmwareDriver:
    """vSphere through its API: see `configdrive.ports.HypervisorDriver` for what each verb promises.

    Args:
        section: the inventory's.
        sessions: with each of its endpoints, by name.
        force_eject: whether a medium is exchanged although the guest holds the tray.
    """

    name = HypervisorName("vmware")

    def __init__(self, section: Section, sessions: Mapping[str, Sessions], *, force_eject: bool = True) -> None:
        self._hosts = {HostName(name): table for name, table in section.hosts.items()}
        self._sessions = sessions
        self._force = force_eject

    @classmethod
    def from_inventory(
        cls, section: Mapping[str, object], *, force_eject: bool = True, call_timeout: float = 30.0
    ) -> Self:
        """Build the driver from the inventory's `[vmware]` table; connects to nothing yet.

        Args:
            section: the table.
            force_eject: whether a medium is exchanged although the guest holds the tray.
            call_timeout: seconds to wait for an answer. A task may take a minute.

        Raises:
            PermanentError: `MISCONFIGURED`.
        """
        table = parse(section)
        sessions = {name: Sessions(name, one, call_timeout) for name, one in table.endpoints.items()}
        return cls(table, sessions, force_eject=force_eject)

    def observe(self, vm: Vm, also: Collection[Place] = ()) -> Observation:
        """Look at the VM and list its images: one call to find it, one to read it, a task for each listing.

        A VM is known by its uuid alone here, so that it can be cleaned up whatever its name is; `attach` looks at the
        name as well.
        """
        images: dict[Place, tuple[StoredImage, ...]] = {}
        unreachable: list[Place] = []
        with self._visit(vm.host) as visit:
            record = visit.find(vm)
            storage = _own_storage(visit.storages, vm, record)
            if storage is not None:
                images[storage] = _images_of(vm, storage, visit.storages.folder(storage))
            drive = (
                NoDrive() if record is None else content(record, visit.storages.place_of, storage, visit.table.cd_slots)
            )
        for place in dict.fromkeys(also):
            try:
                if place not in images:
                    with self._reach(place, vm.host) as (_, folder):
                        images[place] = _images_of(vm, place, folder)
            except FleetError:
                unreachable.append(place)
        return Observation(
            power=PowerState.UNDEFINED if record is None else record.power,
            storage=storage,
            drive=drive,
            images=tuple(image for found in images.values() for image in found),
            unreachable=tuple(unreachable),
        )

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        _require_own(vm, image.name)
        with self._reach(place, vm.host) as (_, folder):
            store(folder, image.name, image.content)

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place) -> None:
        """Make `target` hold the same bytes as `source` under the same name.

        When `vm.host` does not see the source, the VM is about to move there, which vSphere refuses as long as the
        image is in its drive: it is ejected first, and `attach` inserts the copy, or after a rollback the original.
        """
        _require_own(vm, name)
        with self._reach(source, vm.host) as (_, folder):
            there = folder.read(name)
        if there is None:
            detail = f"storage {source.storage!r} does not hold the image {name}"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail)
        if source != target:
            self._eject_for_migration(vm, source)
            with self._reach(target, vm.host) as (_, folder):
                store(folder, name, there)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the medium of the VM's config drive, now and after the next power-on."""
        _require_own(vm, name)
        if vm.presentation is Presentation.DISK:
            detail = "vSphere presents an ISO image as a CD only"
            raise PermanentError(PermanentCode.NOT_SUPPORTED, detail, "leave 'presentation' out of the event")
        with self._visit(vm.host) as visit:
            folder = visit.storages.folder(place)
            path = folder.path(name)
            if vm.attach_by is AttachBy.ORCHESTRATOR:
                record = visit.find(vm)
                return Attachment(AttachedHow.ORCHESTRATOR, _orchestrator_device(vm, visit, record), path)
            record = visit.require(vm)
            _require_name(vm, record)
            if not folder.has(name):
                detail = f"storage {place.storage!r} does not hold the image {name}"
                raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)
            drives = Drives(visit.server.session, record, force=self._force)
            return drives.insert(path, folder.store.ref, visit.table.cd_slots)

    def detach(self, vm: Vm) -> None:
        """Leave no image of the fleet in any drive of the VM, now and in its definition."""
        with self._visit(vm.host) as visit:
            record = visit.find(vm)
            if record is not None:
                Drives(visit.server.session, record, force=self._force).remove_all()

    def delete(self, vm: Vm, image: StoredImage) -> None:
        """Delete one image file; gone already is success."""
        with self._reach(image.place, vm.host) as (_, folder):
            folder.require_unused(image.name)
            folder.remove(image.name)

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet: every datastore's folder, every VM's CD drives.

        A VM is reported once for each uuid that it is known by: nobody knows which one is the orchestrator's.
        """
        images: list[StoredImage] = []
        unreachable: list[Place] = []
        with self._visit(host) as visit:
            storages = visit.storages
            for place in storages.of_files:
                try:
                    with translated(f"storage {place.storage} of host {host}"):
                        images += (StoredImage(name, place) for name in storages.folder(place).names())
                except FleetError:
                    unreachable.append(place)
            residents = tuple(
                survey_vms(
                    visit.server.session,
                    sorted(storages.scope),
                    visit.table.identify_by,
                    [image.name for image in images],
                    storages.place_of,
                )
            )
        return Survey(tuple(images), residents, tuple(unreachable))

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._hosts.keys()

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage."""
        try:
            table = self._table(host)
        except PermanentError as error:
            return iter([Check(f"vmware host {host}", ok=False, detail=error.detail, remedy=error.remedy)])
        return diagnose(host, table, self._sessions[table.endpoint])

    def connections(self) -> Collection[Connections]:
        """Count the sessions of this process with each endpoint."""
        return [one.tally.now for one in self._sessions.values()]

    def close(self) -> None:
        """Log out of all sessions of this process."""
        for one in self._sessions.values():
            one.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _table(self, host: HostName) -> HostTable:
        table = self._hosts.get(host)
        if table is None:
            remedy = f"add [vmware.hosts.{host}] to the inventory, or correct the event"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, f"the vmware inventory has no host {host!r}", remedy)
        return table

    def _eject_for_migration(self, vm: Vm, source: Place) -> None:
        with self._visit(vm.host) as visit:
            if visit.storages.sees(source):
                return
            record = visit.find_anywhere(vm)
            if record is not None:
                Drives(visit.server.session, record, force=self._force).remove_all()

    @contextmanager
    def _visit(self, host: HostName) -> Iterator[Visit]:
        """Give a session with a host's endpoint; whatever the SDK raises meanwhile comes out as a `FleetError`."""
        table = self._table(host)
        with translated(f"host {host}"), self._sessions[table.endpoint].borrow() as server:
            yield Visit(table, server, Storages(host, table, server))

    @contextmanager
    def _reach(self, place: Place, via: HostName) -> Iterator[tuple[Visit, ImageFolder]]:
        """Give a storage's folder through its own host, and that of a shared one through the VM's host.

        A shared storage that the VM's host does not have (any more) is reached through another one that has it.
        """
        ways = [place.host] if place.host is not None else [via, *(name for name in self._hosts if name != via)]
        first: PermanentError | None = None
        with ExitStack() as stack:
            for name in ways:
                try:
                    visit = stack.enter_context(self._visit(name))
                    folder = visit.storages.folder(place)
                except PermanentError as error:
                    stack.close()
                    first = first or error
                else:
                    yield visit, folder
                    return
        if first is not None:
            raise first


def _own_storage(storages: Storages, vm: Vm, record: VmRecord | None) -> Place | None:
    if vm.primary_storage is None:
        return None if record is None else storages.of_root_disk(record)
    inside = None if record is None else storages.in_cluster(StorageName(vm.primary_storage), record)
    return inside or storages.named(vm.primary_storage)


def _images_of(vm: Vm, place: Place, folder: ImageFolder) -> tuple[StoredImage, ...]:
    return tuple(StoredImage(name, place) for name in folder.names(vm.uuid))


def _require_own(vm: Vm, name: ImageName) -> None:
    if name.vm_uuid != vm.uuid:
        detail = f"the image {name} is not VM {vm.uuid}'s"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "a VM gets its own images only")


def _require_name(vm: Vm, record: VmRecord) -> None:
    """Refuse a VM that bears another name than the event says: its uuid may have been given twice."""
    if record.name != vm.instance_name:
        detail = f"VM {vm.uuid} is called {record.name!r} on host {vm.host}, but {vm.instance_name!r} in the event"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "correct the event's instance_name, or rename the VM")


def _orchestrator_device(vm: Vm, visit: Visit, record: VmRecord | None) -> str:
    """Say which drive the orchestrator shall take, of a VM that need not exist yet."""
    if record is None:
        return expected_device(visit.table.cd_slots)
    _require_name(vm, record)
    return find_slot(record, vm.uuid, visit.table.cd_slots).device
