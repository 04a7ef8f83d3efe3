"""A file that any VM has in a drive is not deleted, whatever was known of that VM before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import TransientCode
from configdrive.model import StoredImage
from tests.contract.rig import image_name, make_image
from tests.support import error_of

if TYPE_CHECKING:
    from tests.integration.vmware.conftest import Site
    from workers.hypervisors.vmware.driver import VmwareDriver


def test_what_a_vm_got_since_the_last_look_is_seen(site: Site, driver: VmwareDriver) -> None:
    vm, thief = site.define(), site.define()
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), site.shared)
    driver.delete(vm, StoredImage(image_name(vm, 1), site.shared))  # now it is known that the thief has nothing
    site.cloud.insert(thief.instance_name, f"[shared] configdrive/{image_name(vm, 2)}")
    caught = error_of(driver.delete, vm, StoredImage(image_name(vm, 2), site.shared))
    assert caught.code is TransientCode.IMAGE_IN_USE
    assert thief.instance_name in caught.detail
    driver.detach(thief)
    driver.delete(vm, StoredImage(image_name(vm, 2), site.shared))
    assert site.files(vm) == []


def test_a_vm_on_another_datastore_is_seen_as_well(site: Site, driver: VmwareDriver) -> None:
    vm, thief = site.define(datastore="other"), site.define(datastore="shared")
    driver.upload(vm, make_image(vm), site.other)
    site.cloud.insert(thief.instance_name, f"[other] configdrive/{image_name(vm)}")
    assert error_of(driver.delete, vm, StoredImage(image_name(vm), site.other)).code is TransientCode.IMAGE_IN_USE
    site.cloud.destroy(thief.instance_name)
    driver.delete(vm, StoredImage(image_name(vm), site.other))
    assert site.files(vm) == []


def test_only_vms_that_have_changed_are_read_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), site.shared)
    driver.delete(vm, StoredImage(image_name(vm, 1), site.shared))
    driver.observe(vm, names=[])
    site.center.calls()
    driver.delete(vm, StoredImage(image_name(vm, 2), site.shared))
    assert site.center.calls() == ["RetrievePropertiesEx", "DeleteDatastoreFile_Task", "RetrievePropertiesEx"]


def test_a_vm_that_goes_while_it_is_looked_at_has_nothing(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    driver.observe(vm, names=[])
    site.define()  # is not known yet, so that devices are read
    gone = {"method": "RetrievePropertiesEx", "fault": "ManagedObjectNotFound", "skip": 1, "times": 1}
    with site.center.broken(gone):
        driver.delete(vm, StoredImage(image_name(vm), site.shared))
    assert site.files(vm) == []
