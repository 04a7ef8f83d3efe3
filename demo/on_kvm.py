"""The stage on KVM: a private libvirtd, QEMU, and a small Linux guest that prints what it reads on its console."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from configdrive.model import IMAGE_FOLDER, HypervisorName
from demo.stage import Reading, Stage
from rigs.guest import Disk, GuestKernel, domain_xml, wait_for_report
from rigs.libvirt import LibvirtHost
from rigs.process import wait_until

POOL = "primary"


class KvmStage(Stage):
    """One KVM host with one VM."""

    hypervisor = HypervisorName("kvm")
    host = "kvm-01"
    about = "KVM: a private libvirtd with QEMU (emulated CPU), and a small real Linux guest"
    reads = "the guest, on its serial console"

    def __init__(self, rig: LibvirtHost, guest: GuestKernel, directory: Path) -> None:
        self.vm_uuid = str(uuid.uuid4())
        self.instance_name = "i-2-42-VM"
        self._rig = rig
        self._pool = directory / POOL
        self._console = directory / "console.log"
        rig.define_pool(POOL, self._pool)
        disk = rig.create_disk(POOL, "root.qcow2")
        disks = [Disk("vda", "virtio", disk, "qcow2"), Disk("hdd", "ide", cdrom=True)]
        rig.define_domain(domain_xml(self.instance_name, self.vm_uuid, guest, self._console, disks=disks))

    @override
    def inventory(self) -> str:
        """One host, reached over its Unix socket."""
        return f'[kvm.hosts.{self.host}]\nuri = "{self._rig.unix_uri}"\n'

    @override
    def power_on(self) -> Reading:
        """Boot the guest; its first report is what it read."""
        with self._rig.connection() as connection:
            connection.lookupByUUIDString(self.vm_uuid).create()
        report = wait_for_report(self._console)
        return Reading(report.session, report.files)

    @override
    def power_off(self) -> None:
        """Pull the plug."""
        with self._rig.connection() as connection:
            domain = connection.lookupByUUIDString(self.vm_uuid)
            domain.destroy()
            wait_until(lambda: not domain.isActive(), "the VM to be off", timeout=10)

    @override
    def images(self) -> list[str]:
        """Look into the pool's folder itself, not through libvirt. Beside the images, the storage's id lies there."""
        return sorted(path.name for path in (self._pool / IMAGE_FOLDER).rglob("*.iso*"))


@contextlib.contextmanager
def kvm_stage(directory: Path) -> Iterator[Stage]:
    """Set the stage, and clear it at the end.

    Raises:
        RigUnavailable: this machine cannot run it; the message says why.
    """
    guest = GuestKernel.prepare()
    with LibvirtHost(directory / "h", KvmStage.host) as rig:
        yield KvmStage(rig, guest, directory)
