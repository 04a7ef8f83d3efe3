"""The simulated driver's rig: a world in a folder, and what is done to it past the driver."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from configdrive.model import (
    HostName,
    Image,
    ImageName,
    Place,
    PowerState,
    StorageName,
    Vm,
)
from rigs.simulated.audit import begin_audit
from rigs.simulated.driver import RiggedDriver
from tests.contract.rig import DriverRig, Feature, new_vm
from workers.hypervisors.simulated.drives import CD, USER_CD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


FEATURES = frozenset(Feature)
HOST = HostName("h1")
USER_ISO = "debian-12.iso"


class SimulatedRig:
    """A world with two hosts, a local storage on each and one that both share."""

    def __init__(self, folder: Path) -> None:
        self.host = HOST
        self.home = Place(StorageName("local"), HOST)
        self.second = Place(StorageName("nfs"))
        storages = {"local": {"shared": False}, "nfs": {"shared": True}}
        self._section = {
            "directory": str(folder),
            "hosts": {"h1": {"storages": storages}, "h2": {"storages": storages}},
        }
        self._folder = folder
        begin_audit(folder)
        self._world = self.make_driver().world

    def make_driver(self, *, force_eject: bool = True) -> RiggedDriver:
        return RiggedDriver.from_inventory(self._section, force_eject=force_eject, call_timeout=20.0)

    def define_vm(self, power: PowerState = PowerState.HALTED, *, drive: bool = True, name: str | None = None) -> Vm:
        vm = new_vm("simulated", self.host, name)
        self._world.define_vm(vm.uuid, vm.instance_name, vm.host, power=power, drives={CD: None} if drive else None)
        return vm

    def start_vm(self, vm: Vm) -> None:
        self._world.start_vm(vm.uuid)

    def stop_vm(self, vm: Vm) -> None:
        self._world.stop_vm(vm.uuid)

    def medium(self, vm: Vm) -> bytes | None:
        return self._world.medium(vm.uuid)

    def is_read_only(self, vm: Vm) -> bool:
        record = self._world.vm(vm.uuid)
        assert record is not None
        return all(self._images(medium.storage, medium.file).stat().st_mode & 0o222 == 0 for medium in record.media)

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        self._world.insert(vm.uuid, place.storage, str(name))

    def insert_user_iso(self, vm: Vm) -> None:
        self._world.insert(vm.uuid, StorageName("nfs"), USER_ISO, USER_CD)

    def has_user_iso(self, vm: Vm) -> bool:
        record = self._world.vm(vm.uuid)
        assert record is not None
        seen = [drives.get(USER_CD) for drives in ((record.live, record.config) if record.active else (record.config,))]
        return all(medium is not None and medium.file == USER_ISO for medium in seen)

    def lock_tray(self, vm: Vm) -> None:
        self._world.lock_tray(vm.uuid)

    def put_file(self, place: Place, file_name: str, content: bytes) -> None:
        path = self._images(place.storage, file_name)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def file(self, place: Place, name: ImageName) -> bytes | None:
        path = self._images(place.storage, str(name))
        return path.read_bytes() if path.exists() else None

    def stamp(self, place: Place, name: ImageName) -> object:
        found = self._images(place.storage, str(name)).stat()
        return found.st_ino, found.st_mtime_ns

    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.put_file(place, f"{image.name}.part", image.content[: len(image.content) // 2])

    def leftovers(self, vm: Vm) -> list[str]:
        return [path.name for path in self._world.files() if vm.uuid in path.name]

    @contextmanager
    def host_down(self) -> Iterator[None]:
        self._world.set_host_up(self.host, up=False)
        try:
            yield
        finally:
            self._world.set_host_up(self.host, up=True)

    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        record = self._folder / "vms" / f"{vm.uuid}.json"
        images = self._images("local", "")
        return {
            "the VM's record is no JSON": _replaced(record, lambda path: path.write_text("{")),
            "the VM's record lacks its drives": _replaced(record, lambda path: path.write_text('{"uuid": "x"}')),
            "the VM's record is a folder": _replaced(record, lambda path: path.mkdir()),
            "the VM's lock is a folder": _replaced(self._folder / "locks" / vm.uuid, lambda path: path.mkdir()),
            "the storage is gone": _replaced(images, lambda _: None),
            "the storage is a file": _replaced(images, lambda path: path.touch()),
            "an image is a folder": _replaced(
                images / f"{vm.instance_name}.{vm.uuid}.1.iso", lambda path: path.mkdir()
            ),
            "the faults are gone": _replaced(self._folder / "faults", lambda _: None),
            "a fault is no JSON": _replaced(self._folder / "faults" / "1.json", lambda path: path.write_text("{")),
        }

    def _images(self, storage: str, file_name: str) -> Path:
        above = self._folder / "shared" if storage == "nfs" else self._folder / "hosts" / self.host
        return above / storage / "configdrive" / file_name


@contextmanager
def _replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    aside = path.with_name(f"{path.name}.aside")
    if path.exists():
        path.rename(aside)
    make(path)
    try:
        yield
    finally:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        if aside.exists():
            aside.rename(path)


@contextmanager
def open_rig(folder: Path) -> Iterator[DriverRig]:
    yield SimulatedRig(folder / "world")
