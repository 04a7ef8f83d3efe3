"""The simulated driver's rig: a world in a folder, and what is done to it past the driver."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from configdrive.model import Image, ImageName, Place, PowerState, Vm
from rigs.simulated.driver import RiggedDriver
from tests.contract.rig import DriverRig, ImageFiles, image_name, new_vm, replaced
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, H1, NFS, SHARED, Cloud
from workers.hypervisors.simulated.drives import CD, USER_CD

USER_ISO = "debian-12.iso"


class SimulatedRig:
    """A world with two hosts, a local storage on each and one that both share."""

    def __init__(self, folder: Path) -> None:
        self.host, self.home, self.second = H1, AT_H1, SHARED
        self.files = ImageFiles(
            {AT_H1: folder / "hosts" / H1 / "local" / "configdrive", SHARED: folder / "shared" / "nfs" / "configdrive"}
        )
        self._folder = folder
        self._cloud = Cloud(folder)
        self._world = self._cloud.world

    def make_driver(self, *, force_eject: bool = True) -> RiggedDriver:
        return self._cloud.make_driver(force_eject=force_eject, call_timeout=20.0)

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
        modes = [self.files.path(self.home, medium.file).stat().st_mode for medium in self._cloud.record(vm).media]
        return all(mode & 0o222 == 0 for mode in modes)

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        self._world.insert(vm.uuid, place.storage, str(name))

    def insert_user_iso(self, vm: Vm) -> None:
        self._world.insert(vm.uuid, NFS, USER_ISO, USER_CD)

    def has_user_iso(self, vm: Vm) -> bool:
        record = self._cloud.record(vm)
        seen = [drives.get(USER_CD) for drives in ((record.live, record.config) if record.active else (record.config,))]
        return all(medium is not None and medium.file == USER_ISO for medium in seen)

    def lock_tray(self, vm: Vm) -> None:
        self._world.lock_tray(vm.uuid)

    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.files.put(place, f"{image.name}.part", image.content[: len(image.content) // 2])

    @contextmanager
    def host_down(self) -> Iterator[None]:
        self._world.set_host_up(self.host, up=False)
        try:
            yield
        finally:
            self._world.set_host_up(self.host, up=True)

    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        record = self._folder / "vms" / f"{vm.uuid}.json"
        image = self.files.path(self.home, str(image_name(vm)))
        return {
            "the VM's record is no JSON": replaced(record, lambda path: path.write_text("{")),
            "the VM's record lacks its drives": replaced(record, lambda path: path.write_text('{"uuid": "x"}')),
            "the VM's record is a folder": replaced(record, lambda path: path.mkdir()),
            "the VM's lock is a folder": replaced(self._folder / "locks" / vm.uuid, lambda path: path.mkdir()),
            "the storage is gone": replaced(image.parent, lambda _: None),
            "the storage is a file": replaced(image.parent, lambda path: path.touch()),
            "an image is a folder": replaced(image, lambda path: path.mkdir()),
            "the faults are gone": replaced(self._folder / "faults", lambda _: None),
            "a fault is no JSON": replaced(self._folder / "faults" / "1.json", lambda path: path.write_text("{")),
        }


@contextmanager
def _open(folder: Path) -> Iterator[DriverRig]:
    yield SimulatedRig(folder / "world")


RIGS = {"simulated": _open}
