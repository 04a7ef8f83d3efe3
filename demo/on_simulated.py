"""The stage without a hypervisor: a directory that behaves like one. For machines that cannot run KVM guests."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from configdrive.model import IMAGE_FOLDER, HostName, HypervisorName, InstanceName, StorageName, VmUuid
from demo.stage import Reading, Stage
from rigs.iso_files import read_iso
from rigs.simulated.world import LivelyWorld
from workers.hypervisors.simulated.topology import StorageSpec

STORAGE = StorageName("primary")


class SimulatedStage(Stage):
    """One simulated host with one VM; the guest's reading is done by reading the image that is in its drive."""

    hypervisor = HypervisorName("simulated")
    host = "host-01"
    about = "simulated: a directory that behaves like a hypervisor; no guest boots, the image in the drive is read"
    reads = "in the image that is in the VM's drive"

    def __init__(self, directory: Path) -> None:
        self.vm_uuid = str(uuid.uuid4())
        self.instance_name = "i-2-42-VM"
        self._directory = directory
        self._world = LivelyWorld(directory, {HostName(self.host): {STORAGE: StorageSpec()}})
        self._world.prepare()
        self._world.define_vm(VmUuid(self.vm_uuid), InstanceName(self.instance_name), HostName(self.host))

    @override
    def inventory(self) -> str:
        """One host with one storage."""
        return (
            f'[simulated]\ndirectory = "{self._directory}"\n'
            f"[simulated.hosts.{self.host}]\nstorages = {{ {STORAGE} = {{}} }}\n"
        )

    @override
    def power_on(self) -> Reading:
        """Switch the VM on and read what is in its drive."""
        self._world.start_vm(VmUuid(self.vm_uuid))
        image = self._world.medium(VmUuid(self.vm_uuid))
        files = {} if image is None else read_iso(image)
        return Reading("\n".join(sorted(files)), files)

    @override
    def power_off(self) -> None:
        """Switch the VM off."""
        self._world.stop_vm(VmUuid(self.vm_uuid))

    @override
    def images(self) -> list[str]:
        """Look into the directory itself."""
        return sorted(path.name for path in self._directory.glob(f"**/{IMAGE_FOLDER}/*.iso"))


@contextlib.contextmanager
def simulated_stage(directory: Path) -> Iterator[Stage]:
    """Set the stage; there is nothing to clear but the directory."""
    yield SimulatedStage(directory / "world")
