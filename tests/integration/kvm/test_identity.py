"""Storages, hosts and VMs are known by what they are: an id file in the folder, libvirt's host uuid, the VM's uuid."""

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import TransientCode
from configdrive.model import HostName, Place, StoredImage, Vm
from configdrive.ports import Inserted
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HDD, HOST, Cloud, MakeDriver, disk, image_at, open_cloud, root_in
from tests.support import error_of
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.image_folder import ID_FILE

H2 = HostName("h2")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Another host, with a pool and VMs of its own; it sees the same files."""
    with open_cloud(tmp_path_factory.mktemp("kvm-2"), "kvm-2", name=H2) as cloud:
        yield cloud


@pytest.fixture
def both(make_driver: MakeDriver, cloud: Cloud, second: Cloud) -> Iterator[KvmDriver]:
    yield driver_of(make_driver, cloud, second)
    second.clean()


def driver_of(make_driver: MakeDriver, first: Cloud, second: Cloud, **pool: object) -> KvmDriver:
    """A driver with both hosts; `pool`: what the inventory says of the pool `smp`."""
    return make_driver(
        hosts={one.name: {"uri": one.host.uri, "pools": {"smp": pool} if pool else {}} for one in (first, second)}
    )


def on_pool(cloud: Cloud, folder: Path, extra: str = "", vm: Vm | None = None) -> Vm:
    """Define a VM whose root disk lies in this folder."""
    return cloud.define(extra, root=root_in(folder), vm=vm)


def storage_of(driver: KvmDriver, vm: Vm) -> Place:
    """Look at a VM as an event does."""
    place = driver.observe(vm, (), []).storage
    assert place is not None
    return place


def uploaded(driver: KvmDriver, vm: Vm) -> Place:
    """Give a VM an image where it belongs."""
    driver.upload(vm, make_image(vm), place := storage_of(driver, vm))
    return place


def test_one_directory_of_two_hosts_is_one_storage_whatever_the_pools_are_called(
    cloud: Cloud, second: Cloud, both: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("smp", tmp_path / "smp")
    second.add_pool("3f0c1a52-a-uuid-as-cloudstack-has-it", tmp_path / "smp")
    here, there = on_pool(cloud, tmp_path / "smp"), on_pool(second, tmp_path / "smp")
    first, other = storage_of(both, here), storage_of(both, there)
    assert (first.storage, first.host) == ("smp", HOST)
    assert (other.storage, other.host) == ("3f0c1a52-a-uuid-as-cloudstack-has-it", H2)
    assert first == other
    named = replace(here, host=H2, primary_storage=first.storage)
    assert both.observe(named, [first], []).storage == first, "h2 knows it by another name"
    error_of(both.observe, named, (), [])
    assert re.fullmatch("[0-9a-f]{32}", first.identity or "")
    assert (tmp_path / "smp" / "configdrive" / ID_FILE).stat().st_mode & 0o777 == 0o600


def test_two_directories_are_two_storages_though_their_pools_are_called_the_same(
    cloud: Cloud, second: Cloud, both: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("smp", tmp_path / "one")
    second.add_pool("smp", tmp_path / "two")
    here, there = on_pool(cloud, tmp_path / "one"), on_pool(second, tmp_path / "two")
    first = storage_of(both, here)
    assert first != storage_of(both, there)
    error_of(both.upload, there, make_image(there), replace(first, host=H2))


def test_what_the_vm_has_in_its_drive_after_a_migration_is_no_copy_of_its_old_host_s(
    cloud: Cloud, second: Cloud, both: KvmDriver, tmp_path: Path
) -> None:
    """A pool over a directory that both hosts share, of which nobody has told the fleet."""
    cloud.add_pool("smp", tmp_path / "smp")
    second.add_pool("smp", tmp_path / "smp")
    vm = on_pool(cloud, tmp_path / "smp", HDD)
    old = uploaded(both, vm)
    path = both.attach(vm, image_name(vm), old).path
    moved = replace(vm, host=H2)
    on_pool(second, tmp_path / "smp", disk(path, "hdd", "ide"), vm=moved)
    cloud.domain(vm).undefine()

    seen = both.observe(moved, [old], [image_name(vm)])
    assert seen.images == (StoredImage(image_name(vm), old),), "one file, reported once"
    assert seen.drive == Inserted(image_name(vm), old)
    for place in (old, replace(old, identity=None)):  # also as it was remembered before anybody gave it an identity
        failure = error_of(both.delete, moved, StoredImage(image_name(vm), place), anyones=False)
        assert failure.code is TransientCode.IMAGE_IN_USE
    both.detach(moved, seen.media)
    both.delete(moved, seen.images[0], anyones=False)
    assert list((tmp_path / "smp" / "configdrive").rglob("*.iso")) == []


def test_an_image_is_not_deleted_under_a_vm_that_was_moved_by_hand(
    cloud: Cloud, second: Cloud, make_driver: MakeDriver, tmp_path: Path
) -> None:
    driver = driver_of(make_driver, cloud, second, shared=True)
    for one in (cloud, second):
        one.add_pool("smp", tmp_path / "smp")
    vm = on_pool(cloud, tmp_path / "smp", HDD)
    place = uploaded(driver, vm)
    path = driver.attach(vm, image_name(vm), place).path
    on_pool(second, tmp_path / "smp", disk(path, "hdd", "ide"), vm=vm)
    cloud.domain(vm).undefine()
    image = StoredImage(image_name(vm), place)

    failure = error_of(driver.delete, vm, image, anyones=False)
    assert (failure.code, "h2" in failure.detail) == (TransientCode.IMAGE_IN_USE, True)

    with second.unreachable():
        failure = error_of(driver.delete, vm, image, anyones=False)
        assert failure.code is TransientCode.HOST_UNREACHABLE, "it may have the image in its drive there"
    second.domain(vm).undefine()
    driver.delete(vm, image, anyones=False)
    assert list((tmp_path / "smp" / "configdrive").rglob("*.iso")) == []
    second.clean()


def test_a_storage_is_found_again_when_its_pool_has_another_name(
    cloud: Cloud, make_driver: MakeDriver, tmp_path: Path
) -> None:
    driver = make_driver()
    cloud.add_pool("before", tmp_path / "moving")
    vm = on_pool(cloud, tmp_path / "moving")
    place = uploaded(driver, vm)
    cloud.connection.storagePoolLookupByName("configdrive-before").destroy()
    cloud.drop_pool("before")
    cloud.add_pool("after", tmp_path / "moving")
    seen = driver.observe(vm, [place], [image_name(vm)])
    assert (seen.storage, seen.storage and seen.storage.storage) == (place, "after")
    assert seen.images == (StoredImage(image_name(vm), place),)
    driver.delete(vm, StoredImage(image_name(vm), place), anyones=False)
    assert driver.observe(vm, [place], [image_name(vm)]).images == ()


def test_a_pool_that_was_given_another_directory_is_another_storage(
    cloud: Cloud, make_driver: MakeDriver, tmp_path: Path
) -> None:
    cloud.add_pool("moved", tmp_path / "first")
    vm = on_pool(cloud, tmp_path / "first")
    driver = make_driver()
    before = uploaded(driver, vm)
    cloud.drop_pool("moved")
    cloud.add_pool("moved", tmp_path / "second")
    vm = on_pool(cloud, tmp_path / "second", vm=vm)
    seen = driver.observe(vm, [before], [image_name(vm)])
    assert seen.storage is not None
    assert seen.storage != before
    assert (seen.unreachable, seen.images) == ((before,), ())
    driver.upload(vm, make_image(vm), seen.storage)
    assert (tmp_path / "second" / image_at(image_name(vm))).exists()


@pytest.mark.parametrize("route", ["volume", "sftp"])
def test_workers_that_begin_at_once_give_a_storage_one_identity(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path, route: str
) -> None:
    cloud.add_pool("fresh", tmp_path / "fresh")
    vm = on_pool(cloud, tmp_path / "fresh")
    drivers = [make_driver(storage_route=route, ssh=ssh_table if route == "sftp" else None) for _ in range(6)]
    with ThreadPoolExecutor(len(drivers)) as pool:
        seen = [one.result() for one in [pool.submit(driver.observe, vm, (), []) for driver in drivers]]
    # One that could not make it, as another was at it for too long, says that the storage is not reached.
    identities = {one.storage and one.storage.identity for one in seen if one.storage not in one.unreachable}
    assert len(identities) == 1, identities
    assert identities == {(tmp_path / "fresh" / "configdrive" / ID_FILE).read_text().strip()}
    assert [path.name for path in (tmp_path / "fresh" / "configdrive").iterdir()] == [ID_FILE]


def test_an_id_file_that_its_maker_has_left_empty_is_filled(
    cloud: Cloud, make_driver: MakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.image_folder._HALF_ID_SECONDS", 0.2)
    cloud.add_pool("half", tmp_path / "half")
    (tmp_path / "half" / "configdrive").mkdir()
    (tmp_path / "half" / "configdrive" / ID_FILE).write_bytes(bytes(33))
    vm = on_pool(cloud, tmp_path / "half")
    place = storage_of(make_driver(), vm)
    assert place.identity is not None
    assert storage_of(make_driver(), vm) == place


def test_a_host_is_known_by_its_uuid_under_whatever_name(cloud: Cloud, second: Cloud, make_driver: MakeDriver) -> None:
    inventory = {name: {"uri": cloud.host.uri} for name in ("kvm-01", "kvm-01.example")}
    driver = make_driver(hosts={**inventory, "kvm-02": {"uri": second.host.uri}})
    vm = cloud.define()
    seen = [driver.observe(replace(vm, host=HostName(name))) for name in inventory]
    assert {one.host_id for one in seen} == {str(cloud.host.uuid)}
    assert len({one.vm_ref for one in seen}) == 1
    assert seen[0].vm_ref is not None
    other = driver.observe(replace(vm, host=HostName("kvm-02")))
    assert (other.host_id, other.vm_ref) == (str(second.host.uuid), None)

    assert driver.host_of(str(second.host.uuid)) == "kvm-02"
    assert driver.host_of(str(cloud.host.uuid)) in inventory
    assert driver.host_of(str(uuid.uuid4())) is None
    assert driver.survey(HostName("kvm-02")).host_id == str(second.host.uuid)

    findings = [list(driver.check(HostName(name))) for name in inventory]
    bad = [[check for check in checks if not check.ok] for checks in findings]
    assert [len(checks) for checks in bad] == [1, 1]
    assert "the same host as kvm-01" in bad[1][0].detail
    assert "host_uuid" in bad[1][0].remedy


def test_the_inventory_can_say_which_of_two_hosts_with_one_uuid_is_which(cloud: Cloud, make_driver: MakeDriver) -> None:
    names = {"kvm-01": str(uuid.uuid4()), "kvm-02": str(uuid.uuid4()).upper()}
    hosts = {name: {"uri": cloud.host.uri, "host_uuid": identity} for name, identity in names.items()}
    driver = make_driver(hosts=hosts)
    vm = cloud.define()
    assert [driver.observe(replace(vm, host=HostName(name))).host_id for name in names] == [
        identity.lower() for identity in names.values()
    ]
    assert driver.host_of(names["kvm-01"]) == "kvm-01"
    assert [check for name in names for check in driver.check(HostName(name)) if not check.ok] == []


def test_a_uuid_that_thousands_of_boards_bear_is_not_enough(
    cloud: Cloud, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.visit.REPEATED", frozenset({str(cloud.host.uuid)}))
    monkeypatch.setattr("workers.hypervisors.kvm.doctor.REPEATED", frozenset({str(cloud.host.uuid)}))
    driver = make_driver()
    assert driver.observe(cloud.define()).host_id == f"{cloud.host.uuid}@127.0.0.1"
    found = {check.subject: check for check in driver.check(HOST)}["kvm host h1, identity"]
    assert (found.ok, "host_uuid" in found.detail) == (True, True)
