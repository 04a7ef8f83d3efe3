"""The driver port on vSphere: what each verb does, in the order in which it does it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import (
    AttachBy,
    HostName,
    HypervisorName,
    ImageName,
    Place,
    PowerState,
    Presentation,
    StorageName,
    Vm,
)
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, NoDrive, Observation, Survey, trusted
from workers.driverkit.storage_routes import (
    first_way,
    hosts_of,
    list_images,
    nothing_to_attach,
    nothing_to_copy,
    require_name,
    require_own,
    store,
)
from workers.driverkit.tables import unknown_host
from workers.hypervisors.vmware.doctor import diagnose
from workers.hypervisors.vmware.drives import Drives
from workers.hypervisors.vmware.faults import translated
from workers.hypervisors.vmware.inventory import parse
from workers.hypervisors.vmware.sessions import Sessions
from workers.hypervisors.vmware.slots import content, expected_device, find_slot
from workers.hypervisors.vmware.storages import Storages
from workers.hypervisors.vmware.survey import survey_vms
from workers.hypervisors.vmware.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from configdrive.model import Image, StoredImage
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

    def observe(
        self,
        vm: Vm,
        also: Collection[Place] = (),
        names: Collection[ImageName] | None = None,  # noqa: ARG002 - lists
    ) -> Observation:
        """Look at the VM and list its images: one call to find it, one to read it, a task for each listing.

        A VM is known by its uuid alone here, so that it can be cleaned up whatever its name is; `attach` looks at the
        name as well.
        """
        with self._visit(vm.host) as visit:
            record = visit.find(vm)
            storage = _own_storage(visit.storages, vm, record)
            own = () if storage is None else visit.storages.folder(storage).names(vm.uuid)
            drive = (
                NoDrive() if record is None else content(record, visit.storages.place_of, storage, visit.table.cd_slots)
            )

        def listed(place: Place) -> tuple[ImageName, ...]:
            if place == storage:
                return own
            with self._reach(place, vm.host) as (_, folder):
                return folder.names(vm.uuid)

        images, unreachable = list_images([*([] if storage is None else [storage]), *also], listed)
        return Observation(
            power=PowerState.UNDEFINED if record is None else record.power,
            storage=storage,
            drive=drive,
            images=images,
            unreachable=unreachable,
        )

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        require_own(vm, image.name)
        self._store(image.name, image.content, place, vm.host)

    def copy(
        self,
        vm: Vm,
        name: ImageName,
        source: Place,
        target: Place,
        genuine: Genuine = trusted,  # noqa: ARG002 - trusts
    ) -> None:
        """Make `target` hold the same bytes as `source` under the same name.

        When `vm.host` does not see the source, the VM is about to move there, which vSphere refuses as long as the
        image is in its drive: it is ejected first, and `attach` inserts the copy, or after a rollback the original.
        """
        require_own(vm, name)
        with self._reach(source, vm.host) as (_, folder):
            there = folder.read(name)
        if there is None:
            raise nothing_to_copy(name, source)
        if source != target:
            self._eject_for_migration(vm, source)
            self._store(name, there, target, vm.host)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the medium of the VM's config drive, now and after the next power-on."""
        require_own(vm, name)
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
            require_name(vm, record.name)
            if not folder.has(name):
                raise nothing_to_attach(name, place)
            drives = Drives(visit.server.session, record, force=self._force)
            return drives.insert(path, folder.store.ref, visit.table.cd_slots)

    def detach(
        self,
        vm: Vm,
        media: Collection[ImageName] | None = None,  # noqa: ARG002 - takes all
        added: str | None = None,  # noqa: ARG002 - asks nobody
    ) -> None:
        """Leave no image of the fleet in any drive of the VM, now and in its definition."""
        with self._visit(vm.host) as visit:
            record = visit.find(vm)
            if record is not None:
                Drives(visit.server.session, record, force=self._force).remove_all()

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:  # noqa: ARG002 - always
        """Delete one image file; gone already is success."""
        with self._reach(image.place, vm.host) as (_, folder):
            folder.require_unused(image.name)
            folder.remove(image.name)

    def host_of(self, host_id: str) -> HostName | None:  # noqa: ARG002 - none is known
        """Return the inventory's name of the host that says this of itself."""
        return None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet: every datastore's folder, every VM's CD drives.

        A VM is reported once for each uuid that it is known by: nobody knows which one is the orchestrator's.
        """
        with self._visit(host) as visit:
            storages = visit.storages

            def names(place: Place) -> tuple[ImageName, ...]:
                with translated(f"storage {place.storage} of host {host}"):
                    return storages.folder(place).names()

            images, unreachable = list_images(storages.of_files, names)
            vms = tuple(
                survey_vms(
                    visit.server.session,
                    sorted(storages.scope),
                    visit.table.identify_by,
                    [image.name for image in images],
                    storages.place_of,
                )
            )
        return Survey(images, vms, unreachable)

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
            raise unknown_host("vmware", host)
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

    def _reach(self, place: Place, via: HostName) -> AbstractContextManager[tuple[Visit, ImageFolder]]:
        ways = (self._visit(name) for name in hosts_of(place, via, self._hosts))
        return first_way(ways, lambda visit: visit.storages.folder(place))

    def _store(self, name: ImageName, content: bytes, place: Place, via: HostName) -> None:
        with self._reach(place, via) as (_, folder):
            store(folder, name, content, lambda: folder.require_unused(name))


def _own_storage(storages: Storages, vm: Vm, record: VmRecord | None) -> Place | None:
    if vm.primary_storage is None:
        return None if record is None else storages.of_root_disk(record)
    inside = None if record is None else storages.in_cluster(StorageName(vm.primary_storage), record)
    return inside or storages.named(vm.primary_storage)


def _orchestrator_device(vm: Vm, visit: Visit, record: VmRecord | None) -> str:
    """Say which drive the orchestrator shall take, of a VM that need not exist yet."""
    if record is None:
        return expected_device(visit.table.cd_slots)
    require_name(vm, record.name)
    return find_slot(record, vm.uuid, visit.table.cd_slots).device
