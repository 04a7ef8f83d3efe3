"""Paused, suspended and saved VMs, and guests that reset their drives."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import libvirt
import libvirt_qemu
import pytest

from configdrive.errors import FleetError, TransientCode
from configdrive.model import PowerState, Presentation, StoredImage
from configdrive.ports import AttachedHow, EmptyDrive, Inserted, NoDrive
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk, image_at
from tests.support import error_of, find_program, wait_until

if TYPE_CHECKING:
    from configdrive.model import Place, Vm
    from configdrive.ports import Attachment
    from tests.integration.kvm.cloud import Cloud
    from workers.hypervisors.kvm.driver import KvmDriver

HDD = disk(None, "hdd", "ide")
SLEEP = "<pm><suspend-to-mem enabled='yes'/></pm>"

# mov dx,0x604; mov ax,0x2400; out dx,ax; hlt; jmp $-1: asks the chipset for ACPI's S3.
SLEEPER = bytes.fromhex("ba0406b80024eff4ebfd").ljust(510, b"\0") + b"\x55\xaa"


def give(driver: KvmDriver, vm: Vm, home: Place, generation: int = 1) -> Attachment:
    driver.upload(vm, make_image(vm, generation), home)
    return driver.attach(vm, image_name(vm, generation), home)


def guest_sees(cloud: Cloud, vm: Vm) -> list[str]:
    return [drive.path for drive in cloud.drives(vm).values() if drive.path is not None and drive.path.endswith(".iso")]


def test_a_paused_vm_s_drive_is_exchanged_now(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(HDD, running=True)
    cloud.domain(vm).suspend()
    assert driver.observe(vm).power is PowerState.PAUSED
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert attachment.how is AttachedHow.INSERTED
        assert guest_sees(cloud, vm) == [attachment.path]
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []


def test_a_vm_that_sleeps_has_its_drive_exchanged_now(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.new_vm()
    root = cloud.root_disk(vm.uuid)
    root.write_bytes(SLEEPER.ljust(1024 * 1024, b"\0"))
    cloud.define(HDD, vm=vm, root=disk(root, "vda", "virtio", "disk"), after=SLEEP, running=True)
    wait_until(lambda: driver.observe(vm).power is PowerState.SUSPENDED, "the guest to fall asleep", timeout=20)
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert attachment.how is AttachedHow.INSERTED
        assert guest_sees(cloud, vm) == [attachment.path]
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), home)
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []


def test_a_saved_vm_comes_back_with_the_new_medium(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(HDD, running=True)
    give(driver, vm, home, 1)
    cloud.domain(vm).managedSave(0)
    seen = driver.observe(vm)
    assert (seen.power, seen.drive) == (PowerState.SUSPENDED, Inserted(image_name(vm, 1), home))
    with pytest.raises(FleetError) as caught:
        driver.delete(vm, StoredImage(image_name(vm, 1), home))
    assert caught.value.code is TransientCode.IMAGE_IN_USE

    attachment = give(driver, vm, home, 2)
    assert attachment.how is AttachedHow.INSERTED
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), home)
    assert give(driver, vm, home, 2).how is AttachedHow.ALREADY
    driver.delete(vm, StoredImage(image_name(vm, 1), home))

    cloud.start(vm)
    assert driver.observe(vm).power is PowerState.RUNNING
    assert guest_sees(cloud, vm) == [attachment.path]
    assert cloud.media(vm, inactive=True) == {"hdd": attachment.path}


def test_a_saved_state_that_is_damaged_is_named_with_what_to_do(cloud: Cloud, driver: KvmDriver) -> None:
    vm = cloud.define(HDD)
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    cloud.domain(vm).managedSave(0)
    os.truncate(cloud.host.directory / "lib" / "qemu" / "save" / f"{vm.instance_name}.save", 100)
    with pytest.raises(libvirt.libvirtError, match="failed to read domain XML"):
        cloud.start(vm)
    errors = [error_of(look) for look in (lambda: driver.observe(vm), lambda: driver.survey(vm.host))]
    assert {(error.code, vm.instance_name in error.detail) for error in errors} == {(TransientCode.VM_BUSY, True)}
    command = errors[0].remedy.split("virsh ")[1].split()
    subprocess.run([find_program("virsh", "libvirt-clients"), "-c", cloud.host.uri, *command], check=True)
    assert driver.observe(vm).power is PowerState.HALTED


def test_a_saved_vm_s_console_keeps_its_password(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    """libvirt leaves secrets out of a definition unless it is asked for them; here it is written back."""
    console = "<graphics type='vnc' autoport='yes' listen='127.0.0.1' passwd='swordfsh'/>"
    vm = cloud.define(HDD, devices=console)
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    cloud.domain(vm).managedSave(0)
    give(driver, vm, home)
    cloud.start(vm)
    assert "passwd='swordfsh'" in cloud.domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)


def test_an_image_that_only_a_saved_state_has_is_in_use(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(HDD)
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    driver.upload(vm, make_image(vm), home)
    path = cloud.pool / image_at(image_name(vm))
    cloud.domain(vm).updateDeviceFlags(disk(path, "hdd", "ide"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    cloud.domain(vm).managedSave(0)
    assert cloud.media(vm, inactive=True) == {"hdd": None}
    with pytest.raises(FleetError) as caught:
        driver.delete(vm, StoredImage(image_name(vm), home))
    assert caught.value.code is TransientCode.IMAGE_IN_USE


def test_a_saved_vm_comes_back_with_an_empty_drive(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(HDD, running=True)
    give(driver, vm, home)
    cloud.domain(vm).managedSave(0)
    driver.detach(vm)
    assert driver.observe(vm).drive == EmptyDrive()
    driver.delete(vm, StoredImage(image_name(vm), home))
    cloud.start(vm)
    assert guest_sees(cloud, vm) == []


def test_a_saved_vm_without_a_slot_gets_it_with_its_next_boot(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define(running=True)
    cloud.domain(vm).managedSave(0)
    assert driver.observe(vm).drive == NoDrive()
    assert give(driver, vm, home).how is AttachedHow.NEXT_BOOT
    cloud.start(vm)
    assert guest_sees(cloud, vm) == []
    cloud.stop(vm)
    cloud.start(vm)
    assert len(guest_sees(cloud, vm)) == 1


def test_a_saved_vm_keeps_a_disk_until_it_runs_again(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = replace(cloud.define(), presentation=Presentation.DISK)
    give(driver, vm, home)
    cloud.start(vm)
    cloud.domain(vm).managedSave(0)
    with pytest.raises(FleetError) as caught:
        driver.detach(vm)
    assert caught.value.code is TransientCode.VM_BUSY
    assert "managedsave-remove" in caught.value.remedy
    cloud.domain(vm).managedSaveRemove(0)
    driver.detach(vm)
    assert driver.observe(vm).drive == NoDrive()


def test_a_tray_that_the_guest_shut_by_resetting_it_is_no_obstacle(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    """A reset of the bus shuts the tray, of which QEMU notifies nobody: libvirt goes on taking it for open."""
    vm = cloud.define(HDD)
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
    assert guest_sees(cloud, vm) == [attachment.path]
    assert "tray='open'" not in cloud.domain(vm).XMLDesc(0)
    driver.detach(vm)
    assert guest_sees(cloud, vm) == []


def test_a_drive_is_exchanged_while_the_firmware_looks_for_something_to_boot(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    for _ in range(3):
        vm = cloud.define(HDD, running=True)
        for generation in range(1, 8):
            attachment = give(driver, vm, home, generation)
            assert guest_sees(cloud, vm) == [attachment.path]


def test_a_vm_that_ends_while_it_is_looked_at_is_not_there(cloud: Cloud, driver: KvmDriver) -> None:
    vm = cloud.define(HDD, transient=True)
    assert driver.observe(vm).power is PowerState.RUNNING
    cloud.stop(vm)
    assert driver.observe(vm).power is PowerState.UNDEFINED
    driver.detach(vm)
