"""The driver port on KVM hosts: what each verb does, in the order in which it does it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import libvirt

from configdrive.errors import PermanentError
from configdrive.model import AttachBy, HostName, HypervisorName, ImageName, Place, PowerState, Vm
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, NoDrive, Observation, Survey, trusted
from workers.driverkit.storage_routes import (
    first_way,
    hosts_of,
    list_images,
    not_on_host,
    nothing_to_attach,
    nothing_to_copy,
    require_name,
    require_own,
    store,
)
from workers.hypervisors.kvm.doctor import diagnose
from workers.hypervisors.kvm.domain_xml import disk_xml
from workers.hypervisors.kvm.drives import Drives
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.inventory import parse
from workers.hypervisors.kvm.sessions import LinkBrokenError
from workers.hypervisors.kvm.slots import content, device_of, find_slot, no_free_slot, targets
from workers.hypervisors.kvm.survey import survey
from workers.hypervisors.kvm.visit import Host, find_host
from workers.hypervisors.kvm.vms import find_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from configdrive.model import Image, StoredImage
    from configdrive.ports import Connections
    from workers.hypervisors.kvm.image_folder import ImageFolder
    from workers.hypervisors.kvm.visit import Visit
    from workers.hypervisors.kvm.vms import Domain


_Seen = TypeVar("_Seen")


class KvmDriver:
    """KVM through libvirt: see `configdrive.ports.HypervisorDriver` for what each verb promises.

    Args:
        hosts: of the inventory.
        force_eject: whether a medium is exchanged although the guest holds the tray.
    """

    name = HypervisorName("kvm")

    def __init__(self, hosts: Mapping[HostName, Host], *, force_eject: bool = True) -> None:
        self._hosts = hosts
        self._force = force_eject

    @classmethod
    def from_inventory(
        cls, section: Mapping[str, object], *, force_eject: bool = True, call_timeout: float = 30.0
    ) -> Self:
        """Build the driver from the inventory's `[kvm]` table; connects to nothing yet.

        Args:
            section: the table.
            force_eject: whether a medium is exchanged although the guest holds the tray.
            call_timeout: seconds to wait for a host's answer. A change of a VM may take 40 s: libvirt itself waits.

        Raises:
            PermanentError: `MISCONFIGURED`.
        """
        table = parse(section)
        hosts = {HostName(name): Host(HostName(name), one, call_timeout) for name, one in table.hosts.items()}
        return cls(hosts, force_eject=force_eject)

    def observe(
        self,
        vm: Vm,
        also: Collection[Place] = (),
        names: Collection[ImageName] | None = None,  # noqa: ARG002 - lists
    ) -> Observation:
        """Look at the VM and list its images.

        A VM is known by its uuid alone here, so that it can be cleaned up whatever its name is; `attach` looks at the
        name as well.
        """
        return _looked(partial(self._observe, vm, also))

    def _observe(self, vm: Vm, also: Collection[Place]) -> Observation:
        with self._visit(vm.host) as visit:
            domain = find_domain(visit.link, vm.uuid)
            storage = _own_storage(visit, vm, domain)
            own = () if storage is None else visit.storages.folder(storage).names(vm.uuid)
            choices = targets(domain.layers[0] if domain else None, visit.table.cd_targets, device_of(vm.presentation))
            drive = (
                NoDrive()
                if domain is None
                else content(domain.layers, vm.uuid, visit.storages.place_of, storage, choices)
            )

        def listed(place: Place) -> tuple[ImageName, ...]:
            if place == storage:
                return own
            with self._reach(place, vm.host) as (_, folder):
                return folder.names(vm.uuid)

        images, unreachable = list_images([*([] if storage is None else [storage]), *also], listed)
        return Observation(
            power=PowerState.UNDEFINED if domain is None else domain.power,
            storage=storage,
            drive=drive,
            images=images,
            unreachable=unreachable,
        )

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        require_own(vm, image.name)
        self._store(vm, image.name, image.content, place)

    def copy(
        self,
        vm: Vm,
        name: ImageName,
        source: Place,
        target: Place,
        genuine: Genuine = trusted,  # noqa: ARG002 - trusts
    ) -> None:
        """Make `target` hold the same bytes as `source` under the same name."""
        require_own(vm, name)
        with self._reach(source, vm.host) as (_, folder):
            there = folder.read(name)
        if there is None:
            raise nothing_to_copy(name, source)
        if source != target:
            self._store(vm, name, there, target)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on."""
        require_own(vm, name)
        device = device_of(vm.presentation)
        with self._visit(vm.host) as visit:
            folder = visit.storages.folder(place)
            path = str(folder.directory / str(name))
            domain = find_domain(visit.link, vm.uuid)
            if domain is not None:
                require_name(vm, domain.name)
            if vm.attach_by is AttachBy.ORCHESTRATOR:
                return _for_the_orchestrator(vm, visit, domain, path)
            if domain is None:
                raise not_on_host(vm)
            if not folder.has(name):
                raise nothing_to_attach(name, place)
            drives = Drives(visit.link, vm.uuid, domain, force=self._force)
            how, target = drives.insert(path, device, visit.table.cd_targets)
        return Attachment(how, target.dev, path, disk_xml(target, path, device))

    def detach(
        self,
        vm: Vm,
        media: Collection[ImageName] | None = None,  # noqa: ARG002 - takes all
        added: str | None = None,  # noqa: ARG002 - asks nobody
    ) -> None:
        """Leave no image of the fleet in any drive of the VM, now and in its persistent definition."""
        with self._visit(vm.host) as visit:
            domain = find_domain(visit.link, vm.uuid)
            if domain is None:
                return
            try:
                Drives(visit.link, vm.uuid, domain, force=self._force).remove_all()
            except libvirt.libvirtError:
                if find_domain(visit.link, vm.uuid) is not None:
                    raise  # otherwise it was transient and was powered off meanwhile

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:  # noqa: ARG002 - always
        """Delete one image file; gone already is success."""
        with self._reach(image.place, vm.host) as (visit, folder):
            if folder.has(image.name):
                visit.require_unused(folder, image.name)
                folder.remove(image.name)

    def host_of(self, host_id: str) -> HostName | None:  # noqa: ARG002 - none is known
        """Return the inventory's name of the host that says this of itself."""
        return None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet."""

        def look() -> Survey:
            with self._visit(host) as visit:
                return survey(visit)

        return _looked(look)

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._hosts.keys()

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage."""
        try:
            found = find_host(self._hosts, host)
        except PermanentError as error:
            return iter([Check(f"kvm host {host}", ok=False, detail=error.detail, remedy=error.remedy)])
        return diagnose(found)

    def connections(self) -> Collection[Connections]:
        """Count the connections of this process to each host: to libvirt, and for SFTP."""
        return [one for host in self._hosts.values() for one in host.connections()]

    def close(self) -> None:
        """Close all connections of this process."""
        for host in self._hosts.values():
            host.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _visit(self, name: HostName) -> Iterator[Visit]:
        """Give a connection to a host; whatever its SDKs raise meanwhile comes out as a `FleetError`."""
        host = find_host(self._hosts, name)
        with translated(f"host {name}"), host.visit() as visit:
            yield visit

    def _reach(self, place: Place, via: HostName) -> AbstractContextManager[tuple[Visit, ImageFolder]]:
        ways = (self._visit(name) for name in hosts_of(place, via, self._hosts))
        return first_way(ways, lambda visit: visit.storages.folder(place))

    def _store(self, vm: Vm, name: ImageName, data: bytes, place: Place) -> None:
        with self._reach(place, vm.host) as (visit, folder):
            store(folder, name, data, lambda: visit.require_unused(folder, name))


def _looked(look: Callable[[], _Seen]) -> _Seen:
    """Look, and once more on a new connection when the one that was kept breaks: libvirtd was started anew."""
    try:
        return look()
    except LinkBrokenError:
        return look()


def _own_storage(visit: Visit, vm: Vm, domain: Domain | None) -> Place | None:
    if vm.primary_storage is not None:
        return visit.storages.named(vm.primary_storage)
    return None if domain is None else visit.storages.of_root_disk(domain.layers[0])


def _for_the_orchestrator(vm: Vm, visit: Visit, domain: Domain | None, path: str) -> Attachment:
    """Say what to attach and where, of a VM that need not exist yet."""
    device = device_of(vm.presentation)
    definition = None if domain is None else domain.layers[-1]
    choices = targets(definition, visit.table.cd_targets, device)
    if definition is None:
        target = choices[0]
    else:
        slot = find_slot(definition, choices, vm.uuid, device)
        if slot is None:
            raise no_free_slot(vm.uuid, choices)
        target = slot.target
    return Attachment(AttachedHow.ORCHESTRATOR, target.dev, path, disk_xml(target, path, device))
