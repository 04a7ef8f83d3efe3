"""How often the vCenter is asked, and how many sessions it has to keep."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from configdrive.model import StoredImage
from configdrive.ports import AttachedHow
from tests.contract.rig import image_name, make_image
from tests.integration.vmware.conftest import SHARED, give

if TYPE_CHECKING:
    import pytest

    from configdrive.model import Vm
    from tests.integration.vmware.conftest import MakeDriver, Site
    from workers.hypervisors.vmware.driver import VmwareDriver

MOST_CALLS = 8
FILES = frozenset({"GET", "HEAD", "PUT"})


def warm(site: Site, driver: VmwareDriver) -> None:
    """Log in and see the topology; what comes then is counted."""
    give(driver, site.define())
    site.center.calls()


def start(driver: VmwareDriver, vm: Vm) -> None:
    """What a start does after a stop."""
    seen = driver.observe(vm)
    assert seen.storage == SHARED
    driver.upload(vm, make_image(vm), SHARED)
    assert driver.attach(vm, image_name(vm), SHARED).how is AttachedHow.INSERTED


def stop(driver: VmwareDriver, vm: Vm) -> None:
    for image in driver.observe(vm).images:
        driver.detach(vm)
        driver.delete(vm, image)


def test_a_start_makes_few_calls(site: Site, driver: VmwareDriver, capsys: pytest.CaptureFixture[str]) -> None:
    warm(site, driver)
    vm = site.define()
    start(driver, vm)
    calls = site.center.calls()
    stop(driver, vm)
    stopping = site.center.calls()
    api, files = ([one for one in calls if (one in FILES) is of_files] for of_files in (False, True))
    with capsys.disabled():
        print(  # noqa: T201
            f"\nvSphere: {len(api)} API calls per start ({', '.join(api)}), and {len(files)} requests for files;"
            f" {len([one for one in stopping if one not in FILES])} API calls per stop"
        )
    assert len(api) <= MOST_CALLS
    assert site.files(vm) == []


def test_a_look_is_one_round_trip_to_the_property_collector(site: Site, driver: VmwareDriver) -> None:
    warm(site, driver)
    driver.observe(site.define())
    looking = ["FindAllByUuid", "RetrievePropertiesEx"]
    listing = ["SearchDatastore_Task", "RetrievePropertiesEx"]
    assert site.center.calls() == looking + listing


def test_there_is_one_session_for_all_threads_of_a_process_and_none_after_the_end(
    site: Site, make_driver: MakeDriver
) -> None:
    before = site.center.sessions()
    driver, vms = make_driver(), [site.define() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(driver.observe, vms))
    calls = site.center.calls()
    assert calls.count("Login") == 1
    assert site.center.sessions() == before + 1
    assert [(one.kind, one.open, one.reopened) for one in driver.connections()] == [("vsphere", 1, 0)]
    driver.close()
    assert site.center.calls() == ["Logout"]


def test_a_session_that_was_ended_is_opened_again_in_the_middle(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    image = make_image(vm)
    driver.observe(vm)
    site.center.expire_sessions()
    driver.upload(vm, image, SHARED)  # noticed by a request for a file
    site.center.expire_sessions()
    driver.attach(vm, image.name, SHARED)  # noticed by a call
    site.center.expire_sessions()
    driver.detach(vm)
    driver.delete(vm, StoredImage(image.name, SHARED))
    assert site.files(vm) == []
    assert site.center.calls().count("Login") == 4
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 3)]


def test_no_more_connections_are_used_at_once_than_the_inventory_says(site: Site, make_driver: MakeDriver) -> None:
    driver, vms = make_driver(connections=1, call_timeout=30.0), [site.define() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(driver.observe, vms))
    assert [one.storage for one in seen] == [SHARED] * 4


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


def test_looking_at_a_vm_again_needs_no_search(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.observe(vm)
    site.center.calls()
    driver.observe(vm)
    assert "FindAllByUuid" not in site.center.calls()


def test_a_vm_that_was_registered_anew_is_found_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.observe(vm)
    site.cloud.destroy(vm.instance_name)
    site.cloud.define(vm.uuid, vm.instance_name, datastore="shared")
    assert driver.observe(vm).storage == SHARED
