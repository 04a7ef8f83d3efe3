"""Uploads that break on the way: what is reported, what is left, and what the next attempt makes of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from os import utime

import pytest

from configdrive.errors import Code, PermanentCode, TransientCode
from tests.contract.rig import image_name, make_image
from tests.integration.vmware.conftest import MakeDriver, Site
from tests.support import error_of
from workers.hypervisors.vmware.driver import VmwareDriver

T, P = TransientCode, PermanentCode


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"method": "PUT", "cut": 100_000}, T.HOST_UNREACHABLE),
        ({"method": "PUT", "cut": 1}, T.HOST_UNREACHABLE),
        ({"method": "PUT", "close": True}, T.HOST_UNREACHABLE),
        ({"method": "PUT", "close": True, "after": True}, T.HOST_UNREACHABLE),
        ({"method": "PUT", "keep": 100_000}, T.UPLOAD_CORRUPT),
        ({"method": "PUT", "status": 400}, T.UPLOAD_CORRUPT),
        ({"method": "PUT", "status": 401}, P.ACCESS_DENIED),
        ({"method": "PUT", "status": 403}, P.ACCESS_DENIED),
        ({"method": "PUT", "status": 404}, T.STORAGE_UNAVAILABLE),
        ({"method": "PUT", "status": 500}, T.STORAGE_UNAVAILABLE),
        ({"method": "PUT", "status": 503}, T.HOST_UNREACHABLE),
        ({"method": "PUT", "status": 507}, T.STORAGE_FULL),
        ({"method": "GET", "status": 500}, T.STORAGE_UNAVAILABLE),
        ({"method": "GET", "close": True}, T.HOST_UNREACHABLE),
        ({"method": "MoveDatastoreFile_Task", "close": True}, T.HOST_UNREACHABLE),
        ({"method": "MoveDatastoreFile_Task", "close": True, "after": True}, T.HOST_UNREACHABLE),
        ({"method": "MoveDatastoreFile_Task", "fault": "FileAlreadyExists", "task": True}, T.STORAGE_UNAVAILABLE),
        ({"method": "MoveDatastoreFile_Task", "fault": "NoDiskSpace", "task": True}, T.STORAGE_FULL),
        ({"method": "MoveDatastoreFile_Task", "fault": "FileLocked", "task": True}, T.IMAGE_IN_USE),
    ],
    ids=str,
)
def test_an_upload_that_breaks_is_reported_and_the_next_one_leaves_the_one_image(
    site: Site, driver: VmwareDriver, rule: dict[str, object], code: Code
) -> None:
    vm = site.define()
    image = make_image(vm)
    driver.upload(vm, make_image(vm, 7), site.other)  # the folder is there, the session too
    with site.center.broken(rule):
        assert error_of(driver.upload, vm, image, site.shared).code is code
    path = site.center.datastore("shared") / "configdrive" / str(image.name)
    assert not path.exists() or path.read_bytes() == image.content
    driver.upload(vm, image, site.shared)
    assert path.read_bytes() == image.content
    assert site.files(vm) == [f"other/{image_name(vm, 7)}", f"shared/{image.name}"]


def test_the_folder_is_made_with_the_first_image(site: Site, driver: VmwareDriver) -> None:
    place = site.place("pod-b")
    vm = site.define(datastore="pod-b")
    assert not (site.center.datastore("pod-b") / "configdrive").exists()
    assert driver.observe(vm).images == ()
    driver.upload(vm, make_image(vm), place)
    assert [image.place for image in driver.observe(vm).images] == [place]


def test_of_several_who_make_the_folder_at_once_none_fails(site: Site, make_driver: MakeDriver) -> None:
    driver, vms = make_driver(connections=4), [site.define(datastore="pod-a") for _ in range(4)]
    for vm in vms:
        driver.observe(vm, names=[])
    with site.center.delay(100), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda vm: driver.upload(vm, make_image(vm), site.place("pod-a")), vms))
    assert [driver.observe(vm, names=[image_name(vm)]).images != () for vm in vms] == [True] * 4


def test_a_half_written_file_that_nobody_writes_to_goes_with_a_survey(site: Site, driver: VmwareDriver) -> None:
    vm, long_ago = site.define(), (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    folder = site.center.datastore("shared") / "configdrive"
    folder.mkdir(exist_ok=True)
    abandoned, recent = folder / f"{image_name(vm, 1)}.part", folder / f"{image_name(vm, 2)}.part"
    for path in (abandoned, recent):
        path.write_bytes(b"half")
    utime(abandoned, (long_ago, long_ago))
    driver.survey(vm.host)
    assert (abandoned.exists(), recent.exists()) == (False, True)
    driver.observe(vm)
    assert not recent.exists()
