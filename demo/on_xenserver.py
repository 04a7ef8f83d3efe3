"""The stage on XenServer: a pool of two hosts that answers as XAPI does. No guest boots, its CD drive is read."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from configdrive.model import IMAGE_FOLDER, HypervisorName
from demo.stage import Reading, Stage
from rigs.iso_files import read_iso
from rigs.xapi import XapiPool, XapiSite

HOSTS = ("xs-01", "xs-02")


class XenServerStage(Stage):
    """A pool with one VM on NFS; the guest's reading is done by reading the CD in the drive that it would see."""

    hypervisor = HypervisorName("xenserver")
    host = HOSTS[0]
    about = "XenServer: a stand-in that answers as xapi 23.14 does, over TLS; no guest boots, its CD drive is read"
    reads = "in the VM's CD drive"

    def __init__(self, pool: XapiPool) -> None:
        self.vm_uuid = str(uuid.uuid4())
        self.instance_name = "i-2-42-VM"
        self._pool = pool
        self._site = XapiSite(pool)
        storage = self._site.add_nfs_sr("primary")
        self._images = self._site.export("nfs1", f"/export/primary/{storage}/{IMAGE_FOLDER}")
        self._site.define_vm(self.instance_name, storage, uuid=self.vm_uuid)

    @override
    def inventory(self) -> str:
        """The pool and its hosts; the certificates are signed by the pool's own authority."""
        return self._pool.inventory_text()

    @override
    def power_on(self) -> Reading:
        """Start the VM, and read the CD that XAPI says is in its drive."""
        self._site.start_vm(self.vm_uuid, self.host)
        drives = [drive for drive in self._site.drives(self.vm_uuid) if drive.kind == "CD" and drive.attached]
        files = next((read_iso(drive.content) for drive in drives if drive.content is not None), {})
        return Reading("\n".join(sorted(files)), files)

    @override
    def power_off(self) -> None:
        """Shut the VM down, hard."""
        self._site.stop_vm(self.vm_uuid)

    @override
    def images(self) -> list[str]:
        """Look into the export itself, not through XAPI."""
        return sorted(path.name for path in self._images.iterdir())


@contextlib.contextmanager
def xenserver_stage(directory: Path) -> Iterator[Stage]:
    """Set the stage, and clear it at the end."""
    with XapiPool(directory / "pool", HOSTS) as pool:
        yield XenServerStage(pool)
