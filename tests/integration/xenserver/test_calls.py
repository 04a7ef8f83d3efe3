"""What a start costs XAPI, and that many starts at once end well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from configdrive.model import StoredImage, Vm
from configdrive.ports import AttachedHow
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import NFS, Cloud
from workers.hypervisors.xenserver.names import VM_MARK

if TYPE_CHECKING:
    from workers.hypervisors.xenserver.driver import XenServerDriver

MOST = 14
"""Calls of a start with a warm session, HTTP handlers included."""


def start(driver: XenServerDriver, vm: Vm, generation: int = 1) -> AttachedHow:
    """Make the calls of a start event, as the reconciler does for a VM without images."""
    place = driver.observe(vm).storage
    assert place is not None
    driver.upload(vm, make_image(vm, generation), place)
    return driver.attach(vm, image_name(vm, generation), place).how


@pytest.mark.parametrize("drive", [True, False])
def test_a_start_with_a_warm_session_costs_no_more_than_fourteen_calls(
    cloud: Cloud, driver: XenServerDriver, capsys: pytest.CaptureFixture[str], *, drive: bool
) -> None:
    start(driver, cloud.vm())
    vm = cloud.vm()
    if drive:
        cloud.site.add_cd(vm.uuid, "4", {VM_MARK: vm.uuid})
    cloud.pool.calls.clear()
    assert start(driver, vm) is AttachedHow.INSERTED
    calls = dict(cloud.pool.calls)
    with capsys.disabled():
        print(f"\nXAPI calls of a start, drive {'there' if drive else 'made'}: {sum(calls.values())}: {calls}")  # noqa: T201
    assert sum(calls.values()) <= MOST
    assert cloud.medium(vm) == make_image(vm).content


def test_a_restart_costs_no_more(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    start(driver, vm)
    driver.detach(vm)
    driver.delete(vm, StoredImage(image_name(vm), NFS))
    cloud.pool.calls.clear()
    start(driver, vm, 2)
    assert sum(cloud.pool.calls.values()) <= MOST, cloud.pool.calls
    assert cloud.medium(vm) == make_image(vm, 2).content


def test_thirty_vms_started_at_once_by_eight_workers_get_thirty_images_in_one_sr(cloud: Cloud) -> None:
    workers = [cloud.driver(timeout=30.0) for _ in range(8)]
    vms = [cloud.vm() for _ in range(30)]
    with ThreadPoolExecutor(len(workers)) as pool:
        jobs = [pool.submit(start, workers[number % len(workers)], vm) for number, vm in enumerate(vms)]
        assert {job.result(timeout=100) for job in jobs} == {AttachedHow.INSERTED}
    assert len(cloud.iso_srs()) == 1
    assert cloud.images(NFS) == {str(image_name(vm)): make_image(vm).content for vm in vms}
    for vm in vms:
        assert cloud.medium(vm) == make_image(vm).content
