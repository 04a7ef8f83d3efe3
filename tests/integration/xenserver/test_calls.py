"""What a start costs XAPI, and that many starts at once end well."""

import pytest

from configdrive.model import Vm
from configdrive.ports import AttachedHow
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import NFS, Cloud
from workers.hypervisors.xenserver.driver import XenServerDriver

MOST, MOST_OF_A_STOP = 12, 9
"""Requests of a start and a stop with a warm session, HTTP handlers included."""


def start(driver: XenServerDriver, vm: Vm, generation: int = 1) -> AttachedHow:
    """Make the calls of a start event, as the reconciler does for a VM whose last image is the one before."""
    name, old = image_name(vm, generation), image_name(vm, generation - 1)
    seen = driver.observe(vm, names=[name, old])
    assert seen.storage is not None
    driver.upload(vm, make_image(vm, generation), seen.storage)
    how = driver.attach(vm, name, seen.storage).how
    for image in seen.images:
        driver.delete(vm, image, anyones=False)
    return how


def stop(driver: XenServerDriver, vm: Vm, generation: int) -> None:
    """Make the calls of a stop event."""
    seen = driver.observe(vm, names=[image_name(vm, generation)])
    driver.detach(vm, seen.media)
    for image in seen.images:
        driver.delete(vm, image, anyones=False)


def require_at_most(number: int, cloud: Cloud) -> None:
    """See how much was asked of XAPI since the last time."""
    calls = dict(cloud.pool.calls)
    cloud.pool.calls.clear()
    assert sum(calls.values()) <= number, calls


@pytest.mark.parametrize("running", [True, False])
def test_an_event_with_a_warm_session_costs_so_many_requests(
    cloud: Cloud, driver: XenServerDriver, *, running: bool
) -> None:
    start(driver, cloud.vm())
    vm = cloud.vm()
    cloud.pool.calls.clear()
    assert start(driver, vm) is AttachedHow.INSERTED
    require_at_most(MOST, cloud)  # a first start
    if running:
        cloud.site.start_vm(vm.uuid)
    assert start(driver, vm, 2) is AttachedHow.INSERTED
    require_at_most(MOST, cloud)  # a start that replaces the image
    assert start(cloud.driver(), vm, 3) is AttachedHow.INSERTED  # another process has done it meanwhile
    cloud.pool.calls.clear()
    assert start(driver, vm, 4) is AttachedHow.INSERTED
    require_at_most(MOST, cloud)  # a start that replaces another worker's image
    assert cloud.medium(vm) == make_image(vm, 4).content
    stop(driver, vm, 4)
    require_at_most(MOST_OF_A_STOP, cloud)  # a stop
    assert (cloud.medium(vm), cloud.images(NFS).keys() & {image_name(vm, 4).file}) == (None, set())
