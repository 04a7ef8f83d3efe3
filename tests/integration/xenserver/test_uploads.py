"""Imports that break, hang, lie or are sent elsewhere: in the end there is the one right image, or none."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import StoredImage, Vm
from rigs.xapi.faults import EXPORT, IMPORT
from tests.contract.rig import failure_of, image_name, make_image
from tests.integration.xenserver.cloud import LOCAL_B, NFS, A, B, Cloud
from tests.support import error_of, wait_until
from workers.hypervisors.xenserver.driver import XenServerDriver

LIMIT = 3.0
"""Seconds of these drivers' calls, so that what hangs is given up soon."""

FOR_EVER = 3600.0
"""Seconds: longer than any test may take."""


def vdis(cloud: Cloud) -> list[str]:
    (iso_sr,) = cloud.iso_srs()
    return [cloud.call("VDI.get_name_label", vdi) for vdi in cloud.call("SR.get_VDIs", _ref(cloud, iso_sr["uuid"]))]


def _ref(cloud: Cloud, uuid: str) -> str:
    return str(cloud.call("SR.get_by_uuid", uuid))


@pytest.mark.parametrize("method", [IMPORT, EXPORT])
@pytest.mark.parametrize("after_effect", [True, False])
def test_an_image_that_does_not_read_back_is_brought_once_more_with_a_task(
    cloud: Cloud, driver: XenServerDriver, method: str, *, after_effect: bool
) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm, 1), NFS)
    assert cloud.pool.calls["task.create"] == 0
    cloud.pool.faults.drop(method, after_effect=after_effect)
    driver.upload(vm, make_image(vm, 2), NFS)
    assert cloud.images(NFS)[image_name(vm, 2).file] == make_image(vm, 2).content
    assert (cloud.pool.calls["task.create"], cloud.call("task.get_all_records")) == (1, {})


@pytest.mark.parametrize("method", ["VDI.create", "task.create", IMPORT, "task.get_record", EXPORT])
@pytest.mark.parametrize("after_effect", [True, False])
def test_a_dropped_import_leaves_nothing_after_the_retry_but_the_one_right_image(
    cloud: Cloud, driver: XenServerDriver, method: str, *, after_effect: bool
) -> None:
    vm = cloud.vm()
    if method.startswith("task"):
        cloud.pool.faults.drop(IMPORT)  # so that it is asked for
    cloud.pool.faults.drop(method, after_effect=after_effect, times=2 if method in {IMPORT, EXPORT} else 1)
    error = error_of(driver.upload, vm, make_image(vm), NFS)
    assert isinstance(error.code, TransientCode)
    cloud.driver().upload(vm, make_image(vm), NFS)
    assert cloud.images(NFS) == {str(image_name(vm)): make_image(vm).content}
    assert vdis(cloud) == [str(image_name(vm))]
    if method != "task.create":  # one of which nobody knows ends by itself, as XAPI clears old tasks
        labels = [record["name_label"] for record in cloud.call("task.get_all_records").values()]
        assert "import of a config drive" not in labels


def test_an_import_whose_worker_was_killed_leaves_nothing_after_the_retry_but_the_one_right_image(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(timeout=20.0)
    cloud.pool.faults.delay(IMPORT, FOR_EVER)
    child = os.fork()
    if child == 0:
        try:
            driver.upload(vm, make_image(vm), NFS)
        finally:
            os._exit(0)
    all_there = {str(image_name(vm)): make_image(vm).content}
    wait_until(lambda: cloud.images(NFS) == all_there, "the import to have all", timeout=10)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    other = make_image(vm, 1, sectors=200)  # its generation, with other content
    assert error_of(driver.upload, vm, other, NFS).code is TransientCode.IMAGE_IN_USE, "the import still goes on"
    cloud.pool.faults.clear()
    wait_until(lambda: failure_of(lambda: driver.upload(vm, other, NFS)) is None, "the retry", timeout=20)
    assert cloud.images(NFS) == {str(image_name(vm)): other.content}
    assert vdis(cloud) == [str(image_name(vm))]


@pytest.mark.parametrize(
    ("description", "code"),
    [
        (("VDI_IO_ERROR", "Device I/O errors"), TransientCode.STORAGE_UNAVAILABLE),
        (("SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""), TransientCode.STORAGE_FULL),
        (("INTERNAL_ERROR", "Unix.Unix_error(Unix.ENOSPC)"), TransientCode.HYPERVISOR_ERROR),
    ],
)
def test_two_hundred_is_not_believed_when_the_task_says_otherwise(
    cloud: Cloud, driver: XenServerDriver, description: tuple[str, ...], code: TransientCode
) -> None:
    vm = cloud.vm()
    cloud.pool.faults.fail(IMPORT, *description, times=2)
    assert error_of(driver.upload, vm, make_image(vm), NFS).code is code
    assert cloud.images(NFS) == {}


def test_an_import_that_does_not_end_is_given_up(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(timeout=LIMIT)
    driver.upload(vm, make_image(vm, 1), NFS)
    cloud.pool.faults.delay(IMPORT, FOR_EVER)
    error = error_of(driver.upload, vm, make_image(vm, 2), NFS)
    assert error.code in {TransientCode.TASK_TIMEOUT, TransientCode.HOST_UNREACHABLE}


def test_bytes_that_were_lost_on_the_way_are_noticed(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm, 1), NFS)
    cloud.pool.faults.drop(EXPORT, times=2)  # half of the image comes back
    error = error_of(driver.upload, vm, make_image(vm, 2), NFS)
    assert error.code is TransientCode.UPLOAD_CORRUPT
    assert list(cloud.images(NFS)) == [str(image_name(vm, 1))]


def test_an_sr_that_only_another_host_sees_is_reached_by_the_redirect(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm(LOCAL_B, B)
    driver.upload(vm, make_image(vm), LOCAL_B)
    driver.upload(vm, make_image(vm), LOCAL_B)  # reading is redirected too
    assert cloud.images(LOCAL_B) == {str(image_name(vm)): make_image(vm).content}
    assert driver.attach(vm, image_name(vm), LOCAL_B).path.endswith(str(image_name(vm)))


def test_a_redirect_to_a_host_that_is_not_in_the_inventory_is_not_followed(cloud: Cloud) -> None:
    section = cloud.section()
    lonely = type(cloud.driver()).from_inventory(
        {**section, "hosts": {**section["hosts"], B: {**section["hosts"][B], "url": "https://127.0.0.9", "pool": "p"}}},
        call_timeout=5.0,
    )
    vm = cloud.vm(LOCAL_B, B)
    error = error_of(lonely.upload, vm, make_image(vm), LOCAL_B)
    assert error.code is PermanentCode.MISCONFIGURED
    assert "which the inventory does not name" in error.detail
    lonely.close()


def test_a_session_that_expired_is_opened_again_before_an_import(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm, 1), NFS)
    assert cloud.pool.expire_sessions() == 1
    driver.upload(vm, make_image(vm, 2), NFS)
    assert len(cloud.images(NFS)) == 2


def interrupted(cloud: Cloud, driver: XenServerDriver, vm: Vm) -> None:
    """Bring an image while the host's toolstack is restarted."""
    cloud.pool.calls.clear()
    cloud.pool.faults.delay(IMPORT, 2.0)

    def upload() -> None:
        with suppress(FleetError):  # whether it is in time with its second try is not said
            driver.upload(vm, make_image(vm), NFS)

    thread = threading.Thread(target=upload)
    thread.start()
    wait_until(lambda: bool(held(cloud)), "the import to begin", timeout=10)
    cloud.pool.restart_toolstack(A)
    thread.join(300)
    assert not thread.is_alive()


def held(cloud: Cloud) -> list[dict[str, object]]:
    """What the control domains have."""
    vbds = cloud.call("VBD.get_all_records").values()
    return [vbd for vbd in vbds if cloud.call("VM.get_is_control_domain", vbd["VM"])]


def test_what_a_restarted_toolstack_has_left_is_deleted_by_the_storage_sweep(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = cloud.vm()
    interrupted(cloud, driver, vm)
    assert len(held(cloud)) == 1
    driver.delete(vm, StoredImage(image_name(vm), NFS), anyones=True)
    assert (cloud.images(NFS), held(cloud)) == ({}, [])


def test_an_import_that_goes_on_is_left_alone(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    interrupted(cloud, driver, vm)
    (vbd,) = held(cloud)
    config = vbd["other_config"]
    assert isinstance(config, dict)
    config["task_id"] = cloud.call("task.create", "somebody's import", "")
    error = error_of(driver.delete, vm, StoredImage(image_name(vm), NFS), anyones=False)
    assert error.code is TransientCode.IMAGE_IN_USE
    assert len(held(cloud)) == 1


def test_a_new_master_in_the_middle_of_an_import_costs_an_attempt_and_no_more(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(timeout=10.0)
    driver.upload(vm, make_image(vm, 1), NFS)
    cloud.pool.faults.drop(IMPORT, meanwhile=lambda: cloud.pool.make_master(B))
    first = failure_of(lambda: driver.upload(vm, make_image(vm, 2), NFS))
    assert first is None or isinstance(first.code, TransientCode)
    driver.upload(vm, make_image(vm, 2), NFS)
    assert cloud.images(NFS)[image_name(vm, 2).file] == make_image(vm, 2).content
    assert len(vdis(cloud)) == 2


def test_files_of_which_xapi_lost_the_rows_are_seen_by_a_sweep_with_one_scan(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    lost = image_name(vm, 2)
    (cloud.folder(NFS) / lost.file).write_bytes(b"as xapi's last writes were lost")
    cloud.pool.calls.clear()
    for host in (A, B):
        assert StoredImage(lost, NFS) in driver.survey(host).images
    assert cloud.pool.calls["SR.scan"] == 1
    driver.delete(vm, StoredImage(lost, NFS))
    assert list(cloud.images(NFS)) == [image_name(vm).file]


def test_a_scan_that_newer_releases_give_up_is_tried_again_later(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    cloud.pool.faults.fail("SR.scan", "INTERNAL_ERROR", "SR.scan: retry limit exceeded")
    survey = driver.survey(A)
    assert survey.unreachable == (NFS,)
