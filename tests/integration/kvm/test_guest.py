"""A real Linux reads what the driver has put into its drive, and lets go of what the driver takes away."""

from dataclasses import replace
from pathlib import Path

from configdrive.iso.build import build
from configdrive.model import Place, Presentation, StoredImage
from configdrive.ports import AttachedHow
from rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_report
from tests.contract.rig import image_name
from tests.integration.kvm.cloud import Cloud
from tests.support import require_rig
from workers.hypervisors.kvm.driver import KvmDriver

CD, DISK = Presentation.AUTO, Presentation.DISK


def test_a_guest_reads_each_medium_and_lets_go_of_it(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    """A CD from its start, the next one while it runs, then disks that are plugged in and out."""
    with require_rig():
        guest = GuestKernel.prepare()
    vm, console = cloud.new_vm(), tmp_path / "console"
    disks, machine = [Disk("vda", "virtio", cloud.root_disk(vm.uuid))], Machine(type="q35", wait=0)
    cloud.connection.defineXML(domain_xml(vm.instance_name, vm.uuid, guest, console, disks=disks, machine=machine))
    for generation, presentation, how, seen_as in (
        (1, CD, AttachedHow.INSERTED, "/dev/sr0"),
        (2, CD, AttachedHow.INSERTED, "/dev/sr0"),
        (3, DISK, AttachedHow.HOT_ADDED, "/dev/vd"),
        (4, DISK, AttachedHow.HOT_ADDED, "/dev/vd"),
    ):
        name, files = image_name(vm, generation), {"cloudstack/metadata/vm_id.txt": str(generation).encode()}
        driver.upload(vm, build(name, files, label="config", built_at=1_700_000_000), home)
        attachment = driver.attach(replace(vm, presentation=presentation), name, home)
        if generation == 1:
            cloud.start(vm)
        report = wait_for_report(console, generation)
        assert (attachment.how, report.files) == (how, files)
        assert report.device.startswith(seen_as)
        assert "ro" in report.mount_options
        if presentation is CD:
            driver.delete(vm, StoredImage(image_name(vm, generation - 1), home))
    driver.detach(replace(vm, presentation=DISK))
    assert set(cloud.media(vm).values()) | set(cloud.media(vm, inactive=True).values()) <= {None}
    for generation in (2, 3, 4):
        driver.delete(vm, StoredImage(image_name(vm, generation), home))
