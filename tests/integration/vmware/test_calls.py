"""How often the vCenter is asked, and how many sessions it has to keep."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.model import PowerState, StoredImage, Vm
from configdrive.ports import AttachedHow, Attachment
from tests.contract.rig import image_name, make_image
from tests.integration.vmware.conftest import MakeDriver, Site, give
from workers.hypervisors.vmware.driver import VmwareDriver

LOOKING = ["RetrievePropertiesEx", "HEAD"]
UPLOADING = ["PUT", "GET", "MoveDatastoreFile_Task", "RetrievePropertiesEx"]
CHANGING = ["ReconfigVM_Task", "RetrievePropertiesEx"]
DELETING = ["DeleteDatastoreFile_Task", "RetrievePropertiesEx"]
"""What each step costs when its VM is known: a task is begun, and looked at until it has ended, here at once."""


@pytest.fixture
def warm(site: Site, driver: VmwareDriver) -> VmwareDriver:
    """A driver that has logged in and knows the topology; what comes then is counted."""
    give(driver, site.define())
    return driver


def start(driver: VmwareDriver, vm: Vm, generation: int = 1) -> Attachment:
    """What an event does whose image is built before it looks."""
    image = make_image(vm, generation)
    seen = driver.observe(vm, names=[image.name])
    assert seen.images == ()
    assert seen.storage is not None
    driver.upload(vm, image, seen.storage)
    return driver.attach(vm, image.name, seen.storage)


def stop(driver: VmwareDriver, vm: Vm, added: str | None = None, generation: int = 1) -> None:
    seen = driver.observe(vm, names=[image_name(vm, generation)])
    driver.detach(vm, seen.media, added)
    for image in seen.images:
        driver.delete(vm, image, anyones=False)


def test_a_start_makes_eight_calls_and_a_stop_six(site: Site, warm: VmwareDriver) -> None:
    vm = site.define(drive=False)
    warm.observe(vm)  # who it is
    site.center.calls()
    attached = start(warm, vm)
    assert attached.how is AttachedHow.INSERTED
    assert site.center.calls() == LOOKING + UPLOADING + CHANGING
    stop(warm, vm, attached.added)
    assert site.center.calls() == LOOKING + CHANGING + DELETING
    assert (site.files(vm), site.cloud.drives(vm.instance_name)) == ([], [])


def test_a_start_with_another_image_makes_two_calls_more_than_a_first_one_to_delete_the_old(
    site: Site, warm: VmwareDriver
) -> None:
    vm = site.define(PowerState.RUNNING)
    start(warm, vm)
    site.center.calls()
    start(warm, vm, 2)
    warm.delete(vm, StoredImage(image_name(vm, 1), site.shared), anyones=False)
    assert site.center.calls() == LOOKING + UPLOADING + CHANGING + DELETING
    assert site.files(vm) == [f"shared/{image_name(vm, 2)}"]


def test_a_stop_costs_the_same_however_many_vms_its_datastore_has(site: Site, make_driver: MakeDriver) -> None:
    vm, calls, sizes = site.define(), [], []
    for more in (1, 40):
        driver = make_driver()  # that knows nobody yet
        driver.observe(vm, names=[])
        for _ in range(more):
            site.define(drive=False)
        start(driver, vm)
        site.center.calls()
        site.center.load()
        stop(driver, vm)
        calls.append(site.center.calls())
        sizes.append(site.center.load()["bytes"])
    assert calls[0] == calls[1]
    assert sizes[1] <= 1.1 * sizes[0]


def test_a_vm_that_is_not_known_yet_is_searched_for_once_and_a_listing_is_one_task(
    site: Site, warm: VmwareDriver
) -> None:
    vm = site.define()
    site.center.calls()
    warm.observe(vm, names=[])
    assert site.center.calls() == ["FindAllByUuid", "RetrievePropertiesEx"]
    warm.observe(vm, names=[])
    assert site.center.calls() == ["RetrievePropertiesEx"]
    warm.observe(vm)
    assert site.center.calls() == ["RetrievePropertiesEx", "SearchDatastore_Task", "RetrievePropertiesEx"]


def test_before_a_file_goes_only_vms_that_have_changed_are_read_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), site.shared)
    driver.delete(vm, StoredImage(image_name(vm, 1), site.shared))
    driver.observe(vm, names=[])
    site.center.calls()
    driver.delete(vm, StoredImage(image_name(vm, 2), site.shared))
    assert site.center.calls() == ["RetrievePropertiesEx", "DeleteDatastoreFile_Task", "RetrievePropertiesEx"]


def test_all_threads_share_a_session_its_connections_and_one_look_at_the_topology(
    site: Site, make_driver: MakeDriver
) -> None:
    vms = [site.define() for _ in range(8)]
    for connections in (1, 8):
        before = site.center.sessions()
        driver = make_driver(connections=connections, call_timeout=60.0)
        site.center.calls()
        site.center.load()
        with site.center.delay(20), ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda vm, driver=driver: driver.observe(vm, names=[]), vms))
        assert {one.storage for one in seen} == {site.shared}
        calls = site.center.calls()
        assert (calls.count("Login"), calls.count("CreateContainerView")) == (1, 1)
        assert site.center.load()["most"] <= connections
        assert site.center.sessions() == before + 1
        assert [(one.kind, one.open, one.reopened) for one in driver.connections()] == [("vsphere", 1, 0)]
        driver.close()
        assert site.center.calls() == ["Logout"]


def test_a_session_that_was_ended_is_opened_again_in_the_middle(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    image = make_image(vm)
    driver.observe(vm)
    site.center.expire_sessions()
    driver.upload(vm, image, site.shared)  # noticed by a request for a file
    site.center.expire_sessions()
    driver.attach(vm, image.name, site.shared)  # noticed by a call
    site.center.expire_sessions()
    driver.detach(vm)
    driver.delete(vm, StoredImage(image.name, site.shared))
    assert site.files(vm) == []
    assert site.center.calls().count("Login") == 4
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 3)]


def test_a_forked_child_has_a_session_of_its_own(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    give(driver, vm)
    site.center.calls()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if driver.observe(vm).images else 1
            driver.close()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert ended == 0
    assert driver.observe(vm).images
    calls = site.center.calls()
    assert calls.count("Login") == 1
    assert calls.count("Logout") == 1


def test_a_vm_that_was_registered_anew_is_found_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.observe(vm)
    site.cloud.destroy(vm.instance_name)
    site.cloud.define(vm.uuid, vm.instance_name, datastore="shared")
    assert driver.observe(vm).storage == site.shared
