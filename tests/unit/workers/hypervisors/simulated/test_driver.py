"""What the simulated driver does beyond the contract, or in a cloud that the contract's rig does not show."""

from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Generation, ImageName, InstanceName, Place, PowerState, StorageName, StoredImage, VmUuid
from configdrive.ports import AttachedHow, Inserted, NoDrive
from rigs.simulated.faults import Hang
from tests.support import error_of
from tests.unit.workers.hypervisors.simulated.cloud import (
    AT_H1,
    AT_H2,
    H1,
    H2,
    NFS,
    SHARED,
    Cloud,
    make_image,
    unknown_vm,
)
from workers.hypervisors.simulated.drives import CD
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.world import WorldError

# --- places ---------------------------------------------------------------------------------------------------------


def test_a_shared_storage_is_reached_through_any_host_that_is_up(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm, place=SHARED)
    cloud.driver.detach(vm)
    cloud.world.set_host_up(H1, up=False)
    cloud.driver.delete(vm, StoredImage(name, SHARED))
    assert cloud.names() == []
    cloud.world.set_host_up(H2, up=False)
    assert error_of(cloud.driver.upload, vm, make_image(vm), SHARED).code is TransientCode.HOST_UNREACHABLE


@pytest.mark.parametrize("name", ["../local", "/etc", ".", "", "local/configdrive", "local"])
def test_a_storage_is_looked_up_by_its_name_and_host_and_is_never_a_path(cloud: Cloud, name: str) -> None:
    vm = cloud.define()
    image, place = make_image(vm), Place(StorageName(name), None if name == "local" else H1)
    cloud.driver.upload(vm, image, AT_H2)
    assert error_of(cloud.driver.upload, vm, image, place).code is PermanentCode.STORAGE_NOT_FOUND
    for there in (place, AT_H2):
        assert error_of(cloud.driver.attach, vm, image.name, there).code is PermanentCode.STORAGE_NOT_FOUND


def test_a_shared_storage_named_with_a_host_is_the_same_storage(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm, place=Place(NFS, H2))
    seen = cloud.driver.observe(vm, [Place(NFS, H2), Place(NFS, H1), SHARED])
    assert (seen.drive, seen.images) == (Inserted(name, SHARED), (StoredImage(name, SHARED),))


def test_a_storage_that_is_down_is_unavailable_and_the_others_are_still_listed(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm, place=SHARED)
    cloud.driver.upload(vm, make_image(vm, 2), AT_H1)
    cloud.world.set_storage_up(AT_H1, up=False)

    down = cloud.driver.observe(vm)
    assert (down.storage, down.unreachable, down.media) == (AT_H1, (AT_H1,), (name,))
    assert error_of(cloud.driver.upload, vm, make_image(vm, 3), AT_H1).code is TransientCode.STORAGE_UNAVAILABLE
    assert error_of(cloud.driver.attach, vm, make_image(vm).name, AT_H1).code is TransientCode.STORAGE_UNAVAILABLE
    seen = cloud.driver.observe(replace(vm, primary_storage=NFS), [AT_H1])
    assert (seen.images, seen.unreachable) == ((StoredImage(name, SHARED),), (AT_H1,))
    listed = cloud.driver.survey(H1)
    assert (listed.images, listed.unreachable) == ((StoredImage(name, SHARED),), (AT_H1,))
    bad = [finding for finding in cloud.driver.check(H1) if not finding.ok]
    assert [("local" in finding.subject, bool(finding.remedy)) for finding in bad] == [(True, True)]

    cloud.world.set_storage_up(AT_H1, up=True)
    assert len(cloud.driver.survey(H1).images) == 2


def test_a_full_storage_takes_nothing_and_keeps_what_it_has(tmp_path: Path) -> None:
    storages = {"local": {"capacity_bytes": 250_000}}
    cloud = Cloud(tmp_path / "world", hosts={"h1": {"storages": storages}})
    vm, other = cloud.define(), cloud.define()
    first, second = make_image(vm, content=b"1" * 200_000), make_image(other, content=b"2" * 50_001)
    cloud.driver.upload(vm, first, AT_H1)
    assert error_of(cloud.driver.upload, other, second, AT_H1).code is TransientCode.STORAGE_FULL
    assert cloud.names() == [str(first.name)]
    cloud.driver.upload(vm, replace(first, content=b"3" * 250_000), AT_H1)  # its own old bytes make room
    cloud.driver.delete(vm, StoredImage(first.name, AT_H1))
    cloud.driver.upload(other, second, AT_H1)
    assert cloud.names() == [str(second.name)]


def test_an_image_that_reads_back_otherwise_is_not_there(cloud: Cloud) -> None:
    image = make_image(cloud.define())
    storage = cloud.world.topology.reach(AT_H1, H1)
    part = storage.folder / f"{image.name}.part"

    def damage() -> None:
        with part.open("r+b") as file:
            file.write(b"damaged")

    assert error_of(storage.write, image.name, image.content, damage).code is TransientCode.UPLOAD_CORRUPT
    assert cloud.names() == []


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uuid", ["../../etc/passwd", "", "11111111-1111-4111-8111-11111111111A", "x" * 36])
def test_a_uuid_that_is_none_reaches_no_file(cloud: Cloud, uuid: str) -> None:
    vm = replace(unknown_vm(), uuid=VmUuid(uuid))
    for verb in (cloud.driver.observe, cloud.driver.detach):
        assert error_of(verb, vm).code is PermanentCode.INVALID_EVENT


def test_an_instance_name_with_path_parts_reaches_no_file(cloud: Cloud, tmp_path: Path) -> None:
    vm = replace(cloud.define(), instance_name=InstanceName("../../../../escaped"))
    assert error_of(cloud.driver.upload, vm, make_image(vm), AT_H1).code is PermanentCode.INVALID_EVENT
    hostile = StoredImage(ImageName.of(InstanceName("../x"), vm.uuid, Generation(1)), AT_H1)
    assert error_of(cloud.driver.delete, vm, hostile).code is PermanentCode.INVALID_EVENT
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_an_instance_named_like_another_s_uuid_is_kept_apart(cloud: Cloud) -> None:
    vm = cloud.define()
    other = replace(cloud.define(), instance_name=InstanceName(vm.uuid))
    cloud.driver.upload(other, make_image(other), AT_H1)
    assert cloud.driver.observe(vm).images == ()
    assert cloud.driver.observe(other).images == (StoredImage(make_image(other).name, AT_H1),)


# --- drives ---------------------------------------------------------------------------------------------------------


def test_where_vm_and_definition_differ_what_has_to_go_is_reported_first(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    new, old = cloud.give(vm, 2), make_image(vm, 1).name
    record = cloud.record(vm)
    medium = record.live[CD]
    assert medium is not None
    cloud.world.records.put(replace(record, config={CD: replace(medium, file=str(old))}))
    assert cloud.driver.observe(vm).drive == Inserted(old, AT_H1)
    cloud.driver.attach(vm, new, AT_H1)
    assert cloud.record(vm) == record

    other = make_image(unknown_vm(), 9).name
    cloud.world.records.put(replace(record, config={CD: replace(medium, file=str(other))}))
    assert cloud.driver.observe(vm).drive == Inserted(other, AT_H1)


def test_a_vm_that_takes_no_drive_while_it_runs_gets_it_with_its_next_boot(cloud: Cloud) -> None:
    vm = unknown_vm()
    cloud.world.define_vm(vm.uuid, vm.instance_name, vm.host, power=PowerState.RUNNING, hot_add=False)
    cloud.driver.upload(vm, make_image(vm), AT_H1)
    for _ in range(2):
        assert cloud.driver.attach(vm, make_image(vm).name, AT_H1).how is AttachedHow.NEXT_BOOT
    assert cloud.world.medium(vm.uuid) is None
    in_use = error_of(cloud.driver.delete, vm, StoredImage(make_image(vm).name, AT_H1)).code
    assert in_use is TransientCode.IMAGE_IN_USE
    cloud.world.stop_vm(vm.uuid)
    cloud.world.start_vm(vm.uuid)
    assert cloud.world.medium(vm.uuid) == make_image(vm).content


def test_paths_are_files_of_the_world_that_only_their_owner_reads(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.driver.upload(vm, make_image(vm), AT_H1)
    attached = cloud.driver.attach(vm, make_image(vm).name, AT_H1)
    path = cloud.world.image_path(make_image(vm).name, AT_H1)
    assert attached.path == str(path)
    assert path == cloud.folder / "hosts" / "h1" / "local" / "configdrive" / str(make_image(vm).name)
    assert path.stat().st_mode & 0o777 == 0o400


# --- trials ---------------------------------------------------------------------------------------------------------


def test_an_unknown_vm_springs_into_being_when_the_inventory_says_so(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "world", auto_define=True)
    vm = unknown_vm()
    seen = cloud.driver.observe(vm)
    assert (seen.power, seen.storage, seen.drive) == (PowerState.HALTED, AT_H1, NoDrive())
    cloud.give(vm)
    assert cloud.world.medium(vm.uuid) == make_image(vm).content
    assert cloud.driver.observe(replace(vm, host=H2)).power is PowerState.UNDEFINED  # it is on h1 already
    elsewhere = replace(unknown_vm(H2), primary_storage=NFS)
    assert cloud.driver.observe(elsewhere).storage == SHARED
    assert cloud.record(elsewhere).root_storage == NFS


def test_each_verb_takes_at_least_its_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    cloud = Cloud(tmp_path / "world", latency_ms={"observe": 150})
    vm = cloud.define()
    cloud.driver.observe(vm)
    cloud.driver.detach(vm)
    assert waited == [0.15]


def test_a_verb_waits_for_the_vm_s_lock_only_so_long(cloud: Cloud) -> None:
    vm, other = cloud.define(), cloud.define()
    driver = cloud.make_driver(call_timeout=0.05)
    with cloud.world.records.lock(vm.uuid, 0):
        assert error_of(driver.detach, vm).code is TransientCode.VM_BUSY
        assert error_of(driver.upload, vm, make_image(vm), AT_H1).code is TransientCode.VM_BUSY
        driver.observe(vm)  # looking needs no lock
        driver.detach(other)
    driver.detach(vm)


def test_a_host_s_check_tells_what_is_there(cloud: Cloud) -> None:
    cloud.give(cloud.define())
    host, local, nfs = cloud.driver.check(H1)
    assert (host.subject, host.ok, str(cloud.folder) in host.detail) == ("simulated host h1", True, True)
    assert (local.subject, local.detail) == ("simulated host h1, storage local", "writable, 1 images")
    assert (nfs.subject, nfs.detail) == ("simulated host h1, storage nfs", "writable, 0 images")


def test_a_hanging_hypervisor_is_given_up_after_the_time_limit(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    vm = cloud.define()
    driver = cloud.make_driver(call_timeout=0.05)
    cloud.inject(Hang(verb=Verb.ATTACH, seconds=60))
    driver.upload(vm, make_image(vm), AT_H1)
    assert error_of(driver.attach, vm, make_image(vm).name, AT_H1).code is TransientCode.TASK_TIMEOUT
    assert waited == [0.05]
    cloud.inject(Hang(verb=Verb.OBSERVE, seconds=2.0))
    cloud.driver.observe(vm)  # a slow one is waited for
    assert waited == [0.05, 2.0]


# --- the world --------------------------------------------------------------------------------------------------------


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
