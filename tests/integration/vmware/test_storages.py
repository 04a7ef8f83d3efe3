"""On which datastore an image lies: the root disk's, a member of its cluster, or the fallback."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage
from configdrive.ports import AttachedHow, Inserted
from rigs.vcsim.cloud import Cloud
from rigs.vcsim.server import VCenter
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.vmware.conftest import MakeDriver, Site, give
from tests.support import error_of, require_rig
from workers.hypervisors.vmware.driver import VmwareDriver

POD = StorageName("pod")


def test_with_a_fallback_only_shared_datastores_hold_images(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-01", "fallback_datastore": "other"}})
    assert driver.observe(site.define(datastore="local-1")).storage == site.other
    assert driver.observe(site.define(datastore="shared")).storage == site.shared


def test_for_a_datastore_that_the_host_does_not_see_another_is_taken(site: Site, make_driver: MakeDriver) -> None:
    vm = replace(site.define(), primary_storage=StorageName("local-2"))
    taken = make_driver().observe(vm).storage
    assert taken is not None
    assert taken.host is None  # one that several hosts see
    replaced = make_driver(hosts={"h1": {"esxi": "esx-01", "fallback_datastore": "other"}})
    assert replaced.observe(vm).storage == site.other


def test_of_a_datastore_cluster_the_root_disk_s_member_is_taken(site: Site, driver: VmwareDriver) -> None:
    vm = replace(site.define(datastore="pod-a"), primary_storage=POD)
    assert driver.observe(vm).storage == site.place("pod-a")


def test_before_the_vm_is_there_a_usable_member_is_taken(site: Site, driver: VmwareDriver) -> None:
    vm = replace(new_vm("vmware", HostName("h1")), primary_storage=POD)
    with site.center.datastore_is("pod-b", maintenance="inMaintenance"):
        assert driver.observe(vm).storage == site.place("pod-a")


@pytest.mark.parametrize("state", [{"maintenance": "inMaintenance"}, {"accessible": "false"}], ids=str)
def test_a_datastore_that_cannot_be_used_now_is_reported_and_works_again_at_once(
    site: Site, driver: VmwareDriver, state: dict[str, str]
) -> None:
    vm = site.define(datastore="other")
    driver.upload(vm, make_image(vm), site.other)
    with site.center.datastore_is("other", **state):
        seen = driver.observe(vm)
        assert (seen.storage, seen.images, seen.unreachable) == (site.other, (), (site.other,))
        assert driver.observe(replace(vm, primary_storage=site.shared.storage), [site.other]).unreachable == (
            site.other,
        )
        assert site.other in driver.survey(vm.host).unreachable
    assert driver.observe(vm).images == (StoredImage(image_name(vm), site.other),)


def test_a_datastore_that_is_renamed_is_the_same(site: Site, make_driver: MakeDriver) -> None:
    place, elsewhere = site.other, site.shared
    vm, thief, late = site.define(datastore="other"), site.define(), site.define()
    driver = make_driver()
    for generation in (1, 2, 3):
        driver.upload(vm, make_image(vm, generation), place)
    driver.attach(vm, image_name(vm, 3), place)
    site.cloud.insert(thief.instance_name, f"[other] configdrive/{image_name(vm, 2)}")
    driver.delete(vm, StoredImage(image_name(vm, 1), place))  # now all of it is known, by its name
    with site.center.renamed("other", "other (old)"):
        assert driver.attach(vm, image_name(vm, 3), place).how is AttachedHow.ALREADY
        caught = error_of(driver.delete, vm, StoredImage(image_name(vm, 2), place))
        assert (caught.code, thief.instance_name in caught.detail) == (TransientCode.IMAGE_IN_USE, True)

    known = make_driver()
    known.observe(vm)
    with site.center.renamed("other", "other (older)"):  # of which this driver hears by being refused
        assert error_of(known.upload, late, make_image(late), place).code is TransientCode.STORAGE_UNAVAILABLE
        known.upload(late, make_image(late), place)
    assert error_of(known.copy, late, image_name(late), place, elsewhere).code is TransientCode.STORAGE_UNAVAILABLE
    known.copy(late, image_name(late), place, elsewhere)
    site.cloud.destroy(thief.instance_name)


def test_capitals_do_not_make_another_file(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    give(driver, vm)
    site.cloud.insert(vm.instance_name, f"[shared] ConfigDrive/{str(image_name(vm)).upper()}")
    seen = driver.observe(vm)
    assert isinstance(seen.drive, Inserted)
    assert (seen.drive.name.vm_uuid, seen.drive.place) == (vm.uuid, site.shared)
    assert error_of(driver.delete, vm, StoredImage(image_name(vm), site.shared)).code is TransientCode.IMAGE_IN_USE
    driver.detach(vm)
    driver.delete(vm, StoredImage(image_name(vm), site.shared))
    assert site.files(vm) == []


def test_a_vm_is_on_its_host_only_and_everywhere_for_the_whole_vcenter(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING, host="h1")
    for host, power in (("h1", PowerState.RUNNING), ("h2", PowerState.UNDEFINED), ("all", PowerState.RUNNING)):
        assert driver.observe(replace(vm, host=HostName(host))).power is power
    site.cloud.relocate(vm.instance_name, host="esx-02")
    for host, power in (("h1", PowerState.UNDEFINED), ("h2", PowerState.RUNNING), ("all", PowerState.RUNNING)):
        assert driver.observe(replace(vm, host=HostName(host))).power is power
        there = vm.uuid in {one.uuid for one in driver.survey(HostName(host)).vms}
        assert there is (power is PowerState.RUNNING)


def test_what_a_vm_of_another_datastore_got_since_the_last_look_is_not_deleted(
    site: Site, driver: VmwareDriver
) -> None:
    vm, thief = site.define(datastore="other"), site.define(datastore="shared")
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), site.other)
    driver.delete(vm, StoredImage(image_name(vm, 1), site.other))  # now it is known that the thief has nothing
    for loses in (driver.detach, lambda thief: site.cloud.destroy(thief.instance_name)):
        driver.upload(vm, make_image(vm, 2), site.other)
        site.cloud.insert(thief.instance_name, f"[other] configdrive/{image_name(vm, 2)}")
        caught = error_of(driver.delete, vm, StoredImage(image_name(vm, 2), site.other))
        assert caught.code is TransientCode.IMAGE_IN_USE
        assert thief.instance_name in caught.detail
        loses(thief)
        driver.delete(vm, StoredImage(image_name(vm, 2), site.other))
        assert site.files(vm) == []


def test_a_survey_sees_all_datastores_of_the_host_and_no_other_host_s_vms(site: Site, driver: VmwareDriver) -> None:
    here, there = site.define(host="h1", datastore="local-1"), site.define(host="h2", datastore="local-2")
    give(driver, here, site.place("local-1", "h1"))
    give(driver, there, site.place("local-2", "h2"))
    survey = driver.survey(HostName("h1"))
    vms = {one.uuid: one for one in survey.vms}
    assert vms[here.uuid].media == (Inserted(image_name(here), site.place("local-1", "h1")),)
    assert there.uuid not in vms
    names = {image.name for image in survey.images}
    assert image_name(here) in names
    assert image_name(there) not in names


@pytest.mark.parametrize("by_instance_uuid", [True, False])
def test_a_vm_is_known_by_either_uuid(site: Site, driver: VmwareDriver, *, by_instance_uuid: bool) -> None:
    vm = site.define(by_instance_uuid=by_instance_uuid)
    give(driver, vm)
    assert driver.observe(vm).drive == Inserted(image_name(vm), site.shared)
    found = [one for one in driver.survey(vm.host).vms if one.name == vm.instance_name]
    assert vm.uuid in {one.uuid for one in found}
    assert len(found) == 2  # it has two uuids, and nobody knows which one is the orchestrator's


def test_a_vm_is_known_by_its_name_only_where_the_inventory_says_so(site: Site, make_driver: MakeDriver) -> None:
    vm = replace(site.define(), uuid=new_vm("vmware", HostName("h1")).uuid)
    assert make_driver().observe(vm).power is PowerState.UNDEFINED
    by_name = make_driver(hosts={"h1": {"esxi": "esx-01", "identify_by": ["bios_uuid", "name"]}})
    assert by_name.observe(vm).power is PowerState.HALTED
    by_name.upload(vm, make_image(vm), site.shared)
    assert vm.uuid in {one.uuid for one in by_name.survey(vm.host).vms}


def test_two_vms_with_one_uuid_are_kept_apart_by_name_or_refused(
    site: Site, driver: VmwareDriver, make_driver: MakeDriver
) -> None:
    vm = site.define()
    twin = f"{vm.instance_name}-clone"
    site.cloud.define(vm.uuid, twin, datastore="shared")
    give(driver, vm)
    assert site.cloud.media(twin) == {}
    assert len(site.cloud.media(vm.instance_name)) == 1
    assert (
        error_of(make_driver().observe, replace(vm, instance_name=new_vm("vmware", vm.host).instance_name)).code
        is PermanentCode.NOT_ITS_DRIVE
    )


def test_a_host_that_the_vcenter_does_not_know_is_reported(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-99"}})
    assert error_of(driver.observe, site.define()).code is PermanentCode.UNKNOWN_HOST
    [finding] = driver.check(HostName("h1"))
    assert not finding.ok
    assert "[vmware.hosts.h1]" in finding.remedy


def test_a_stand_alone_esxi_is_as_good(tmp_path: Path) -> None:
    with require_rig():
        center = VCenter(tmp_path, {"datastore1": ["esx-09"]}, hosts=["esx-09"], esxi=True)
    with center, closing(Cloud(center)) as cloud:
        driver = VmwareDriver.from_inventory(center.inventory({"esx-09": {}}))
        vm = new_vm("vmware", HostName("esx-09"))
        cloud.define(vm.uuid, vm.instance_name, datastore="datastore1", running=True)
        home = Place(StorageName("datastore1"), HostName("esx-09"), cloud.identity("datastore1"))
        assert driver.observe(vm).storage == home
        give(driver, vm, home)
        assert driver.observe(vm).drive == Inserted(image_name(vm), home)
        driver.detach(vm)
        driver.delete(vm, StoredImage(image_name(vm), home))
        assert not list(center.datastore("datastore1").rglob(f"*{vm.uuid}*"))
        driver.close()
