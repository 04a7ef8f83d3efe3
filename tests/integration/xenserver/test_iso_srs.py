"""The one ISO SR of a primary storage: where it lies, and that there is one, whoever and however many make it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.errors import FleetError, PermanentCode
from configdrive.model import Place
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import BLOCK_A, BLOCK_B, LOCAL_A, LOCAL_B, NFS, A, B, Cloud, give
from tests.support import error_of
from workers.hypervisors.xenserver import iso_sr as making
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import CLAIM, POINTER


def bring(cloud: Cloud, driver: XenServerDriver, place: Place = NFS) -> None:
    """Bring an image of a new VM to a storage."""
    vm = cloud.vm(place, host=place.host or A)
    driver.upload(vm, make_image(vm), place)


def primary(cloud: Cloud, place: Place) -> str:
    return str(cloud.call("SR.get_by_uuid", cloud.storages[place]))


@pytest.mark.parametrize("place", [NFS, LOCAL_A, BLOCK_A])
def test_the_images_of_all_vms_lie_in_one_sr_on_the_storage_of_their_root_disks(
    cloud: Cloud, driver: XenServerDriver, place: Place
) -> None:
    vms = [cloud.vm(place) for _ in range(3)]
    for vm in vms:
        storage = driver.observe(vm).storage
        assert storage == place
        give(driver, vm, place=storage)
    (iso_sr,) = cloud.iso_srs()
    assert (iso_sr["type"], iso_sr["content_type"], iso_sr["shared"]) == ("iso", "iso", place is NFS)
    assert cloud.images(place) == {str(image_name(vm)): make_image(vm).content for vm in vms}
    for vm in vms:
        (drive,) = cloud.config_drives(vm)
        assert (drive.sr, drive.kind, drive.mode) == (iso_sr["uuid"], "CD", "RO")
        assert drive.userdevice not in {"0", "3"}


def test_an_nfs_storage_s_sr_lies_on_the_same_export_and_is_attached_on_every_host(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    bring(cloud, driver)
    (iso_sr,) = cloud.iso_srs()
    records = cloud.call("PBD.get_all_records").values()
    pbds = [record for record in records if record["SR"] == cloud.call("SR.get_by_uuid", iso_sr["uuid"])]
    location = f"nfs1:/export/primary/{cloud.storages[NFS]}/configdrive"
    assert [record["device_config"] for record in pbds] == [{"location": location, "type": "nfs_iso"}] * 2
    assert {record["host"] for record in pbds} == {host.reference for host in cloud.pool.hosts}
    assert all(record["currently_attached"] for record in pbds)


def test_each_host_has_its_own_sr_where_the_storage_s_files_are_not_shared(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    for place in (LOCAL_A, LOCAL_B, BLOCK_A, BLOCK_B):
        bring(cloud, driver, place)
    assert len(cloud.iso_srs()) == 4
    assert all(len(cloud.images(place)) == 1 for place in (LOCAL_A, LOCAL_B, BLOCK_A, BLOCK_B))


def test_processes_that_know_nothing_of_one_another_make_one_sr(cloud: Cloud) -> None:
    vms = [cloud.vm() for _ in range(6)]
    cloud.pool.faults.delay("SR.create", 0.3)
    children = []
    for vm in vms:
        driver = cloud.driver(timeout=60.0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                driver.upload(vm, make_image(vm), NFS)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    ends = {os.waitpid(child, 0)[1] for child in children}
    assert ends == {0}
    assert len(cloud.iso_srs()) == 1
    assert cloud.pool.calls["SR.create"] == 1
    assert len(cloud.images(NFS)) == 6


@pytest.mark.parametrize("ahead", [-1, 3600])
def test_a_claim_of_a_worker_that_died_ends_by_itself_whatever_its_clock(
    cloud: Cloud, driver: XenServerDriver, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(making, "CLAIM_SECONDS", 1.0)
    cloud.call("SR.add_to_other_config", primary(cloud, NFS), CLAIM, f"dead {time.time() + ahead:.0f}")
    bring(cloud, driver)
    assert len(cloud.iso_srs()) == 1
    assert CLAIM not in cloud.call("SR.get_other_config", primary(cloud, NFS))


@pytest.mark.parametrize("method", ["SR.create", "SR.add_to_other_config", "SR.get_record"])
def test_an_sr_whose_making_was_cut_off_is_finished_and_not_made_again(cloud: Cloud, method: str) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    for _ in range(3):
        cloud.pool.faults.drop(method)
        try:
            driver.upload(vm, make_image(vm), NFS)
        except FleetError:
            _expire_claim(cloud)
    cloud.pool.faults.clear()
    driver.upload(vm, make_image(vm), NFS)
    assert len(cloud.iso_srs()) == 1
    assert cloud.pool.calls["SR.create"] == 1
    assert list(cloud.images(NFS)) == [str(image_name(vm))]


def _expire_claim(cloud: Cloud) -> None:
    """Let the time of a claim pass: the dropped answer may have been that to the claim itself."""
    storage = primary(cloud, NFS)
    if CLAIM in cloud.call("SR.get_other_config", storage):
        cloud.call("SR.remove_from_other_config", storage, CLAIM)
        cloud.call("SR.add_to_other_config", storage, CLAIM, "dead 1")


def test_an_sr_that_was_forgotten_is_made_anew(cloud: Cloud, driver: XenServerDriver) -> None:
    bring(cloud, driver)
    (old,) = cloud.iso_srs()
    reference = cloud.call("SR.get_by_uuid", old["uuid"])
    for pbd in list(old["PBDs"]):
        cloud.call("PBD.unplug", pbd)
    cloud.call("SR.forget", reference)
    vm = cloud.vm()
    error_of(driver.upload, vm, make_image(vm), NFS)  # it believed in the old one
    driver.upload(vm, make_image(vm), NFS)
    (new,) = cloud.iso_srs()
    assert cloud.call("SR.get_other_config", primary(cloud, NFS))[POINTER] == new["uuid"] != old["uuid"]
    assert len(cloud.images(NFS)) == 2  # forgetting an SR leaves its files


def test_a_host_that_came_later_gets_the_shared_sr_attached(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    (iso_sr,) = cloud.iso_srs()
    on_b = next(p for p in iso_sr["PBDs"] if cloud.call("PBD.get_host", p) == cloud.pool.host(B).reference)
    cloud.call("PBD.unplug", on_b)
    fresh = cloud.driver()
    there = cloud.vm(host=B)
    give(fresh, there)
    assert cloud.call("PBD.get_currently_attached", on_b)


@pytest.mark.parametrize("place", [LOCAL_A, NFS])
def test_without_the_directory_the_remedy_names_it(bare: Cloud, place: Place) -> None:
    """Of NFS that is no outage, though XAPI says that it cannot mount it."""
    driver, vm = bare.driver(), bare.vm(place)
    caught = error_of(driver.upload, vm, make_image(vm), place)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert f"/run/sr-mount/{bare.storages[place]}/configdrive" in caught.remedy
    assert bare.iso_srs() == []
    bare.folder(place).mkdir()
    driver.upload(vm, make_image(vm), place)
    assert len(bare.images(place)) == 1


def test_when_two_have_made_one_all_the_same_only_one_is_ever_used(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "CLAIM_SECONDS", -5.0)  # every claim is over at once
    drivers = [cloud.driver(timeout=20.0) for _ in range(4)]
    vms = [cloud.vm() for _ in drivers]
    cloud.pool.faults.delay("SR.create", 0.5, times=None)

    def upload(number: int) -> None:
        drivers[number].upload(vms[number], make_image(vms[number]), NFS)

    with ThreadPoolExecutor(len(drivers)) as pool:
        list(pool.map(upload, range(len(drivers)), timeout=300))
    assert cloud.pool.calls["SR.create"] > 1
    (iso_sr,) = cloud.iso_srs()
    assert cloud.call("SR.get_other_config", primary(cloud, NFS))[POINTER] == iso_sr["uuid"]
    assert len(iso_sr["VDIs"]) == len(cloud.images(NFS)) == 4
