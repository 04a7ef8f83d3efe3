"""Paused, suspended and saved VMs, and guests that reset their drives."""

import os
import subprocess
from dataclasses import replace
from functools import partial

import libvirt
import libvirt_qemu
import pytest

from configdrive.errors import TransientCode
from configdrive.model import Place, PowerState, Presentation, StoredImage
from configdrive.ports import AttachedHow, EmptyDrive, Inserted, NoDrive
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HDD, Cloud, disk, give, image_at
from tests.support import error_of, find_program, wait_until
from workers.hypervisors.kvm.driver import KvmDriver

SLEEP = "<pm><suspend-to-mem enabled='yes'/></pm>"

# mov dx,0x604; mov ax,0x2400; out dx,ax; hlt; jmp $-1: asks the chipset for ACPI's S3.
SLEEPER = bytes.fromhex("ba0406b80024eff4ebfd").ljust(510, b"\0") + b"\x55\xaa"


@pytest.mark.parametrize("power", [PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED])
def test_a_drive_is_exchanged_and_emptied_now(cloud: Cloud, driver: KvmDriver, home: Place, power: PowerState) -> None:
    """Of a VM that is paused, or sleeps, or runs without a definition."""
    vm = cloud.new_vm()
    root = cloud.root_disk(vm.uuid)
    root.write_bytes(SLEEPER.ljust(1024 * 1024, b"\0"))
    element, asleep = disk(root, "vda", "virtio", "disk"), power is PowerState.SUSPENDED
    transient = power is PowerState.RUNNING
    cloud.define(HDD, vm=vm, root=element, after=SLEEP, running=True, transient=transient, bios=asleep)
    if power is PowerState.PAUSED:
        cloud.domain(vm).suspend()
    wait_until(lambda: driver.observe(vm).power is power, "the guest to fall asleep", timeout=20)
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert attachment.how is AttachedHow.INSERTED
        assert cloud.guest_sees(vm) == [attachment.path]
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), home)
    driver.detach(vm)
    assert (cloud.guest_sees(vm), cloud.media(vm)) == ([], {"hdd": None})


def test_a_saved_vm_comes_back_with_the_new_medium_and_then_with_an_empty_drive(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    """And its console with its password: libvirt leaves secrets out of what is written back, unless it is asked."""
    console = "<graphics type='vnc' autoport='yes' listen='127.0.0.1' passwd='swordfsh'/>"
    vm = cloud.define(HDD, devices=console, running=True)
    give(driver, vm, home, 1)
    cloud.domain(vm).managedSave(0)
    seen = driver.observe(vm)
    assert (seen.power, seen.drive) == (PowerState.SUSPENDED, Inserted(image_name(vm, 1), home))
    assert error_of(driver.delete, vm, StoredImage(image_name(vm, 1), home)).code is TransientCode.IMAGE_IN_USE

    attachment = give(driver, vm, home, 2)
    assert attachment.how is AttachedHow.INSERTED
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), home)
    assert give(driver, vm, home, 2).how is AttachedHow.ALREADY
    driver.delete(vm, StoredImage(image_name(vm, 1), home))

    cloud.start(vm)
    assert driver.observe(vm).power is PowerState.RUNNING
    assert cloud.guest_sees(vm) == [attachment.path]
    assert cloud.media(vm, inactive=True) == {"hdd": attachment.path}
    assert "passwd='swordfsh'" in cloud.domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)

    cloud.domain(vm).managedSave(0)
    driver.detach(vm)
    assert driver.observe(vm).drive == EmptyDrive()
    driver.delete(vm, StoredImage(image_name(vm, 2), home))
    cloud.start(vm)
    assert cloud.guest_sees(vm) == []


def test_a_saved_state_that_is_damaged_is_named_with_what_to_do(cloud: Cloud, driver: KvmDriver) -> None:
    vm = cloud.define(HDD, running=True)
    cloud.domain(vm).managedSave(0)
    os.truncate(cloud.host.directory / "lib" / "qemu" / "save" / f"{vm.instance_name}.save", 100)
    with pytest.raises(libvirt.libvirtError, match="failed to read domain XML"):
        cloud.start(vm)
    errors = [error_of(look) for look in (lambda: driver.observe(vm), lambda: driver.survey(vm.host))]
    assert {(error.code, vm.instance_name in error.detail) for error in errors} == {(TransientCode.VM_BUSY, True)}
    command = errors[0].remedy.split("virsh ")[1].split()
    subprocess.run([find_program("virsh", "libvirt-clients"), "-c", cloud.host.uri, *command], check=True)
    assert driver.observe(vm).power is PowerState.HALTED


def test_an_image_that_only_a_saved_state_has_is_in_use(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(HDD, running=True)
    driver.upload(vm, make_image(vm), home)
    path = cloud.pool / image_at(image_name(vm))
    cloud.domain(vm).updateDeviceFlags(disk(path, "hdd", "ide"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    cloud.domain(vm).managedSave(0)
    assert cloud.media(vm, inactive=True) == {"hdd": None}
    assert error_of(driver.delete, vm, StoredImage(image_name(vm), home)).code is TransientCode.IMAGE_IN_USE


def test_a_saved_vm_without_a_slot_gets_it_with_its_next_boot(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(running=True)
    cloud.domain(vm).managedSave(0)
    assert driver.observe(vm).drive == NoDrive()
    assert give(driver, vm, home).how is AttachedHow.NEXT_BOOT
    cloud.start(vm)
    assert cloud.guest_sees(vm) == []
    cloud.stop(vm)
    cloud.start(vm)
    assert len(cloud.guest_sees(vm)) == 1


def test_a_saved_vm_keeps_a_disk_until_it_runs_again(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = replace(cloud.define(), presentation=Presentation.DISK)
    give(driver, vm, home)
    cloud.start(vm)
    cloud.domain(vm).managedSave(0)
    failure = error_of(driver.detach, vm)
    assert (failure.code, "managedsave-remove" in failure.remedy) == (TransientCode.VM_BUSY, True)
    cloud.domain(vm).managedSaveRemove(0)
    driver.detach(vm)
    assert driver.observe(vm).drive == NoDrive()


def test_a_tray_that_the_guest_shut_by_resetting_it_is_no_obstacle(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    """A reset of the bus shuts the tray, of which QEMU notifies nobody: libvirt goes on taking it for open."""
    vm = cloud.define(HDD, bios=True)
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    give(driver, vm, home, 1)
    opened = '{"execute":"blockdev-open-tray","arguments":{"id":"ide0-1-1"}}'
    libvirt_qemu.qemuMonitorCommand(cloud.domain(vm), opened, 0)
    cloud.domain(vm).resume()  # the firmware begins with a reset
    blocks = partial(libvirt_qemu.qemuMonitorCommand, cloud.domain(vm), "info block", 1)
    wait_until(lambda: "tray closed" in blocks(), "the firmware to reset the drive", timeout=20)
    assert "tray='open'" in cloud.domain(vm).XMLDesc(0)
    with pytest.raises(libvirt.libvirtError, match="is not open"):
        cloud.domain(vm).updateDeviceFlags(HDD, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    attachment = give(driver, vm, home, 2)
    assert cloud.guest_sees(vm) == [attachment.path]
    assert "tray='open'" not in cloud.domain(vm).XMLDesc(0)
    driver.detach(vm)
    assert cloud.guest_sees(vm) == []


def test_a_drive_is_exchanged_while_the_firmware_looks_for_something_to_boot(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    for _ in range(3):
        vm = cloud.define(HDD, running=True, bios=True)
        for generation in range(1, 8):
            attachment = give(driver, vm, home, generation)
            assert cloud.guest_sees(vm) == [attachment.path]
