"""The simulated driver with faults that are injected, and an audit log of what was done."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from configdrive.errors import FleetError
from configdrive.model import HostName, ImageName, Place, VmUuid
from rigs.iso_files import read_iso
from rigs.simulated.audit import AuditLog, Fact, Mark
from rigs.simulated.faults import Faults, Point, Spot
from rigs.simulated.world import LivelyWorld
from workers.hypervisors.simulated.driver import SimulatedDriver
from workers.hypervisors.simulated.image_folder import Storage
from workers.hypervisors.simulated.images import Images
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.topology import Hosts, Topology
from workers.hypervisors.simulated.vms import Drives, Records, VmRecord
from workers.hypervisors.simulated.world import World, WorldError


class RiggedWorld(LivelyWorld):
    """A world whose changes are written down; see `World`."""

    def __init__(self, directory: Path, hosts: Hosts) -> None:
        super().__init__(directory, hosts)
        self.faults = Faults(directory)
        self.audit = AuditLog(directory)
        self.records = _KeepingRecords(directory, self.topology, self.audit)

    @override
    def prepare(self) -> None:
        super().prepare()
        self.faults.prepare()

    def read_drive(self, uuid: VmUuid) -> dict[str, bytes]:
        """Read the config drive of a running VM as its guest would: each file by its path; empty without a medium.

        Raises:
            WorldError: no such VM, it is off, or the file has vanished under it.
        """
        record = self.records.get(uuid)
        if record is None or not record.active:
            raise WorldError(f"VM {uuid} is off: it has no guest")
        image = self.medium(uuid)
        return {} if image is None else read_iso(image)

    @override
    @contextmanager
    def change(self, verb: str, uuid: VmUuid, timeout: float) -> Iterator[VmRecord | None]:
        with super().change(verb, uuid, timeout) as before:
            yield before
            if self.audit.enabled:
                after = self.records.get(uuid)
                if after != before:
                    self.audit.write(verb, Mark.CHANGE, uuid, before=_fact(before), after=_fact(after))


class _KeepingRecords(Records):
    """Keeps each image before it comes into a drive."""

    def __init__(self, root: Path, topology: Topology, audit: AuditLog) -> None:
        super().__init__(root)
        self._topology = topology
        self._audit = audit

    @override
    def put(self, record: VmRecord) -> None:
        for medium in record.media:
            storage = self._topology.find(record.host, medium.storage)
            if storage is not None and medium.image is not None:
                self._audit.keep(storage.folder / medium.file)
        super().put(record)


class _AuditedImages(Images):
    """Writes down which files come and go."""

    @override
    def _changed(self, vm: VmUuid, name: ImageName, storage: Storage, before: int | None, after: int | None) -> None:
        if isinstance(self._world, RiggedWorld):
            verb = Verb.DELETE if after is None else Verb.UPLOAD
            was, is_ = _size(before), _size(after)
            self._world.audit.write(verb, Mark.CHANGE, vm, image=str(name), place=storage.place, before=was, after=is_)


class RiggedDriver(SimulatedDriver):
    """The driver of a `RiggedWorld`."""

    world: RiggedWorld  # type: ignore[mutable-override]  # which `world_type` makes it
    world_type: ClassVar[type[World]] = RiggedWorld
    images_type: ClassVar[type[Images]] = _AuditedImages

    @override
    @contextmanager
    def _call(
        self,
        verb: Verb,
        vm: VmUuid | None,
        host: HostName,
        image: ImageName | None = None,
        place: Place | None = None,
    ) -> Iterator[None]:
        with self._audited(verb, vm, image, place), super()._call(verb, vm, host, image, place):
            self._fire(verb, Point.BEFORE, vm, host, place)
            yield
            self._fire(verb, Point.AFTER, vm, host, place)

    @override
    def _arrive(self, verb: Verb, vm: VmUuid, host: HostName, place: Place) -> None:
        self._fire(verb, Point.MIDDLE, vm, host, place)

    @override
    def _halfway(self, verb: Verb, vm: VmUuid, host: HostName) -> None:
        self._fire(verb, Point.MIDDLE, vm, host)

    @override
    def close(self) -> None:
        self.world.audit.close()

    def _fire(self, verb: Verb, point: Point, vm: VmUuid | None, host: HostName, place: Place | None = None) -> None:
        storage = None if place is None else place.storage
        self.world.faults.fire(verb, point, Spot(vm, host, storage), self._wait)

    @contextmanager
    def _audited(self, verb: Verb, vm: VmUuid | None, image: ImageName | None, place: Place | None) -> Iterator[None]:
        file = None if image is None else str(image)
        log = partial(self.world.audit.write, verb, vm=vm or "", image=file, place=place)
        log(Mark.BEGIN)
        try:
            yield
        except BaseException as error:
            log(Mark.END, error=error.code if isinstance(error, FleetError) else type(error).__name__)
            raise
        log(Mark.END)


def _size(size: int | None) -> Fact | None:
    return None if size is None else {"bytes": size}


def _fact(record: VmRecord | None) -> Fact | None:
    if record is None:
        return None
    return {
        "host": record.host,
        "power": record.power.value,
        "live": _files(record.live),
        "config": _files(record.config),
    }


def _files(drives: Drives) -> dict[str, str | None]:
    return {device: None if medium is None else f"{medium.storage}/{medium.file}" for device, medium in drives.items()}
