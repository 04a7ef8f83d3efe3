"""The cloud that these tests work on: hosts h1 and h2, each with a local storage, and one that both share."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from configdrive.errors import Code
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    Image,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    StorageName,
    Vm,
    VmUuid,
)
from rigs.simulated.audit import Entry, begin_audit, read_audit
from rigs.simulated.driver import RiggedDriver, RiggedWorld
from rigs.simulated.faults import Fault
from tests.contract.rig import failure_of, verbs
from workers.hypervisors.simulated.drives import CD
from workers.hypervisors.simulated.vms import VmRecord

H1, H2 = HostName("h1"), HostName("h2")
LOCAL, NFS = StorageName("local"), StorageName("nfs")
AT_H1, AT_H2, SHARED = Place(LOCAL, H1), Place(LOCAL, H2), Place(NFS)


class Cloud:
    """A world in a folder, and its driver."""

    def __init__(self, folder: Path, *, audit: bool = True, keep: bool = False, **section: object) -> None:
        if audit:
            begin_audit(folder, keep=keep)
        storages = {"local": {"shared": False}, "nfs": {"shared": True}}
        self.folder = folder
        self.section: dict[str, object] = {
            "directory": str(folder),
            "hosts": {"h1": {"storages": storages}, "h2": {"storages": storages}},
            **section,
        }
        self.driver = self.make_driver()

    @property
    def world(self) -> RiggedWorld:
        return self.driver.world

    def make_driver(self, *, force_eject: bool = True, call_timeout: float = 5.0) -> RiggedDriver:
        return RiggedDriver.from_inventory(self.section, force_eject=force_eject, call_timeout=call_timeout)

    def define(self, power: PowerState = PowerState.HALTED, *, persistent: bool = True, hot_add: bool = True) -> Vm:
        vm = unknown_vm()
        self.world.define_vm(
            vm.uuid, vm.instance_name, vm.host, power=power, persistent=persistent, hot_add=hot_add, drives={CD: None}
        )
        return vm

    def give(self, vm: Vm, generation: int = 1, place: Place = AT_H1) -> ImageName:
        image = make_image(vm, generation)
        self.driver.upload(vm, image, place)
        self.driver.attach(vm, image.name, place)
        return image.name

    def record(self, vm: Vm) -> VmRecord:
        record = self.world.vm(vm.uuid)
        assert record is not None
        return record

    def inject(self, fault: Fault) -> None:
        self.world.faults.inject(fault)

    def names(self) -> list[str]:
        return [path.name for path in self.world.files()]

    def audit(self) -> list[Entry]:
        return list(read_audit(self.folder))


def work(folder: Path, vm: Vm, steps: Sequence[str], *, generation: int = 1, rounds: int = 1) -> set[Code]:
    """Do these verbs to a VM, in whatever process this is; returns the codes of the errors."""
    calls = verbs(Cloud(folder).driver, vm, make_image(vm, generation), AT_H1, SHARED)
    failures = [failure_of(calls[step]) for _ in range(rounds) for step in steps]
    return {failure.code for failure in failures if failure is not None}


def processes(count: int) -> ProcessPoolExecutor:
    """Return processes to work in."""
    return ProcessPoolExecutor(count, get_context("spawn"))


def unknown_vm(host: HostName = H1) -> Vm:
    return Vm(VmUuid(str(uuid.uuid4())), InstanceName("i-2-14-VM"), HypervisorName("simulated"), host)


def make_image(vm: Vm, generation: int = 1, content: bytes | None = None) -> Image:
    name = ImageName.of(vm.instance_name, vm.uuid, Generation(generation))
    return Image(name, "config", content or str(name).encode() * 5000, sha256="")
