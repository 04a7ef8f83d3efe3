"""The driver port on a simulated world: the promises of a real hypervisor, at the cost of a few system calls."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import (
    AttachBy,
    HostName,
    HypervisorName,
    Image,
    ImageName,
    Place,
    PowerState,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.places import at
from configdrive.ports import (
    AttachedHow,
    Attachment,
    Check,
    Connections,
    DriveContent,
    EmptyDrive,
    Genuine,
    Inserted,
    NoDrive,
    Observation,
    Survey,
    SurveyedVm,
    trusted,
)
from workers.hypervisors.simulated.doctor import diagnose
from workers.hypervisors.simulated.drives import SLOTS, eject, fleet_media, has_slot, insert
from workers.hypervisors.simulated.faults import translated
from workers.hypervisors.simulated.images import Images
from workers.hypervisors.simulated.inventory import Verb, parse
from workers.hypervisors.simulated.vms import Medium, VmRecord
from workers.hypervisors.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from workers.hypervisors.simulated.image_folder import Storage


class SimulatedDriver:
    """One simulated cloud: see `configdrive.ports.HypervisorDriver` for what each verb promises.

    Args:
        world: the world it works on; `prepare` has been called.
        latency: what each verb takes at least, in seconds; a verb that is not named takes nothing.
        auto_define: whether an unknown VM comes into being, halted, when it is first observed.
        force_eject: whether a medium is exchanged although the guest has locked the tray.
        call_timeout: seconds after which a verb gives up: on a hypervisor that hangs, or on the VM's lock.
    """

    name = HypervisorName("simulated")
    world_type: ClassVar[type[World]] = World
    images_type: ClassVar[type[Images]] = Images

    def __init__(
        self,
        world: World,
        *,
        latency: Mapping[Verb, float] | None = None,
        auto_define: bool = False,
        force_eject: bool = True,
        call_timeout: float = 30.0,
    ) -> None:
        self.world = world
        self._topology = world.topology
        self._images = self.images_type(world, call_timeout)
        self._latency = latency or {}
        self._auto_define = auto_define
        self._force = force_eject
        self._timeout = call_timeout

    @classmethod
    def from_inventory(
        cls, section: Mapping[str, object], *, force_eject: bool = True, call_timeout: float = 30.0
    ) -> Self:
        """Build the driver from the inventory's `[simulated]` table, and its directory when it is missing.

        Raises:
            PermanentError: `MISCONFIGURED`, `ACCESS_DENIED`.
            TransientError: `STORAGE_FULL`, `STORAGE_UNAVAILABLE`.
        """
        table = parse(section)
        world = cls.world_type(table.directory, table.topology())
        with translated(f"directory {table.directory}"):
            world.prepare()
        return cls(
            world,
            latency=table.latency(),
            auto_define=table.auto_define,
            force_eject=force_eject,
            call_timeout=call_timeout,
        )

    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        """Look at the VM and at its images; clears what a killed upload of it has left half-written."""
        with self._call(Verb.OBSERVE, vm.uuid, vm.host):
            self._topology.require_up(vm.host)
            record = self._known(vm) or self._auto_defined(vm)
            storage = self._own_storage(vm, record)
            found: dict[Place, tuple[StoredImage, ...]] = {}
            unreachable: list[Place] = []
            for place in dict.fromkeys([*([] if storage is None else [storage.place]), *also]):
                try:
                    with at(place), translated(f"storage {place.storage!r}"):
                        self._arrive(Verb.OBSERVE, vm.uuid, vm.host, place)
                        other = self._topology.reach(place, vm.host)
                        if other.place not in found:
                            found[other.place] = self._images.list(other, vm.uuid)
                except FleetError as error:
                    if error.code is TransientCode.DEFERRED and storage is not None and place == storage.place:
                        raise
                    unreachable.append(place)
            images = (image for images in found.values() for image in images)
            return Observation(
                power=PowerState.UNDEFINED if record is None else record.power,
                storage=None if storage is None else storage.place,
                drive=NoDrive() if record is None else self._drive(record),
                images=tuple(image for image in images if names is None or image.name in names),
                unreachable=tuple(unreachable),
                media=() if record is None else tuple(dict.fromkeys(one.name for one in self._media(record))),
                host_id=_host_id(vm.host),
                vm_ref=None if record is None else f"{record.uuid}@{record.host}",
            )

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        with self._call(Verb.UPLOAD, vm.uuid, place.host or vm.host, image.name, place):
            self._store(Verb.UPLOAD, vm, image.name, image.content, place)

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        """Make `target` hold the same bytes as `source` under the same name."""
        with self._call(Verb.COPY, vm.uuid, target.host or vm.host, name, target):
            content = self._topology.reach(source, vm.host).read(name)
            if content is None or not genuine(hashlib.sha256(content).hexdigest()):
                detail = f"storage {source.storage!r} does not hold the image {name} as it was made"
                raise PermanentError(PermanentCode.IMAGE_LOST, detail)
            self._store(Verb.COPY, vm, name, content, target)

    def _store(self, verb: Verb, vm: Vm, name: ImageName, content: bytes, place: Place) -> None:
        _require_own(vm, name)
        halfway = partial(self._halfway, verb, vm.uuid, place.host or vm.host)
        self._images.store(vm.uuid, name, content, self._topology.reach(place, vm.host), halfway=halfway)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on."""
        with self._call(Verb.ATTACH, vm.uuid, vm.host, name, place):
            _require_own(vm, name)
            storage = self._images.seen_by(vm.host, place)
            device, path = SLOTS[vm.presentation], str(storage.path(name))
            if vm.attach_by is AttachBy.ORCHESTRATOR:
                return Attachment(AttachedHow.ORCHESTRATOR, device, path)
            self._topology.require_up(vm.host)
            with self.world.change(Verb.ATTACH, vm.uuid, self._timeout):
                record = self._known(vm)
                if record is None:
                    raise PermanentError(
                        PermanentCode.VM_NOT_FOUND,
                        f"host {vm.host!r} knows no VM {vm.uuid}",
                        "correct the event's host, or define the VM",
                    )
                medium = Medium(storage.place.storage, str(name))
                after, how, added = insert(record, medium, vm.presentation, force=self._force)
                storage.require_up()
                if storage.size(name) is None:
                    raise TransientError(
                        TransientCode.UPLOAD_CORRUPT, f"storage {place.storage!r} does not hold the image {name}"
                    )
                if after != record:
                    self.world.records.put(after)
            return Attachment(how, device, path, added=added)

    def detach(self, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None) -> None:
        """Take these images, or all of a fleet's, out of the VM's drives; a drive that was added goes with them."""
        with self._call(Verb.DETACH, vm.uuid, vm.host):
            self._topology.require_up(vm.host)
            with self.world.change(Verb.DETACH, vm.uuid, self._timeout):
                record = self._known(vm)
                after = None if record is None else eject(record, media, added, force=self._force)
                if after is not None and after != record:
                    self.world.records.put(after)

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        """Delete one image file; gone already is success."""
        with self._call(Verb.DELETE, vm.uuid, image.place.host or vm.host, image.name, image.place):
            self._images.delete(image.name, self._topology.reach(image.place, vm.host), None if anyones else vm.uuid)

    def host_of(self, host_id: str) -> HostName | None:
        """Return the inventory's name of the host that says this of itself."""
        return next((host for host in self.hosts() if _host_id(host) == host_id), None)

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet."""
        images: list[StoredImage] = []
        unreachable: list[Place] = []
        with self._call(Verb.SURVEY, None, host):
            self._topology.require_up(host)
            for storage in self._topology.of(host):
                try:
                    with translated(f"storage {storage.place.storage!r}"):
                        images += self._images.list(storage)
                except FleetError:
                    unreachable.append(storage.place)
            vms = tuple(self._surveyed(record) for record in self.world.records.on(host))
        return Survey(tuple(images), vms, tuple(unreachable), _host_id(host))

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._topology.hosts

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host and its storages."""
        return diagnose(self.world, host)

    def connections(self) -> Collection[Connections]:
        """Say of each host that no connection is kept: it is a directory."""
        return [Connections(host, "directory", open=0, reopened=0) for host in self.hosts()]

    def close(self) -> None:
        """Close nothing: a directory is not open."""

    # --- the edge of each verb, where a rig injects faults ----------------------------------------------------------

    @contextmanager
    def _call(
        self,
        verb: Verb,
        _vm: VmUuid | None,
        host: HostName,
        _image: ImageName | None = None,
        _place: Place | None = None,
    ) -> Iterator[None]:
        """Run the body of a verb, with its latency and its time limit, and its errors in our words."""
        with translated(f"{verb} on host {host!r}"):
            self._wait(self._latency.get(verb, 0.0))
            yield

    def _arrive(self, verb: Verb, vm: VmUuid, host: HostName, place: Place) -> None:
        """Do nothing when a verb comes to one of several storages."""

    def _halfway(self, verb: Verb, vm: VmUuid, host: HostName) -> None:
        """Do nothing when half of an image's bytes are written."""

    def _wait(self, seconds: float) -> None:
        """Wait for the hypervisor, as long as one waits for it."""
        if seconds > 0:
            time.sleep(min(seconds, self._timeout))
        if seconds > self._timeout:
            raise TransientError(
                TransientCode.TASK_TIMEOUT, f"the simulated hypervisor did not answer within {self._timeout:g} s"
            )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _known(self, vm: Vm) -> VmRecord | None:
        record = self.world.records.get(vm.uuid)
        return record if record is not None and record.host == vm.host else None

    def _auto_defined(self, vm: Vm) -> VmRecord | None:
        if not self._auto_define:
            return None
        record = self.world.define_vm(vm.uuid, vm.instance_name, vm.host, root_storage=vm.primary_storage)
        return record if record.host == vm.host else None

    def _own_storage(self, vm: Vm, record: VmRecord | None) -> Storage | None:
        name = vm.primary_storage or (None if record is None else record.root_storage)
        return None if name is None else self._topology.storage(vm.host, name)

    def _drive(self, record: VmRecord) -> DriveContent:
        media = self._media(record)
        if not media:
            return EmptyDrive() if has_slot(record) else NoDrive()
        # Another VM's image first, then the oldest: what still has to go is never hidden by what is right.
        return min(media, key=lambda found: (found.name.vm_uuid == record.uuid, found.name.generation))

    def _surveyed(self, record: VmRecord) -> SurveyedVm:
        return SurveyedVm(record.uuid, record.instance_name, record.power, tuple(dict.fromkeys(self._media(record))))

    def _media(self, record: VmRecord) -> list[Inserted]:
        found = []
        for image, medium in fleet_media(record):
            storage = self._topology.find(record.host, medium.storage)
            found.append(Inserted(image, None if storage is None else storage.place))
        return found


def _host_id(host: HostName) -> str:
    """Return what a simulated host says of itself."""
    return f"simulated/{host}"


def _require_own(vm: Vm, name: ImageName) -> None:
    if name.vm_uuid != vm.uuid:
        raise PermanentError(
            PermanentCode.NOT_ITS_DRIVE, f"the image {name} is not VM {vm.uuid}'s", "a VM gets its own images only"
        )
