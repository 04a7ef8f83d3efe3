"""What decides whose drive and file is touched: identities, where names repeat, overlap, change or are any text."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage, Vm, VmUuid
from configdrive.ports import AttachedHow, Inserted
from rigs.process import RigError
from rigs.vcsim.cloud import Cloud
from rigs.vcsim.server import VCenter
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.vmware.conftest import MakeDriver, Site, give
from tests.support import error_of, require_rig
from workers.hypervisors.vmware.driver import VmwareDriver

CLUSTERS = {
    ("DC0", "cluster-01"): ["esx-01", "esx-02"],
    ("DC1", "cluster-02"): ["esx-11"],
    ("DC2", "cluster-01"): ["esx-21"],
}
DATASTORES = {
    "shared": ["esx-01", "esx-02"],
    "local-1": ["esx-01"],
    "local-2": ["esx-02"],
    "nfs": ["esx-01", "esx-02"],
    "DC1/shared": ["esx-11"],
    "DC1/nfs": ["esx-11"],
    "DC2/shared": ["esx-21"],
}
HOSTS: dict[str, dict[str, object]] = {
    "esx-01": {"esxi": "esx-01"},
    "esx-02": {"esxi": "esx-02"},
    "cluster-01": {"cluster": "cluster-01", "datacenter": "DC0"},
    "cluster-02": {"cluster": "cluster-02"},
    "third": {"cluster": "/DC2/host/cluster-01"},
    "in-DC2": {"datacenter": "/DC2"},
    "everything": {},
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three datacenters: all have a datastore `shared`, two a cluster `cluster-01`, two an export `nfs`."""
    with require_rig():
        directory = tmp_path_factory.mktemp("wide")
        center = VCenter(directory, DATASTORES, clusters=CLUSTERS, same={"DC1/nfs": "nfs"})
    with center, closing(Cloud(center)) as cloud:
        yield Site(center, cloud)


@pytest.fixture
def wide_driver(wide: Site) -> Iterator[VmwareDriver]:
    with ExitStack() as stack:
        yield _driver(wide, HOSTS, stack)


def _driver(site: Site, hosts: dict[str, dict[str, object]], stack: ExitStack) -> VmwareDriver:
    made = VmwareDriver.from_inventory(site.center.inventory(hosts), call_timeout=20.0)
    stack.callback(made.close)
    return made


def define(site: Site, host: str, esxi: str, datastore: str, *, running: bool = False) -> Vm:
    """Make a VM on an ESXi host; `host` is what the inventory calls where it is."""
    vm = new_vm("vmware", HostName(host))
    site.cloud.define(vm.uuid, vm.instance_name, datastore=datastore, host=esxi, running=running)
    return vm


def at(vm: Vm, host: str) -> Vm:
    return replace(vm, host=HostName(host))


def clone(site: Site, vm: Vm) -> Vm:
    """Clone a VM with whatever is in its drives, as the vSphere client does."""
    made = new_vm("vmware", vm.host)
    return replace(made, uuid=VmUuid(site.cloud.clone(vm.instance_name, made.instance_name)))


# --- datacenters ------------------------------------------------------------------------------------------------------


def test_a_vm_that_moves_from_disk_to_disk_within_its_cluster_has_an_empty_drive_meanwhile(
    wide: Site, wide_driver: VmwareDriver
) -> None:
    """With the cluster as the host: it sees both local datastores, and no host of it does."""
    vm = define(wide, "cluster-01", "esx-01", "local-1", running=True)
    image = give(wide_driver, vm)
    source, target = wide.place("local-1", "cluster-01"), wide.place("local-2", "cluster-01")
    moving = replace(vm, primary_storage=target.storage)
    assert wide_driver.observe(moving, [source], names=[image.name]).storage == target
    with pytest.raises(RigError, match="CannotAccessVmDevice"):
        wide.cloud.relocate(vm.instance_name, host="esx-02", datastore="local-2")
    wide_driver.copy(moving, image.name, source, target)
    wide.cloud.relocate(vm.instance_name, host="esx-02", datastore="local-2")
    assert wide_driver.attach(vm, image.name, target).how is AttachedHow.INSERTED
    shared = give(wide_driver, define(wide, "cluster-01", "esx-01", "shared", running=True))
    stays = replace(vm, uuid=shared.name.vm_uuid)
    wide_driver.copy(stays, shared.name, wide.place("shared"), source)
    assert wide_driver.observe(stays).media == (shared.name,)  # whatever host has the target sees it where it is


def test_one_export_that_two_datacenters_have_mounted_is_one_place(wide: Site, wide_driver: VmwareDriver) -> None:
    """A copy to itself is none, and there is no other one that could be deleted."""
    vm = define(wide, "cluster-01", "esx-01", "nfs")
    image = give(wide_driver, vm)
    wide_driver.detach(vm, [image.name])
    wide.cloud.relocate(vm.instance_name, host="esx-11", datastore="DC1/nfs")
    wide_driver.attach(at(vm, "cluster-02"), image.name, wide.place("nfs"))
    seen = wide_driver.observe(at(vm, "cluster-02"), [wide.place("nfs")], names=[image.name])
    assert seen.storage == wide.place("nfs")
    assert seen.images == (StoredImage(image.name, wide.place("nfs")),)
    assert error_of(wide_driver.delete, at(vm, "cluster-02"), seen.images[0]).code is TransientCode.IMAGE_IN_USE


def test_a_place_of_another_server_is_not_looked_for_by_its_name(wide: Site, wide_driver: VmwareDriver) -> None:
    vm = define(wide, "cluster-01", "esx-01", "shared")
    stranger = Place(wide.shared.storage, None, f"{'0' * 8}/datastore-1")
    assert wide_driver.observe(vm, [stranger], names=[]).unreachable == (stranger,)
    assert error_of(wide_driver.upload, vm, make_image(vm), stranger).code is PermanentCode.STORAGE_NOT_FOUND


def test_a_cluster_s_name_that_repeats_goes_with_its_datacenter_or_as_a_path_and_is_refused_alone(wide: Site) -> None:
    hosts = HOSTS | {
        "either": {"cluster": "cluster-01"},
        "falls-back": {"datacenter": "DC2", "fallback_datastore": "/DC2/datastore/shared"},
        "nowhere": {"cluster": "cluster-02", "datacenter": "DC0"},
    }
    with ExitStack() as stack:
        driver = _driver(wide, hosts, stack)
        here, there = define(wide, "cluster-01", "esx-01", "shared"), define(wide, "third", "esx-21", "shared")
        for host in ("third", "in-DC2", "everything", "falls-back"):
            assert driver.observe(at(there, host)).storage == wide.place("DC2/shared")
        named = replace(at(there, "third"), primary_storage=StorageName("shared"))
        assert driver.observe(named).storage == wide.place("DC2/shared")
        for vm, host in ((there, "cluster-01"), (here, "third"), (here, "in-DC2")):
            assert driver.observe(at(vm, host)).power is PowerState.UNDEFINED
        refused = error_of(driver.observe, at(here, "either"))
        assert (refused.code, "/DC2/host/cluster-01" in refused.detail) == (PermanentCode.MISCONFIGURED, True)
        [finding] = [one for one in driver.check(HostName("either")) if not one.ok]
        assert "/DC0/host/cluster-01" in finding.detail
        assert "datacenter" in finding.remedy
        assert error_of(driver.observe, at(here, "nowhere")).code is PermanentCode.UNKNOWN_HOST


def test_a_host_that_has_just_joined_its_cluster_is_seen(wide: Site, wide_driver: VmwareDriver) -> None:
    vm = define(wide, "cluster-02", "esx-11", "shared")
    give(wide_driver, vm)  # which looks at all hosts
    wide_driver.detach(vm)
    wide.cloud.add_host("DC1", "cluster-02", "esx-12")
    wide.cloud.relocate(vm.instance_name, host="esx-12")
    time.sleep(1.1)  # for so long what was seen is trusted whatever is refused (`topology.REFUSAL_SECONDS`)
    assert wide_driver.observe(vm).power is PowerState.HALTED
    wide_driver.upload(vm, make_image(vm, 2), wide.place("DC1/shared"))


# --- hosts of the inventory that overlap ------------------------------------------------------------------------------


def test_a_vm_that_two_hosts_of_the_inventory_have_is_one_object_with_one_place(
    wide: Site, wide_driver: VmwareDriver
) -> None:
    vm = define(wide, "esx-01", "esx-01", "local-1", running=True)
    image = give(wide_driver, vm)
    seen = [wide_driver.observe(at(vm, host), names=[image.name]) for host in ("esx-01", "cluster-01", "everything")]
    assert len({one.vm_ref for one in seen}) == 1
    assert seen[0].vm_ref is not None
    assert len({one.host_id for one in seen}) == 3
    assert len({one.storage for one in seen}) == 1
    assert len({one.images for one in seen}) == 1
    surveyed = [wide_driver.survey(HostName(host)) for host in ("esx-01", "cluster-01")]
    assert len({stored for one in surveyed for stored in one.images if stored.name == image.name}) == 1
    assert [one.host_id for one in surveyed] == [one.host_id for one in seen[:2]]


def test_what_the_sweep_finds_through_one_host_is_not_deleted_while_another_s_vm_has_it(
    wide: Site, wide_driver: VmwareDriver
) -> None:
    vm = define(wide, "esx-01", "esx-01", "local-1")
    image = give(wide_driver, vm)
    nobody = replace(new_vm("vmware", HostName("cluster-01")), host=HostName("cluster-01"))
    [stored] = [one for one in wide_driver.survey(nobody.host).images if one.name == image.name]
    assert error_of(wide_driver.delete, nobody, stored).code is TransientCode.IMAGE_IN_USE
    assert wide.files(vm) == [f"local-1/{image.name}"]


def test_a_host_is_found_by_what_it_says_of_itself(wide: Site, wide_driver: VmwareDriver) -> None:
    for host in HOSTS:
        assert wide_driver.host_of(wide_driver.survey(HostName(host)).host_id) == host
    assert wide_driver.host_of("nobody") is None
    with ExitStack() as stack:
        renamed = _driver(wide, {"blade-7": HOSTS["esx-02"]}, stack)
        assert renamed.host_of(wide_driver.survey(HostName("esx-02")).host_id) == "blade-7"


def test_doctor_refuses_two_entries_that_are_one_host(wide: Site, wide_driver: VmwareDriver) -> None:
    assert all(finding.ok for host in HOSTS for finding in wide_driver.check(HostName(host)))  # overlap is allowed
    with ExitStack() as stack:
        twice = _driver(wide, HOSTS | {"first": HOSTS["esx-01"], "pair": HOSTS["cluster-01"]}, stack)
        for one, other in (("esx-01", "first"), ("first", "esx-01"), ("pair", "cluster-01")):
            [finding] = [finding for finding in twice.check(HostName(one)) if not finding.ok]
            assert other in finding.detail
            assert finding.remedy
        assert all(finding.ok for finding in twice.check(HostName("esx-02")))


def test_an_image_is_reached_through_another_host_when_its_own_is_no_more_in_the_inventory(
    wide: Site, wide_driver: VmwareDriver
) -> None:
    vm = define(wide, "esx-01", "esx-01", "local-1")
    image = give(wide_driver, vm)
    with ExitStack() as stack:
        later = _driver(wide, {"cluster-01": HOSTS["cluster-01"]}, stack)
        seen = later.observe(at(vm, "cluster-01"), [wide.place("local-1", "esx-01")], names=[image.name])
        assert (len(seen.images), seen.unreachable) == (1, ())
        later.detach(at(vm, "cluster-01"), [image.name])
        later.delete(at(vm, "cluster-01"), StoredImage(image.name, wide.place("local-1", "esx-01")), anyones=False)
    assert wide.files(vm) == []


def test_a_vm_that_was_moved_by_hand_keeps_its_image_when_it_is_stopped_through_its_old_host(
    wide: Site, wide_driver: VmwareDriver
) -> None:
    vm = define(wide, "esx-01", "esx-01", "shared", running=True)
    image = give(wide_driver, vm)
    wide.cloud.relocate(vm.instance_name, host="esx-02")
    assert wide_driver.observe(vm, names=[image.name]).power is PowerState.UNDEFINED
    assert (
        error_of(wide_driver.delete, vm, StoredImage(image.name, wide.shared), anyones=False).code
        is TransientCode.IMAGE_IN_USE
    )
    assert wide.files(vm) == [f"shared/{image.name}"]


def test_where_the_vm_is_instead_is_said_with_the_remedy(wide: Site, wide_driver: VmwareDriver) -> None:
    vm = define(wide, "esx-01", "esx-01", "shared")
    give(wide_driver, vm)
    wide.cloud.relocate(vm.instance_name, host="esx-02")  # as DRS does, without an event
    elsewhere = wide_driver.observe(vm, names=[]).elsewhere
    assert elsewhere is not None
    refused = error_of(wide_driver.attach, vm, image_name(vm), wide.shared)
    assert refused.code is PermanentCode.VM_NOT_FOUND
    for said in (elsewhere, (refused.detail, refused.remedy)):
        assert "'esx-02' of 'cluster-01'" in said[0]
        assert "the cluster" in said[1]
    assert wide_driver.observe(at(vm, "cluster-01"), names=[]).elsewhere is None
    details = {host: [one.detail for one in wide_driver.check(HostName(host))] for host in ("esx-01", "cluster-01")}
    assert [any("DRS moves VMs" in one for one in each) for each in details.values()] == [True, False]
    assert all(any("hot-added (not proven" in one for one in each) for each in details.values())
    with ExitStack() as stack:
        on_ide = _driver(wide, {"esx-01": {"esxi": "esx-01", "cd_slots": ["ide:1:1"]}}, stack)
        assert any("none before it is off" in one.detail for one in on_ide.check(HostName("esx-01")))


# --- clones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_a_clone_holds_nothing_up(site: Site, driver: VmwareDriver, power: PowerState) -> None:
    """Its definition names the image of the VM that it was made of, which is none of that VM's business."""
    vm = site.define(power)
    first = give(driver, vm)
    copy = clone(site, vm)
    second = give(driver, vm, generation=2)
    driver.delete(vm, StoredImage(first.name, site.shared), anyones=False)
    assert site.files(vm) == [f"shared/{second.name}"]
    seen = driver.observe(vm)
    assert (seen.drive, seen.media) == (Inserted(second.name, site.shared), (second.name,))
    assert driver.observe(copy).media == (first.name,)


@pytest.mark.parametrize("datastore", ["shared", "vsan"])
@pytest.mark.parametrize("how", ["full", "linked", "template"])
def test_what_is_made_of_a_vm_with_its_drive_gets_its_own_and_leaves_the_first_one_alone(
    site: Site, driver: VmwareDriver, how: str, datastore: str
) -> None:
    """A template is not served itself; what is deployed of it as it is has its drive, with an image of before."""
    vm = site.define(datastore=datastore)
    first = give(driver, vm)
    if how == "template":
        site.cloud.make_template(vm.instance_name)
        assert driver.observe(vm, names=[]).power is PowerState.UNDEFINED
    made = new_vm("vmware", vm.host)
    copy = replace(made, uuid=VmUuid(site.cloud.clone(vm.instance_name, made.instance_name, linked=how == "linked")))
    before = driver.observe(copy)
    assert before.storage is not None
    assert isinstance(before.drive, Inserted)
    assert before.drive.name == first.name  # which lies beside the original, and is none of the copy's
    own = give(driver, copy)
    assert driver.observe(copy).drive == Inserted(own.name, before.storage)
    assert before.drive.place is not None
    assert how == "template" or driver.observe(vm).media == (first.name,)
    driver.detach(vm)
    driver.delete(vm, StoredImage(first.name, before.drive.place), anyones=False)
    assert site.files(vm) == []
    assert driver.observe(copy, names=[own.name]).images == (StoredImage(own.name, before.storage),)


def test_a_running_clone_keeps_the_file_that_it_reads_and_no_more(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    first = give(driver, vm)
    copy = clone(site, vm)
    site.cloud.start(copy.instance_name)
    driver.detach(vm, [first.name])
    assert (
        error_of(driver.delete, vm, StoredImage(first.name, site.shared), anyones=False).code
        is TransientCode.IMAGE_IN_USE
    )
    driver.detach(copy, [first.name])
    driver.delete(vm, StoredImage(first.name, site.shared), anyones=False)
    assert site.files(vm) == []


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_vm_that_was_found_by_its_name_alone_and_has_another_s_image_is_refused(
    site: Site, make_driver: MakeDriver
) -> None:
    by_name = make_driver(hosts={"h1": {"esxi": "esx-01", "identify_by": ["name", "bios_uuid"]}})
    vm = site.define()
    give(by_name, vm)
    stranger = replace(vm, uuid=new_vm("vmware", vm.host).uuid)
    by_name.upload(stranger, make_image(stranger), site.shared)
    assert error_of(by_name.attach, stranger, image_name(stranger), site.shared).code is PermanentCode.NOT_ITS_DRIVE
    assert by_name.observe(vm).media == (image_name(vm),)


# --- several vCenters -------------------------------------------------------------------------------------------------


def test_a_host_and_a_place_of_one_vcenter_are_found_while_another_is_away(wide: Site, site: Site) -> None:
    """What lies on one vCenter is none of the other's business, also when that one comes first in the inventory."""
    other, here = site.center.inventory({"a": {"esxi": "esx-01"}}), wide.center.inventory(HOSTS)
    endpoints = {"other": other["endpoints"]["vc"], "vc": here["endpoints"]["vc"]}
    hosts = {"a": {"endpoint": "other", "esxi": "esx-01"}, **here["hosts"]}
    with closing(VmwareDriver.from_inventory({"endpoints": endpoints, "hosts": hosts}, call_timeout=5.0)) as driver:
        vm = define(wide, "cluster-01", "esx-01", "shared")
        image = give(driver, vm)
        elsewhere = new_vm("vmware", HostName("a"))
        host_id = driver.observe(vm, names=[]).host_id
        with site.center.down():
            assert driver.host_of(host_id) == "cluster-01"
            driver.detach(vm, [image.name])
            driver.delete(elsewhere, StoredImage(image.name, wide.shared), anyones=False)
    assert wide.files(vm) == []
