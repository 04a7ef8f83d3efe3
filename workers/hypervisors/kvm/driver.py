"""The driver port on KVM hosts: what each verb does, in the order in which it does it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import libvirt

from configdrive.errors import FleetError, PermanentError, TransientCode, TransientError
from configdrive.model import AttachBy, GuestOs, HostName, HypervisorName, ImageName, Place, PowerState, StoredImage, Vm
from configdrive.places import at
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, Observation, Survey, trusted
from workers.driverkit.storage_routes import (
    first_way,
    hosts_of,
    not_on_host,
    nothing_to_attach,
    nothing_to_copy,
    require_own,
    store,
)
from workers.hypervisors.kvm.doctor import diagnose
from workers.hypervisors.kvm.domain_xml import MARK, Device, Target, disk_xml, scsi_xml
from workers.hypervisors.kvm.drives import Drives
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.image_folder import shard_of
from workers.hypervisors.kvm.inventory import parse
from workers.hypervisors.kvm.sessions import LinkBrokenError
from workers.hypervisors.kvm.slot_choice import definition_of
from workers.hypervisors.kvm.slots import Wanted, address_in, content, find_slot, no_free_slot, targets
from workers.hypervisors.kvm.storages import not_found
from workers.hypervisors.kvm.survey import dropped, survey
from workers.hypervisors.kvm.visit import Host, find_host
from workers.hypervisors.kvm.vms import find_domain, find_user, lies_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from configdrive.model import Image, VmUuid
    from configdrive.ports import Connections
    from workers.hypervisors.kvm.domain_xml import Source, StartupPolicy
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

    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        """Look at the VM, which is known by its uuid alone, and at its images.

        With `names` it is an event that asks: the storages get an identity when they have none yet, so that what is
        remembered of them is remembered under that.
        """
        return _looked(partial(self._observe, vm, also, names))

    def _observe(self, vm: Vm, also: Collection[Place], names: Collection[ImageName] | None) -> Observation:
        images: list[StoredImage] = []
        unreachable: list[Place] = []
        with self._visit(vm.host, tried=False) as visit:
            visit.link.known.begin()
            domain = find_domain(visit.link, vm.uuid)
            storage = self._own_storage(visit, vm, domain, also)
            if storage is not None:
                try:
                    with at(storage), translated(f"storage {storage.storage}"):
                        storage = visit.storages.identified(storage, make=names is not None)
                        images += _images(visit.storages.folder(storage, shard_of(vm.uuid)), vm, names, storage)
                except FleetError as error:
                    if error.code is TransientCode.DEFERRED:
                        raise
                    visit.link.require_alive(error)
                    unreachable.append(storage)
            layers = () if domain is None else domain.layers
            choices = targets(layers[0] if layers else None, Wanted.by(vm, visit.table.cd_targets))
            drive = content(layers, vm.uuid, visit.storages.place_of, storage, choices)
            media = tuple(dict.fromkeys(image for layer in layers for image, _ in layer.fleet_disks))
            visit.link.known.held.keep(vm.uuid, frozenset(media))
            vm_ref = None if domain is None else f"{visit.host_id}/{vm.uuid}"
        for place in dict.fromkeys(also):
            if place in {storage, *unreachable}:
                continue
            try:
                with at(place), self._reach(place, vm.host, vm.uuid) as (there, folder):
                    found = there.storages.identified(place, make=names is not None)
                    if found not in {storage, *(image.place for image in images)}:
                        images += _images(folder, vm, names, found)
            except FleetError:
                unreachable.append(place)
        return Observation(
            power=PowerState.UNDEFINED if domain is None else domain.power,
            storage=storage,
            drive=drive,
            images=tuple(images),
            unreachable=tuple(unreachable),
            media=media,
            host_id=visit.host_id,
            vm_ref=vm_ref,
        )

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        require_own(vm, image.name)
        self._store(vm, image.name, image.content, place)

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        """Make `target` hold the same bytes as `source` under the same name, if they are what the name promises."""
        require_own(vm, name)
        with self._reach(source, vm.host, vm.uuid) as (_, folder):
            there = folder.read(name)
        if there is None or not genuine(hashlib.sha256(there).hexdigest()):
            raise nothing_to_copy(name, source)
        if source != target:
            self._store(vm, name, there, target)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on.

        Another VM's image in its drive is replaced too: a clone's definition still names the original's.
        """
        require_own(vm, name)
        with self._visit(vm.host) as visit:
            wanted = Wanted.by(vm, visit.table.cd_targets)
            folder = visit.storages.folder(place, shard_of(vm.uuid))
            path = str(folder.directory / str(name))
            domain = find_domain(visit.link, vm.uuid, again=True)
            if vm.attach_by is AttachBy.ORCHESTRATOR:
                return _for_the_orchestrator(vm, wanted, domain, path, visit.table.startup_policy)
            if domain is None:
                raise not_on_host(vm)
            if not folder.has(name):
                raise nothing_to_attach(name, place)
            visit.link.known.change(vm.uuid)
            policy = visit.table.startup_policy
            drives = Drives(visit.link, vm.uuid, domain, force=self._force, policy=policy)
            done = drives.insert(path, wanted)
            visit.link.known.held.keep(vm.uuid, frozenset({name}))
        xml = disk_xml(done.target, path, wanted.device, mark=done.is_ours, policy=policy)
        return Attachment(
            done.how, done.target.dev, path, xml, MARK if done.is_ours else None, facts=_facts(done.target, wanted)
        )

    def detach(
        self,
        vm: Vm,
        media: Collection[ImageName] | None = None,
        added: str | None = None,  # noqa: ARG002  # a drive that the fleet has added bears its mark
    ) -> None:
        """Take images out of the VM's drives, now and in its persistent definition; all of them without `media`."""
        with self._visit(vm.host) as visit:
            domain = find_domain(visit.link, vm.uuid, again=media is not None, config=media is None)
            if domain is None:
                return
            held = visit.link.known.held.get(vm.uuid)
            visit.link.known.change(vm.uuid)
            if media is None:
                held = frozenset(image for layer in domain.layers for image, _ in layer.fleet_disks)
            gone = frozenset((held or ()) if media is None else media)
            try:
                Drives(visit.link, vm.uuid, domain, force=self._force).remove(gone)
            except libvirt.libvirtError:
                if find_domain(visit.link, vm.uuid) is not None:
                    raise  # otherwise it was transient and was powered off meanwhile
            if held is not None:
                visit.link.known.held.keep(vm.uuid, held - gone)

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        """Delete one image file; gone already is success."""
        with self._reach(image.place, vm.host, image.name.vm_uuid) as (visit, folder):
            if not anyones:
                self._require_free(vm, image, visit, folder)
            elif folder.has(image.name):
                user = find_user(visit.link, image.name, partial(lies_in, directory=folder.directory, pool=folder.pool))
                if user is not None:
                    raise _in_use(image.name, user, visit.host)
            folder.remove(image.name)

    def host_of(self, host_id: str) -> HostName | None:
        """Return the inventory's name of the host that says this of itself, asking those that were not asked yet."""
        for host in sorted(self._hosts.values(), key=lambda one: one.identity != host_id):
            with suppress(FleetError):
                if host.identity is None:
                    with self._visit(host.name):
                        pass
                if host.identity == host_id:
                    return host.name
        return None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet."""

        def look() -> Survey:
            with self._visit(host, tried=False) as visit:
                return survey(visit)

        return _looked(look)

    def dropped(self, host: HostName) -> Mapping[VmUuid, ImageName]:
        """Return the running VMs whose drive libvirt has left empty, as it could not look at the image."""

        def look() -> Mapping[VmUuid, ImageName]:
            with self._visit(host, tried=False) as visit:
                return dropped(visit)

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
        return diagnose(found, [other for other in self._hosts.values() if other is not found])

    def connections(self) -> Collection[Connections]:
        """Count the connections of this process to each host: to libvirt, and for SFTP."""
        return [one for host in self._hosts.values() for one in host.connections()]

    def close(self) -> None:
        """Close all connections of this process."""
        for host in self._hosts.values():
            host.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _visit(self, name: HostName, *, tried: bool = True) -> Iterator[Visit]:
        """Give a connection to a host; whatever its SDKs raise meanwhile comes out as a `FleetError`."""
        host = find_host(self._hosts, name)
        with translated(f"host {name}"), host.visit(tried=tried) as visit:
            yield visit

    def _own_storage(self, visit: Visit, vm: Vm, domain: Domain | None, also: Collection[Place]) -> Place | None:
        """Find where the VM's images belong.

        A storage of another host's may bear another name here, as CloudStack's local pools do: it is found by its
        identity, and a local one by its directory, which is the same on all hosts between which a VM can move.
        """
        if vm.primary_storage is None:
            return None if domain is None else visit.storages.of_root_disk(domain.layers[0])
        try:
            return visit.storages.named(vm.primary_storage)
        except PermanentError:
            for place in also:
                if place.storage == vm.primary_storage:
                    with suppress(FleetError):
                        return self._counterpart(visit, place)
            raise

    def _counterpart(self, visit: Visit, place: Place) -> Place:
        if place.identity is not None:
            with suppress(PermanentError):
                return visit.storages.here(place)
        if place.host is None:
            raise not_found(visit.host, place.storage)
        with self._visit(place.host) as there:
            directory = there.storages.folder(place).directory
        return visit.storages.around(directory, place.storage)

    def _reach(self, place: Place, via: HostName, owner: VmUuid) -> AbstractContextManager[tuple[Visit, ImageFolder]]:
        """Find the folder on a storage in which the images of a VM lie."""
        ways = (self._visit(name) for name in hosts_of(place, via, self._hosts))
        return first_way(ways, lambda visit: visit.storages.folder(place, shard_of(owner)))

    def _store(self, vm: Vm, name: ImageName, data: bytes, place: Place) -> None:
        with self._reach(place, vm.host, vm.uuid) as (visit, folder):
            visit.storages.identified(place, make=True)
            unused = partial(self._require_free, vm, StoredImage(name, place), visit, folder)
            store(folder, name, data, unused)

    def _require_free(self, vm: Vm, image: StoredImage, there: Visit, folder: ImageFolder) -> None:
        """Return when this VM does not have the file in a drive; other VMs' definitions, such as clones', do not count.

        A VM that its host does not know may have been moved: then every other host that shares the storage is asked.

        Raises:
            TransientError: `IMAGE_IN_USE`; `HOST_UNREACHABLE` when one cannot be asked.
        """
        place = there.storages.identified(image.place, make=False)

        def known_on(visit: Visit) -> bool:
            held = visit.link.known.held.get(vm.uuid) if visit.host == vm.host else None
            if held is not None and image.name not in held:
                return bool(held)
            domain = find_domain(visit.link, vm.uuid)
            sources = () if domain is None else tuple(_sources(domain, image.name))
            here = visit.host == there.host
            if any(
                lies_in(one, folder.directory, folder.pool) if here else visit.storages.place_of(one) == place
                for one in sources
            ):
                raise _in_use(image.name, vm.instance_name, visit.host)
            return domain is not None

        asked = [there.host]
        known = known_on(there)
        if vm.host != there.host and vm.host in self._hosts:
            asked.append(vm.host)
            with self._visit(vm.host) as visit:
                known = known_on(visit) or known
        if not known and place.host is None:
            for name in self._hosts:
                if name not in asked:
                    with self._visit(name) as visit:
                        known_on(visit)


def _sources(domain: Domain, name: ImageName) -> Iterator[Source]:
    for layer in domain.layers:
        yield from (disk.source for image, disk in layer.fleet_disks if image == name and disk.source is not None)


def _in_use(name: ImageName, user: str, host: HostName) -> TransientError:
    detail = f"VM {user} on host {host} has the image {name} in a drive"
    return TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")


def _images(folder: ImageFolder, vm: Vm, names: Collection[ImageName] | None, place: Place) -> Iterator[StoredImage]:
    found = folder.names(vm.uuid) if names is None else folder.find(names)
    return (StoredImage(name, place) for name in found)


def _looked(look: Callable[[], _Seen]) -> _Seen:
    """Look, and once more on a new connection when the one that was kept breaks: libvirtd was started anew."""
    try:
        return look()
    except LinkBrokenError:
        return look()


def _for_the_orchestrator(
    vm: Vm, wanted: Wanted, domain: Domain | None, path: str, policy: StartupPolicy
) -> Attachment:
    """Say what to attach and where, of a VM that need not exist yet.

    What it will be the event says. Where nobody does, there is one element for each bus, of which the orchestrator
    takes the one that fits, with a letter of its own; `xml` then is the one for a pc.
    """
    definition = None if domain is None else domain.layers[-1]
    if definition is None and vm.definition is not None:
        definition = definition_of(vm.definition)
    choices = targets(definition, wanted)
    if definition is None:
        facts = {} if wanted.device is Device.DISK or wanted.cd_targets else _elements(path, policy)
        xml = disk_xml(choices[0], path, wanted.device, policy=policy)
        return Attachment(AttachedHow.ORCHESTRATOR, choices[0].dev, path, xml, facts=facts)
    slot = find_slot(definition, wanted)
    if slot is None:
        raise no_free_slot(wanted.vm, choices)
    target = slot.target
    xml = disk_xml(target, path, wanted.device, policy=policy, address=address_in(definition, target))
    facts = _facts(target, wanted)
    if slot.adds_scsi:
        facts["xml_controller"] = scsi_xml(definition.scsi_of_drive)
    return Attachment(AttachedHow.ORCHESTRATOR, target.dev, path, xml, facts=facts)


def _elements(path: str, policy: StartupPolicy) -> dict[str, str]:
    """Write the drive's element for each bus, without a letter."""
    return {f"xml_{bus}": disk_xml(Target("", bus), path, policy=policy) for bus in ("ide", "sata", "scsi")}


def _facts(target: Target, wanted: Wanted) -> dict[str, str]:
    """Say on which bus the drive is, and what the guest needs for it.

    QEMU makes a disk of a CD on USB, and Windows mounts ISO 9660 on CDs only: it needs one that is there at first.
    """
    facts = {"bus": target.bus}
    match target.bus:
        case "scsi":
            facts["needs"] = "virtio_scsi"
        case "usb":
            windows = wanted.guest_os is GuestOs.WINDOWS
            facts |= {"seen_as": "disk", "needs": "cd_at_power_on" if windows else "usb_storage"}
        case _:
            pass
    return facts
