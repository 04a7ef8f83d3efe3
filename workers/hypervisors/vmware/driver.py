"""The driver port on vSphere: what each verb does, in the order in which it does it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import replace
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
    StoredImage,
    Vm,
)
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, NoDrive, Observation, Survey, trusted
from workers.driverkit.cache import Cache
from workers.driverkit.storage_routes import (
    first_way,
    hosts_of,
    list_images,
    list_stored,
    nothing_to_attach,
    nothing_to_copy,
    require_own,
)
from workers.driverkit.tables import unknown_host
from workers.hypervisors.vmware.doctor import diagnose
from workers.hypervisors.vmware.drives import Drives
from workers.hypervisors.vmware.faults import translated
from workers.hypervisors.vmware.inventory import parse
from workers.hypervisors.vmware.sessions import Sessions
from workers.hypervisors.vmware.slots import content, expected_device, find_slot
from workers.hypervisors.vmware.storages import Storages, in_directory
from workers.hypervisors.vmware.survey import survey_vms
from workers.hypervisors.vmware.topology import FRESH_SECONDS
from workers.hypervisors.vmware.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from configdrive.model import Image
    from configdrive.ports import Connections
    from workers.hypervisors.vmware.image_folder import ImageFolder
    from workers.hypervisors.vmware.inventory import HostTable, Section
    from workers.hypervisors.vmware.records import SeenVm


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
        self._servers: dict[str, str] = {}
        self._ids: Cache[str, HostName] = Cache(FRESH_SECONDS)

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

    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        """Look at the VM and its images: one call to find it, one to read it, one for each image asked for."""

        def look(folder: ImageFolder) -> tuple[ImageName, ...]:
            return folder.names(vm.uuid) if names is None else folder.found(names)

        def look_near(place: Place) -> tuple[ImageName, ...]:
            with translated(f"storage {place.storage} of host {vm.host}"), visit.server.naming_refusals():
                return look(visit.storages.folder(place))

        def look_there(place: Place) -> tuple[ImageName, ...]:
            with self._reach(place, vm.host) as (_, folder):
                return look(folder)

        with self._visit(vm.host) as visit:
            seen = visit.find(vm)
            storage = visit.storages.own(vm, seen)
            images, unreachable = list_images([] if storage is None else [storage], look_near, needed=True)
            observed = Observation(
                power=PowerState.UNDEFINED if seen is None else seen.power,
                storage=storage,
                drive=NoDrive()
                if seen is None
                else content(seen, visit.storages.place_of, storage, visit.table.cd_slots),
                media=() if seen is None else tuple(dict.fromkeys(image for image, _ in seen.fleet_drives)),
                host_id=visit.storages.host_id,
                vm_ref=None if seen is None else visit.ref_of(seen),
                elsewhere=visit.elsewhere if seen is None else None,
            )
        others, away = list_images([place for place in also if place != storage], look_there)
        return replace(observed, images=images + others, unreachable=unreachable + away)

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        require_own(vm, image.name)
        self._store(vm, image.name, image.content, place)

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        """Make `target` hold the same bytes as `source` under the same name.

        When a host that has the target does not see the source, the VM may be about to move there, which vSphere
        refuses as long as the image is in its drive: it is ejected first, and `attach` inserts the copy, or after a
        rollback the original.
        """
        require_own(vm, name)
        with self._reach(source, vm.host) as (_, folder):
            there = folder.read(name)
        if there is None or not genuine(hashlib.sha256(there).hexdigest()):
            raise nothing_to_copy(name, source)
        if source != target:
            self._eject_for_migration(vm, source, target)
            self._store(vm, name, there, target)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the medium of the VM's config drive, now and after the next power-on."""
        require_own(vm, name)
        if vm.presentation is Presentation.DISK:
            detail = "vSphere presents an ISO image as a CD only"
            raise PermanentError(PermanentCode.NOT_SUPPORTED, detail, "leave 'presentation' out of the event")
        with self._visit(vm.host) as visit:
            folder = visit.storages.folder(place, near=True)
            path, wanted = folder.path(name), visit.table.cd_slots
            if vm.attach_by is AttachBy.ORCHESTRATOR:
                seen = visit.find(vm)
                device = expected_device(wanted) if seen is None else find_slot(seen, wanted).device
                return Attachment(AttachedHow.ORCHESTRATOR, device, path)

            def insert(seen: SeenVm) -> Attachment:
                if not folder.has(name):
                    raise nothing_to_attach(name, place)
                return Drives(visit.server, seen, force=self._force).insert(path, folder.store.ref, wanted)

            return visit.change(vm, insert)

    def detach(self, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None) -> None:
        """Leave none of these images in any drive of the VM, now and in its definition."""

        def take_out(seen: SeenVm) -> None:
            Drives(visit.server, seen, force=self._force).take_out(media, added)

        with self._visit(vm.host) as visit:
            try:
                visit.change(vm, take_out)
            except PermanentError as error:
                if error.code is not PermanentCode.VM_NOT_FOUND:
                    raise

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        """Delete one image file, or what a killed upload has left of it; gone already is success."""
        with self._reach(image.place, vm.host) as (visit, folder):
            vms = visit.require_unused(vm, image)
            user = folder.user(image.name) if anyones else None
            if user is not None:
                detail = f"VM {user} has the image {image.name} in a drive"
                raise TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")
            folder.remove(image.name)
            if image.place not in [visit.storages.home(seen) for seen in vms]:
                folder.tidy()

    def host_of(self, host_id: str) -> HostName | None:
        """Return the inventory's name of the host that says this of itself."""
        known = self._ids.get(host_id)
        if known is None:
            ways = self._ways(host_id, ())
            found = (name for way in ways for name, said in self._said(way) if said == host_id)
            known = self._ids.keep(host_id, next(found, HostName("")))
        return known or None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet: every datastore's folder, every VM's CD drives.

        What a drive has from a VM's directory is taken to be there. A VM is reported once for each uuid that it is
        known by: nobody knows which one is the orchestrator's.
        """
        return self._survey(host, deep=False)

    def survey_deep(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet, in every directory of its datastores."""
        return self._survey(host, deep=True)

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._hosts.keys()

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage."""
        try:
            table = self._table(host)
        except PermanentError as error:
            return iter([Check(f"vmware host {host}", ok=False, detail=error.detail, remedy=error.remedy)])
        return diagnose(host, table, self._sessions[table.endpoint], self._twins)

    def connections(self) -> Collection[Connections]:
        """Count the sessions of this process with each endpoint."""
        return [one.tally.now for one in self._sessions.values()]

    def close(self) -> None:
        """Log out of all sessions of this process."""
        for one in self._sessions.values():
            one.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _survey(self, host: HostName, *, deep: bool) -> Survey:
        with self._visit(host) as visit:
            storages = visit.storages

            def names(place: Place) -> Iterator[StoredImage]:
                with translated(f"storage {place.storage} of host {host}"):
                    folder = storages.folder(place)
                    yield from (StoredImage(name, place) for name in folder.names())
                    for directory, name in folder.everywhere() if deep else ():
                        yield StoredImage(name, storages.place_at(folder.store, directory))

            images, unreachable = list_stored(storages.of_files, names)
            vms = tuple(
                survey_vms(
                    visit.server.session,
                    sorted(storages.scope),
                    visit.table.identify_by,
                    [image.name for image in images],
                    storages.place_of,
                )
            )
            inserted = (medium for one in vms for medium in one.media)
            beside = (StoredImage(one.name, one.place) for one in inserted if one.place and in_directory(one.place))
            return Survey(tuple(dict.fromkeys((*images, *beside))), vms, unreachable, storages.host_id)

    def _table(self, host: HostName) -> HostTable:
        table = self._hosts.get(host)
        if table is None:
            raise unknown_host("vmware", host)
        return table

    def _eject_for_migration(self, vm: Vm, source: Place, target: Place) -> None:
        with self._visit(vm.host) as visit:
            if visit.storages.sees_wherever(source, target):
                return
            seen = visit.find_anywhere(vm)
            if seen is not None:
                Drives(visit.server, seen, force=self._force).take_out(None)

    def _twins(self, host: HostName, host_id: str) -> list[HostName]:
        """Name the other hosts of the inventory that are this one."""
        ways = self._ways(host_id, [host])
        return [name for way in ways for name, said in self._said(way) if said == host_id and name != host]

    def _said(self, way: HostName) -> list[tuple[HostName, str]]:
        """What each host of a host's endpoint says of itself, as far as it can be asked now."""
        said = []
        with suppress(FleetError), self._visit(way) as visit:
            for name, table in self._hosts.items():
                if table.endpoint == visit.table.endpoint:
                    with suppress(PermanentError):
                        said.append((name, Storages(name, table, visit.server).host_id))
        return said

    @contextmanager
    def _visit(self, host: HostName) -> Iterator[Visit]:
        """Give a session with a host's endpoint; whatever the SDK raises meanwhile comes out as a `FleetError`."""
        table = self._table(host)
        with translated(f"host {host}"), self._sessions[table.endpoint].borrow() as server:
            self._servers[table.endpoint] = server.topology.get().server
            yield Visit(table, server, Storages(host, table, server))

    def _reach(self, place: Place, via: HostName) -> AbstractContextManager[tuple[Visit, ImageFolder]]:
        known = place.identity
        names = hosts_of(place, via, self._hosts) if known is None else self._ways(known, [place.host, via])
        if not names:
            detail = f"no endpoint of the vmware inventory has the datastore {place.storage!r} that is meant"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "add its vCenter to the inventory")
        return first_way((self._visit(name) for name in names), lambda visit: visit.storages.folder(place))

    def _ways(self, identity: str, near: Collection[HostName | None]) -> list[HostName]:
        """Name a host of each endpoint whose server may be the one that this identity is of: the one that is, first."""
        ways: dict[str, HostName] = {}
        for name in (*near, *self._hosts):
            if name is not None and name in self._hosts:
                ways.setdefault(self._hosts[name].endpoint, name)
        server = identity.partition("/")[0]
        may = [way for way in ways.items() if self._servers.get(way[0], server) == server]
        return [name for _, name in sorted(may, key=lambda way: way[0] not in self._servers)]

    def _store(self, vm: Vm, name: ImageName, content: bytes, place: Place) -> None:
        with self._reach(place, vm.host) as (visit, folder):
            folder.put(name, content, lambda: visit.require_unused(vm, StoredImage(name, place)))
