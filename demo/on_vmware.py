"""The stage on VMware: a simulated vCenter with two hosts. No guest boots, its CD drive is read."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from configdrive.model import IMAGE_FOLDER, HypervisorName
from demo.stage import Reading, Stage
from rigs.iso_files import read_iso
from rigs.process import RigUnavailable
from rigs.vcsim.server import VCenter

DATASTORE = "primary"
HOSTS = ("esx-01", "esx-02")


class VmwareStage(Stage):
    """A vCenter with one VM; the guest's reading is done by reading the ISO in the drive that it would see."""

    hypervisor = HypervisorName("vmware")
    host = HOSTS[0]
    about = "VMware: govmomi's vCenter simulator behind a strict HTTPS front; no guest boots, its CD drive is read"
    reads = "in the VM's CD drive"

    def __init__(self, center: VCenter) -> None:
        from rigs.vcsim.cloud import Cloud  # noqa: PLC0415  # needs pyvmomi

        self.vm_uuid = str(uuid.uuid4())
        self.instance_name = "i-2-42-VM"
        self._center = center
        self.cloud = Cloud(center)
        self.cloud.define(self.vm_uuid, self.instance_name, datastore=DATASTORE, drive=False)

    @override
    def inventory(self) -> str:
        """The vCenter and its hosts; its certificate is signed by the rig's own authority."""
        return self._center.inventory_text({host: {"esxi": host} for host in HOSTS})

    @override
    def power_on(self) -> Reading:
        """Power the VM on, and read what is in its CD drive."""
        self.cloud.start(self.instance_name)
        media = self.cloud.media(self.instance_name).values()
        files = next((read_iso(self.cloud.file(path).read_bytes()) for path in media), {})
        return Reading("\n".join(sorted(files)), files)

    @override
    def power_off(self) -> None:
        """Power the VM off, hard."""
        self.cloud.stop(self.instance_name)

    @override
    def images(self) -> list[str]:
        """Look into the datastore's directory itself, not through the vCenter."""
        return sorted(path.name for path in (self._center.datastore(DATASTORE) / IMAGE_FOLDER).glob("*"))


@contextlib.contextmanager
def vmware_stage(directory: Path) -> Iterator[Stage]:
    """Set the stage, and clear it at the end.

    Raises:
        RigUnavailable: Go, govmomi or pyvmomi is missing; the message says which.
    """
    with VCenter(directory / "vcenter", {DATASTORE: HOSTS}, hosts=HOSTS) as center:
        try:
            stage = VmwareStage(center)
        except ImportError as error:
            raise RigUnavailable(f"{error.name} is not installed") from error
        with contextlib.closing(stage.cloud):
            yield stage
