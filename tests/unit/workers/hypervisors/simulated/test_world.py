"""What the simulated world does and refuses, as a real hypervisor would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configdrive.model import PowerState, StoredImage
from configdrive.ports import AttachedHow, Inserted
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, AT_H2, H2, Cloud, make_image
from workers.hypervisors.simulated.world import WorldError


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
