"""Each fault of vSphere in the fleet's own words, as the answer to a call and as the end of a task."""

from collections.abc import Callable

import pytest

from configdrive.errors import Code, PermanentCode, TransientCode
from configdrive.model import HostName, PowerState, StoredImage
from configdrive.ports import AttachedHow
from rigs.vcsim.server import PASSWORD
from tests.contract.rig import SECRET, image_name, make_image
from tests.integration.vmware.conftest import Site, give
from tests.support import error_of
from workers.hypervisors.vmware.driver import VmwareDriver

T, P = TransientCode, PermanentCode
FAULTS: list[tuple[str, Code]] = [
    ("TaskInProgress", T.VM_BUSY),
    ("InvalidPowerState", T.VM_BUSY),
    ("InvalidState", T.VM_BUSY),
    ("ManagedObjectNotFound", T.VM_BUSY),
    ("NoPermission", P.ACCESS_DENIED),
    ("RestrictedVersion", P.ACCESS_DENIED),
    ("InvalidDatastore", T.STORAGE_UNAVAILABLE),
    ("InaccessibleDatastore", T.STORAGE_UNAVAILABLE),
    ("FileAlreadyExists", T.STORAGE_UNAVAILABLE),
    ("CannotAccessFile", T.STORAGE_UNAVAILABLE),
    ("FileNotFound", T.UPLOAD_CORRUPT),
    ("FileLocked", T.IMAGE_IN_USE),
    ("NoDiskSpace", T.STORAGE_FULL),
    ("HostNotConnected", T.HOST_UNREACHABLE),
    ("HostCommunication", T.HOST_UNREACHABLE),
    ("Timedout", T.TASK_TIMEOUT),
    ("NotSupported", P.NOT_SUPPORTED),
    ("InvalidDeviceSpec", P.NO_FREE_SLOT),
    ("GenericVmConfigFault", T.HYPERVISOR_ERROR),
]


def code_of(action: Callable[[], object]) -> Code:
    caught = error_of(action)
    assert SECRET.decode() not in str(caught)
    assert PASSWORD not in str(caught)
    return caught.code


@pytest.mark.parametrize("as_task", [False, True], ids=["call", "task"])
def test_a_reconfiguration_that_fails_is_reported_and_succeeds_the_next_time(
    site: Site, driver: VmwareDriver, *, as_task: bool
) -> None:
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    for fault, code in FAULTS:
        with site.center.broken({"method": "ReconfigVM_Task", "fault": fault, "task": as_task, "times": 1}):
            assert code_of(lambda: driver.attach(vm, image_name(vm), site.shared)) is code, fault
            assert site.cloud.media(vm.instance_name) == {}
            driver.attach(vm, image_name(vm), site.shared)
        assert len(site.cloud.media(vm.instance_name)) == 1
        driver.detach(vm)


def test_a_vm_that_goes_while_it_is_looked_at_has_nothing(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    driver.observe(vm, names=[])
    site.define()  # is not known yet, so that devices are read
    gone = {"method": "RetrievePropertiesEx", "fault": "ManagedObjectNotFound", "skip": 1, "times": 1}
    with site.center.broken(gone):
        driver.delete(vm, StoredImage(image_name(vm), site.shared))
    assert site.files(vm) == []


@pytest.mark.parametrize(
    ("rule", "code", "said"),
    [
        ({"method": "FindAllByUuid", "fault": "NoPermission"}, P.ACCESS_DENIED, ""),
        ({"method": "FindAllByUuid", "fault": "HostNotConnected"}, T.HOST_UNREACHABLE, ""),
        ({"method": "FindAllByUuid", "fault": "NotAuthenticated", "times": 9}, T.HOST_UNREACHABLE, ""),
        ({"method": "FindAllByUuid", "status": 401}, P.ACCESS_DENIED, "in the place of the vCenter"),
        ({"method": "FindAllByUuid", "status": 403}, P.ACCESS_DENIED, "in the place of the vCenter"),
        ({"method": "FindAllByUuid", "status": 404}, T.HYPERVISOR_ERROR, "no vSphere API there"),
        ({"method": "FindAllByUuid", "status": 503}, T.HOST_UNREACHABLE, "HTTP status 503"),
        ({"method": "RetrievePropertiesEx", "fault": "NoPermission"}, P.ACCESS_DENIED, ""),
        ({"method": "RetrievePropertiesEx", "empty": True}, T.HYPERVISOR_ERROR, ""),
    ],
    ids=str,
)
def test_a_look_that_fails_is_reported_and_the_next_one_succeeds(
    site: Site, driver: VmwareDriver, rule: dict[str, object], code: Code, said: str
) -> None:
    vm = site.define()
    driver.observe(site.define())
    with site.center.broken({"times": 1} | rule):
        caught = error_of(driver.observe, vm)
    assert (caught.code, said in str(caught), PASSWORD in str(caught)) == (code, True, False)
    assert driver.observe(vm).storage == site.shared


def test_a_task_whose_end_is_not_reported_has_listed_nothing(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.observe(vm)
    with site.center.broken({"method": "RetrievePropertiesEx", "empty": True, "times": 1, "skip": 1}):
        seen = driver.observe(vm)  # whose folder is listed by a task
    assert (seen.power, seen.unreachable) == (PowerState.HALTED, (site.shared,))


@pytest.mark.parametrize("fault", ["InvalidDatastore", "CannotAccessFile"])
def test_a_storage_that_cannot_be_listed_is_named_and_what_is_known_of_the_vm_comes_all_the_same(
    site: Site, driver: VmwareDriver, fault: str
) -> None:
    vm = site.define(PowerState.RUNNING)
    with site.center.broken({"method": "SearchDatastore_Task", "fault": fault, "task": True, "times": 1}):
        seen = driver.observe(vm)
    assert (seen.power, seen.storage, seen.unreachable) == (PowerState.RUNNING, site.shared, (site.shared,))
    assert driver.observe(vm).unreachable == ()


def test_a_fault_that_brings_the_cookie_of_another_session_ends_none_of_ours(site: Site, driver: VmwareDriver) -> None:
    driver.observe(site.define())
    site.center.expire_sessions()
    with site.center.broken({"method": "FindAllByUuid", "fault": "NotAuthenticated", "cookie": True, "times": 1}):
        assert driver.observe(site.define()).storage == site.shared
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 1)]


def test_the_newest_version_of_the_api_that_both_know_is_spoken(driver: VmwareDriver) -> None:
    details = [finding.detail for finding in driver.check(HostName("h1"))]
    assert any("version 6.5 of its API is spoken" in detail for detail in details)


def test_a_suspended_vm_is_reported_as_such_and_left_alone(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    image = give(driver, vm)
    site.cloud.start(vm.instance_name)
    site.cloud.suspend(vm.instance_name)
    before = site.cloud.media(vm.instance_name)
    assert driver.observe(vm).power == "suspended"
    assert driver.attach(vm, image.name, site.shared).how is AttachedHow.ALREADY
    driver.upload(vm, make_image(vm, 2), site.shared)
    for verb in (lambda: driver.detach(vm), lambda: driver.attach(vm, image_name(vm, 2), site.shared)):
        caught = error_of(verb)
        assert caught.code is T.VM_BUSY
        assert "suspended" in caught.detail
        assert "resume it" in caught.remedy
    assert code_of(lambda: driver.delete(vm, StoredImage(image.name, site.shared), anyones=False)) is T.IMAGE_IN_USE
    assert site.cloud.media(vm.instance_name) == before
    site.cloud.start(vm.instance_name)
    driver.detach(vm, [image.name])
    driver.delete(vm, StoredImage(image.name, site.shared), anyones=False)
    assert site.cloud.media(vm.instance_name) == {}


@pytest.mark.parametrize("state", ["disconnected", "inaccessible", "orphaned"])
def test_a_vm_that_vsphere_itself_does_not_reach_is_reported_and_not_forgotten_in_a_survey(
    site: Site, driver: VmwareDriver, state: str
) -> None:
    vm = site.define()
    give(driver, vm)
    with site.center.connection_is(site.cloud.reference(vm.instance_name), state):
        assert code_of(lambda: driver.observe(vm)) is T.HOST_UNREACHABLE
        assert code_of(lambda: driver.detach(vm)) is T.HOST_UNREACHABLE
        assert vm.uuid in {one.uuid for one in driver.survey(vm.host).vms}
    assert driver.observe(vm).storage == site.shared


def test_a_server_that_does_not_answer_is_given_up(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    quick = type(driver).from_inventory(site.center.inventory({"h1": {"esxi": "esx-01"}}), call_timeout=2.0)
    quick.observe(vm)
    with site.center.broken({"method": "RetrievePropertiesEx", "hang": 6.0, "times": 1}):
        assert code_of(lambda: quick.observe(vm)) is T.HOST_UNREACHABLE
    quick.close()
