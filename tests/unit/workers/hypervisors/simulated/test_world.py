"""What the simulated world does and refuses, as a real hypervisor would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configdrive.iso.build import build
from configdrive.model import PowerState, StoredImage
from configdrive.ports import AttachedHow, Inserted
from tests.unit.workers.hypervisors.simulated.cloud import (
    AT_H1,
    AT_H2,
    H2,
    LOCAL,
    NFS,
    SHARED,
    Cloud,
    make_image,
    unknown_vm,
)
from workers.hypervisors.simulated.drives import CD, USER_CD
from workers.hypervisors.simulated.vms import Medium
from workers.hypervisors.simulated.world import WorldError

FILES = {
    "cloudstack/metadata/availability_zone.txt": b"zone1",
    "cloudstack/metadata/public-keys.txt": b"ssh-ed25519 AAAA me",
    "cloudstack/userdata/user_data.txt": bytes(range(256)),
}


def test_a_guest_reads_its_drive_under_the_names_that_linux_shows(cloud: Cloud) -> None:
    vm = cloud.define()
    image = build(make_image(vm).name, FILES, label="config", built_at=0)
    cloud.driver.upload(vm, image, AT_H1)
    cloud.driver.attach(vm, image.name, AT_H1)
    cloud.world.start_vm(vm.uuid)
    assert cloud.world.read_drive(vm.uuid) == FILES


def test_a_guest_with_an_empty_drive_reads_nothing_and_a_vm_that_is_off_has_none(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    assert cloud.world.read_drive(vm.uuid) == {}
    cloud.world.stop_vm(vm.uuid)
    with pytest.raises(WorldError, match="is off"):
        cloud.world.read_drive(vm.uuid)


def test_a_file_can_vanish_under_its_vm(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    name = cloud.give(vm)
    cloud.world.image_path(name, AT_H1).unlink()
    with pytest.raises(WorldError, match="cannot read"):
        cloud.world.medium(vm.uuid)
    cloud.world.stop_vm(vm.uuid)
    with pytest.raises(WorldError, match="cannot read"):
        cloud.world.start_vm(vm.uuid)
    cloud.driver.delete(vm, StoredImage(name, AT_H1))  # gone already, though the VM still names it
    cloud.driver.detach(vm)
    cloud.world.start_vm(vm.uuid)


def test_a_persistent_vm_boots_with_its_definition(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm)
    cloud.world.start_vm(vm.uuid)
    assert cloud.record(vm).live == {CD: Medium(LOCAL, str(name))}
    with pytest.raises(WorldError, match="is running"):
        cloud.world.start_vm(vm.uuid)
    cloud.world.lock_tray(vm.uuid)
    cloud.world.stop_vm(vm.uuid)
    assert cloud.record(vm) == replace(cloud.record(vm), power=PowerState.HALTED, live={}, tray_locked=False)


def test_a_transient_vm_is_gone_when_it_stops(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING, persistent=False)
    cloud.give(vm)
    assert cloud.record(vm).config == {}
    cloud.world.stop_vm(vm.uuid)
    assert cloud.world.vm(vm.uuid) is None
    assert cloud.driver.observe(vm).power is PowerState.UNDEFINED
    with pytest.raises(WorldError, match="only while it runs"):
        cloud.define(persistent=False)


def test_a_vm_that_is_defined_already_stays_as_it_is(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    before = cloud.record(vm)
    assert cloud.world.define_vm(vm.uuid, vm.instance_name, H2) == before


def test_a_destroyed_vm_leaves_its_images_to_the_fleet(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm)
    cloud.world.destroy_vm(vm.uuid)
    cloud.world.destroy_vm(vm.uuid)
    assert cloud.driver.observe(vm, [AT_H1]).images == (StoredImage(name, AT_H1),)
    cloud.driver.delete(vm, StoredImage(name, AT_H1))
    assert cloud.names() == []


def test_nothing_can_be_done_to_a_vm_that_does_not_exist(cloud: Cloud) -> None:
    vm = unknown_vm()
    for verb in (cloud.world.start_vm, cloud.world.stop_vm, cloud.world.lock_tray, cloud.world.medium):
        with pytest.raises(WorldError, match="there is no VM"):
            verb(vm.uuid)


def test_a_live_migration_needs_the_medium_on_the_destination(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    name = cloud.give(vm)
    with pytest.raises(WorldError, match="host h2 cannot read"):
        cloud.world.migrate_vm(vm.uuid, H2)
    assert cloud.record(vm).host == vm.host

    cloud.driver.copy(vm, name, AT_H1, AT_H2)
    cloud.world.migrate_vm(vm.uuid, H2)

    there = replace(vm, host=H2)
    assert cloud.driver.observe(vm).power is PowerState.UNDEFINED
    seen = cloud.driver.observe(there, [AT_H1])
    assert (seen.power, seen.drive) == (PowerState.RUNNING, Inserted(name, AT_H2))
    assert set(seen.images) == {StoredImage(name, AT_H1), StoredImage(name, AT_H2)}
    assert cloud.driver.attach(there, name, AT_H2).how is AttachedHow.ALREADY
    cloud.driver.delete(there, StoredImage(name, AT_H1))  # its drive is the destination's file now
    assert cloud.world.medium(vm.uuid) == make_image(vm).content


def test_a_live_migration_on_shared_storage_needs_nothing(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    name = cloud.give(vm, place=SHARED)
    cloud.world.migrate_vm(vm.uuid, H2, root_storage=NFS)
    assert cloud.driver.observe(replace(vm, host=H2)).drive == Inserted(name, SHARED)


def test_an_offline_migration_succeeds_and_then_cannot_start(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.give(vm)
    cloud.world.migrate_vm(vm.uuid, H2)
    with pytest.raises(WorldError, match="host h2 cannot read"):
        cloud.world.start_vm(vm.uuid)


def test_a_user_s_iso_does_not_hold_up_a_boot(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.world.insert(vm.uuid, NFS, "debian-12.iso", USER_CD)
    cloud.world.start_vm(vm.uuid)
    assert cloud.record(vm).live[USER_CD] == Medium(NFS, "debian-12.iso")
