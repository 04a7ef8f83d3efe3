"""A hypervisor in memory: `HypervisorDriver` on hosts, storages and VMs that are plain objects.

Its storages are the worst that the port allows: they cannot rename, so an upload that dies leaves a half-written file
under the image's name.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import (
    AttachBy,
    HostName,
    HypervisorName,
    Image,
    ImageName,
    Place,
    PowerState,
    StorageName,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.ports import (
    AttachedHow,
    Attachment,
    Check,
    Connections,
    DriveContent,
    EmptyDrive,
    Genuine,
    HypervisorDriver,
    Inserted,
    NoDrive,
    Observation,
    Survey,
    SurveyedVm,
    trusted,
)


class At(Enum):
    """When in a verb something happens."""

    BEFORE = auto()
    DURING = auto()
    AFTER = auto()


@dataclass
class Machine:
    """A VM on its host: the storage of its root disk, its power state, and the medium in its config drive.

    `found` says that the drive is the user's own: it is emptied, never removed.
    """

    host: HostName
    root: StorageName | None
    power: PowerState = PowerState.HALTED
    slot: bool = False
    medium: StoredImage | None = None
    found: bool = False


@dataclass
class Cloud:
    """Everything there is.

    Args:
        shared: storages whose files every host sees.
        local: storages that each host has one of its own of.
        remains: what another host still has of a VM that has left it.
        aliases: other inventory names of a host.
        identities: whether storages say who they are.
        hook: called before, during and after each verb; what it raises comes out of the verb.
    """

    hosts: set[HostName] = field(default_factory=lambda: {HostName("host-1"), HostName("host-2")})
    shared: set[StorageName] = field(default_factory=lambda: {StorageName("primary"), StorageName("second")})
    local: set[StorageName] = field(default_factory=lambda: {StorageName("local")})
    machines: dict[VmUuid, Machine] = field(default_factory=dict)
    remains: list[tuple[VmUuid, Machine]] = field(default_factory=list)
    aliases: dict[HostName, HostName] = field(default_factory=dict)
    identities: bool = False
    files: dict[StoredImage, bytes] = field(default_factory=dict)
    down: set[HostName | StorageName] = field(default_factory=set)
    hook: Callable[[str, At], None] = lambda _verb, _at: None
    verbs: list[str] = field(default_factory=list)

    def place(self, storage: StorageName, host: HostName) -> Place:
        if storage in self.shared:
            return Place(storage, None, f"{storage}" if self.identities else None)
        if storage in self.local:
            return Place(storage, host, f"{storage}@{host}" if self.identities else None)
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, f"there is no storage {storage}")

    def answers(self, place: Place) -> bool:
        known = place.storage in self.shared or (place.storage in self.local and place.host in self.hosts)
        return known and not {place.storage, place.host} & self.down

    def images_of(self, uuid: VmUuid) -> set[StoredImage]:
        return {stored for stored in self.files if stored.name.vm_uuid == uuid}

    def medium(self, uuid: VmUuid) -> bytes | None:
        """The bytes that the VM reads from its config drive."""
        medium = self.machines[uuid].medium
        return None if medium is None else self.files[medium]


class MemoryDriver(HypervisorDriver):
    """The port on a `Cloud`; see `configdrive.ports.HypervisorDriver` for what each verb promises."""

    name = HypervisorName("memory")

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    @override
    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        self._begin("observe", vm.host)
        machine = self._machine(vm)
        storage = vm.primary_storage or (machine.root if machine else None)
        own = None if storage is None else self.cloud.place(storage, vm.host)
        asked = dict.fromkeys([*([] if own is None else [own]), *also])
        unreachable = tuple(place for place in asked if not self.cloud.answers(place))
        images = [
            image
            for image in self.cloud.images_of(vm.uuid)
            if image.place in asked and image.place not in unreachable and (names is None or image.name in names)
        ]
        seen = Observation(
            power=machine.power if machine else PowerState.UNDEFINED,
            storage=own,
            drive=_drive(machine),
            images=tuple(sorted(images, key=repr)),
            unreachable=unreachable,
            media=() if machine is None or machine.medium is None else (machine.medium.name,),
            host_id=self._host_id(vm.host),
            vm_ref=None if machine is None else f"{vm.uuid}@{self._host_id(vm.host)}",
        )
        self.cloud.hook("observe", At.AFTER)
        return seen

    @override
    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        self._begin("upload", place.host or vm.host)
        self._store("upload", vm, StoredImage(image.name, place), image.content)

    @override
    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        self._begin("copy", target.host or vm.host)
        self._require_up(source)
        content = self.cloud.files.get(StoredImage(name, source))
        if content is None or not genuine(hashlib.sha256(content).hexdigest()):
            raise PermanentError(PermanentCode.IMAGE_LOST, f"{source} does not hold {name} as it was made")
        self._store("copy", vm, StoredImage(name, target), content)

    @override
    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        self._begin("attach", vm.host)
        _require_own(vm, name)
        stored = StoredImage(name, place)
        path = f"/{place.storage}/{name}"
        if vm.attach_by is AttachBy.ORCHESTRATOR:
            self.cloud.hook("attach", At.AFTER)
            return Attachment(AttachedHow.ORCHESTRATOR, "cd", path)
        machine = self._machine(vm)
        if machine is None:
            raise PermanentError(PermanentCode.VM_NOT_FOUND, f"{vm.host} does not know VM {vm.uuid}")
        if place.host not in {None, vm.host}:
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, f"{vm.host} does not see {place}")
        if stored not in self.cloud.files:
            raise TransientError(TransientCode.UPLOAD_CORRUPT, f"{place} does not hold {name}")
        how = AttachedHow.INSERTED if machine.slot or machine.power is PowerState.HALTED else AttachedHow.HOT_ADDED
        if machine.medium == stored:
            how = AttachedHow.ALREADY
        added = None if machine.slot else "cd"
        self.cloud.hook("attach", At.DURING)
        machine.slot, machine.medium = True, stored
        self.cloud.hook("attach", At.AFTER)
        return Attachment(how, "cd", path, xml="<disk/>", added=added)

    @override
    def detach(self, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None) -> None:
        self._begin("detach", vm.host)
        machine = self._machine(vm)
        if machine is not None and machine.medium is not None and (media is None or machine.medium.name in media):
            assert not (machine.found and added), "the user's own drive would be removed"
            self.cloud.hook("detach", At.DURING)
            machine.medium, machine.slot = None, added is None
        self.cloud.hook("detach", At.AFTER)

    @override
    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        self._begin("delete", image.place.host or vm.host)
        self._require_up(image.place)
        users = [machine for _, machine in self._everything() if machine.medium == image]
        if any(anyones or machine in self._own(vm, image) for machine in users):
            raise TransientError(TransientCode.IMAGE_IN_USE, f"{image.name} is in a drive")
        self.cloud.hook("delete", At.DURING)
        self.cloud.files.pop(image, None)
        self.cloud.hook("delete", At.AFTER)

    @override
    def host_of(self, host_id: str) -> HostName | None:
        return next((host for host in sorted(self.cloud.hosts) if self._host_id(host) == host_id), None)

    @override
    def survey(self, host: HostName) -> Survey:
        self._begin("survey", host)
        seen = [stored for stored in self.cloud.files if stored.place.host in {None, host}]
        vms = [
            SurveyedVm(uuid, "", machine.power, () if machine.medium is None else (_inserted(machine.medium),))
            for uuid, machine in self._everything()
            if machine.host == host
        ]
        storages = {*(Place(name) for name in self.cloud.shared), *(Place(name, host) for name in self.cloud.local)}
        return Survey(
            images=tuple(stored for stored in seen if self.cloud.answers(stored.place)),
            vms=tuple(vms),
            unreachable=tuple(place for place in storages if not self.cloud.answers(place)),
            host_id=self._host_id(host),
        )

    @override
    def hosts(self) -> Collection[HostName]:
        return sorted(self.cloud.hosts)

    @override
    def check(self, host: HostName) -> Iterator[Check]:
        known = host in self.cloud.hosts - self.cloud.down
        yield Check(f"host {host}", known, "in memory", "" if known else "add it to the cloud")

    @override
    def connections(self) -> Collection[Connections]:
        return ()

    @override
    def close(self) -> None:
        pass

    # --- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, verb: str, host: HostName) -> None:
        self.cloud.verbs.append(verb)
        self.cloud.hook(verb, At.BEFORE)
        if host not in self.cloud.hosts:
            raise PermanentError(PermanentCode.UNKNOWN_HOST, f"host {host} is not in the inventory")
        if host in self.cloud.down:
            raise TransientError(TransientCode.HOST_UNREACHABLE, f"host {host} does not answer")

    def _require_up(self, place: Place) -> None:
        if place.host is not None and place.host not in self.cloud.hosts:
            raise PermanentError(PermanentCode.UNKNOWN_HOST, f"host {place.host} is not in the inventory")
        if {place.storage, place.host} & self.cloud.down:
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, f"storage {place.storage} does not answer")

    def _host_id(self, host: HostName) -> str:
        return f"id-{self.cloud.aliases.get(host, host)}"

    def _machine(self, vm: Vm) -> Machine | None:
        host = self.cloud.aliases.get(vm.host, vm.host)
        here = (machine for uuid, machine in self._everything() if (uuid, machine.host) == (vm.uuid, host))
        return next(here, None)

    def _own(self, vm: Vm, image: StoredImage) -> list[Machine]:
        """Return the VM on its host and the image's; where neither knows it, all that see the image are asked."""
        hosts = (vm.host, image.place.host or vm.host)
        own = [machine for host in hosts if (machine := self._machine(replace(vm, host=host))) is not None]
        if own or image.place.host is not None:
            return own
        for host in sorted(self.cloud.hosts & self.cloud.down):
            raise TransientError(TransientCode.HOST_UNREACHABLE, f"{host} does not answer")
        return [machine for uuid, machine in self._everything() if uuid == vm.uuid]

    def _everything(self) -> Iterator[tuple[VmUuid, Machine]]:
        yield from self.cloud.machines.items()
        yield from self.cloud.remains

    def _store(self, verb: str, vm: Vm, image: StoredImage, content: bytes) -> None:
        _require_own(vm, image.name)
        self.cloud.place(image.place.storage, vm.host)  # there is such a storage
        self._require_up(image.place)
        if self.cloud.files.get(image) != content:
            if image in self.cloud.files and any(machine.medium == image for _, machine in self._everything()):
                raise TransientError(TransientCode.IMAGE_IN_USE, f"{image.name} is in a drive")
            self.cloud.files[image] = content[: len(content) // 2]
            self.cloud.hook(verb, At.DURING)
            self.cloud.files[image] = content
        self.cloud.hook(verb, At.AFTER)


def _drive(machine: Machine | None) -> DriveContent:
    if machine is None or not machine.slot:
        return NoDrive()
    return EmptyDrive() if machine.medium is None else _inserted(machine.medium)


def _inserted(medium: StoredImage) -> Inserted:
    return Inserted(medium.name, medium.place)


def _require_own(vm: Vm, name: ImageName) -> None:
    if name.vm_uuid != vm.uuid:
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, f"{name} is not VM {vm.uuid}'s")
