"""What `configdrive doctor` finds on a host: each thing that is wrong, with its remedy, and nothing changed."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import Place, StorageName
from configdrive.ports import Check
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HOST, SCSI, Cloud, MakeDriver, Mount, disk, image_at, on_h1, root_in
from tests.integration.kvm.test_root_disk import LUN
from tests.support import error_of
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.storages import HOST_CACHE


def findings(driver: KvmDriver) -> dict[str, Check]:
    return {check.subject.removeprefix("kvm host h1").lstrip(", "): check for check in driver.check(HOST)}


def test_a_well_host_is_reported_in_detail(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path, home: Place
) -> None:
    cloud.add_pool("blocks", tmp_path / "vg", "logical", "<source><name>vg</name></source>", active=False)
    driver = make_driver(ssh=ssh_table, pools={"local": {"shared": True}})
    driver.upload(vm := cloud.new_vm(), make_image(vm), Place(home.storage))
    found = findings(driver)
    assert found[""].ok
    assert found[""].detail.startswith("libvirt ")
    assert found["pool local"].ok
    assert (found["pool blocks"].ok, "cache" in found["pool blocks"].detail) == (True, True)
    assert found["pool local"].detail.startswith("active, shared, ")
    assert found["ssh"].ok
    assert not (tmp_path / "cache").exists()
    assert [path.name for path in tmp_path.iterdir() if "probe" in path.name] == []


def test_a_pool_that_is_not_active_is_a_finding_whose_remedy_helps(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("asleep", tmp_path / "asleep", active=False)
    found = findings(driver)
    assert not found["pool asleep"].ok
    assert found["pool local"].ok
    commands, otherwise = found["pool asleep"].remedy.split(", or ")
    for command in commands.split(" && "):
        subprocess.run(command.replace("virsh", f"virsh -c {cloud.host.uri}").split(), check=True, capture_output=True)
    assert otherwise == "undefine it"
    assert findings(driver)["pool asleep"].ok


def test_a_folder_that_cannot_be_read_is_a_finding(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("odd", tmp_path / "odd")
    (tmp_path / "odd" / "configdrive").write_text("a file")
    found = findings(driver)
    assert not found["pool odd"].ok
    assert str(tmp_path / "odd") in found["pool odd"].remedy + found["pool odd"].detail
    failure = error_of(driver.upload, vm := cloud.new_vm(), make_image(vm), on_h1("odd"))
    assert (failure.code, "rename it" in failure.remedy) == (PermanentCode.MISCONFIGURED, True)
    (tmp_path / "odd" / "configdrive").rename(tmp_path / "odd" / "renamed")
    driver.upload(vm, make_image(vm), on_h1("odd"))
    assert findings(driver)["pool odd"].ok


def test_a_pool_that_was_given_another_directory_is_that_directory_now_and_one_that_is_no_more_is_said_and_swept(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path
) -> None:
    here, vm = on_h1("moved"), cloud.new_vm()
    for where in ("one", "two"):
        cloud.add_pool("moved", tmp_path / where)
        driver.observe(vm)
        driver.upload(vm, make_image(vm), here)
        assert (tmp_path / where / image_at(image_name(vm))).exists()
        assert ", 1 images" in findings(driver)["pool moved"].detail
        cloud.drop_pool("moved")
    found = findings(driver)
    assert "pool moved" not in found
    assert "is no more, and 1 images" in found["pool configdrive-moved"].detail
    (stored,) = (image for image in driver.survey(HOST).images if image.name == image_name(vm))
    assert driver.observe(vm, [stored.place], [stored.name]).images == (stored,)
    driver.delete(cloud.new_vm(), stored)  # as `configdrive sweep` does
    assert "no images of the fleet lie" in findings(driver)["pool configdrive-moved"].detail


def test_vms_that_are_exceptions_are_named_before_their_first_event(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    """Each with a remedy: one without a disk, one whose path leads into a pool by a link, one that boots from a LUN."""
    (tmp_path / "linked").symlink_to(cloud.pool)
    cloud.define()
    without = [(diskless := cloud.define(root="")).instance_name for _ in range(4)]
    linked = cloud.define(root=root_in(tmp_path / "linked"))
    vm = cloud.new_vm()
    data = disk(cloud.root_disk(vm.uuid), "vdb", "virtio", "disk")
    cloud.define(data, root=LUN, devices=SCSI, vm=vm)
    found = findings(make_driver())
    named = {subject: check.detail.rpartition(": ")[2] for subject, check in found.items() if "VMs" in subject}
    assert named == {
        "VMs without a disk": f"{', '.join(sorted(without)[:3])} and 1 more",
        "VMs in no pool": linked.instance_name,
        "VMs on a LUN": vm.instance_name,
    }
    for subject, remedy in zip(named, ("primary_storage", "'ssh'", "has room"), strict=True):
        assert remedy in found[subject].remedy
        assert found[subject].ok, "other VMs have their drives"
    driver = make_driver(ssh=ssh_table)
    assert "VMs in no pool" not in findings(driver), "the fleet follows the link then"
    for name in (HOST_CACHE, "local"):
        seen = driver.observe(replace(diskless, primary_storage=StorageName(name)))
        assert seen.storage is not None
        assert seen.storage.storage == name


def test_a_link_in_place_of_the_folder_is_a_finding_where_it_can_be_seen_and_refused(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    """libvirt follows it and does not show it: without SFTP there is only that others could put one there."""
    for name, mode in (("linked", 0o711), ("open", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        cloud.add_pool(name, tmp_path / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked" / "configdrive").symlink_to(tmp_path / "elsewhere")
    for one, shown in ((make_driver(), False), (make_driver(ssh=ssh_table), True)):
        found = findings(one)
        assert found["pool linked"].ok is not shown
        assert ("symbolic link" in found["pool linked"].detail) is shown
        assert "storage_route" in found["pool open"].detail
        assert "storage_route" not in found["pool local"].detail
    driver, place = make_driver(ssh=ssh_table, storage_route="sftp"), on_h1("linked")
    vm = cloud.define(root=root_in(tmp_path / "linked"))
    seen = driver.observe(vm, (), [image_name(vm)])
    assert (seen.storage, seen.unreachable) == (place, (place,))
    failure = error_of(driver.upload, vm, make_image(vm), place)
    assert (failure.code, "symbolic link" in failure.detail) == (PermanentCode.ACCESS_DENIED, True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_cache_that_cannot_be_written_and_an_unknown_host_key_are_findings(
    make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path, mount: Mount
) -> None:
    mount(tmp_path / "sealed", "ro")
    found = findings(make_driver(ssh=ssh_table, cache_directory=str(tmp_path / "sealed" / "cache")))
    assert (found["ssh"].ok, bool(found["ssh"].remedy)) == (False, True)
    (tmp_path / "known_hosts").touch()
    found = findings(make_driver(ssh={**ssh_table, "known_hosts": str(tmp_path / "known_hosts")}))
    assert (found["pool local"].ok, found["ssh"].ok) == (True, False)
    assert "host key" in (found["ssh"].detail + found["ssh"].remedy).lower()


def test_a_link_without_encryption_is_warned_of_once(
    cloud: Cloud, make_driver: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    make_driver()
    make_driver(uri=cloud.host.tls_uri)
    assert [record.getMessage() for record in caplog.records if "encrypted" in record.getMessage()] == [
        f"kvm host h1: {cloud.host.uri} is neither encrypted nor authenticated; use qemu+tls://"
    ]


def test_a_host_without_pools_uses_its_cache(cloud: Cloud, driver: KvmDriver) -> None:
    cloud.drop_pool("local")
    try:
        checks = list(driver.check(HOST))
        assert all(check.ok for check in checks)
        assert any("has no pool" in check.detail for check in checks)
        vm = cloud.new_vm()
        driver.upload(vm, make_image(vm), on_h1("host-cache"))
    finally:
        cloud.host.define_pool("local", cloud.pool)


@pytest.mark.parametrize("route", ["volume", "sftp"])
def test_two_that_look_at_once_do_not_trip_over_each_other(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], route: str
) -> None:
    drivers = [make_driver(ssh=ssh_table, storage_route=route) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(4):
            for found in threads.map(findings, drivers):
                assert [check for name in ("pool local", "ssh") if not (check := found[name]).ok] == []
    assert list(cloud.pool.rglob("*probe*")) == []
