"""What `configdrive doctor` says of a XenServer host."""

import pytest

from configdrive.ports import Check
from tests.contract.rig import make_image
from tests.integration.xenserver.cloud import LOCAL_A, NFS, A, B, Cloud
from workers.hypervisors.xenserver.driver import XenServerDriver


def findings(driver: XenServerDriver) -> dict[str, Check]:
    return {check.subject.removeprefix(f"xenserver host {A}").lstrip(", "): check for check in driver.check(A)}


def test_of_a_well_host_it_tells_version_and_storages_and_changes_nothing(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    found = findings(driver)
    assert [name for name, check in found.items() if not check.ok] == []
    assert found[""].detail == "XCP-ng 8.3.0 answers"
    assert "/run/sr-mount/" in found["storage nfs"].detail
    assert cloud.iso_srs() == []
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    assert "shared, 1 images" in findings(driver)["storage nfs"].detail


@pytest.mark.parametrize(("version", "well"), [("8.2.1", True), ("8.10.0", True), ("7.6.0", False), ("", False)])
def test_an_old_version_is_reported(cloud: Cloud, driver: XenServerDriver, version: str, *, well: bool) -> None:
    software = cloud.pool.world.db.row("host", cloud.pool.host(A).reference)["software_version"]
    software["product_version"] = version
    assert findings(driver)[""].ok is well


def test_a_storage_that_is_not_attached_is_reported_with_the_remedy(cloud: Cloud, driver: XenServerDriver) -> None:
    (pbd,) = cloud.call("SR.get_PBDs", cloud.call("SR.get_by_uuid", cloud.storages[LOCAL_A]))
    cloud.call("PBD.unplug", pbd)
    found = findings(driver)["storage local"]
    assert not found.ok
    assert "pbd-plug" in found.remedy


def test_a_host_that_the_pool_does_not_have_is_reported(cloud: Cloud) -> None:
    found = findings(cloud.driver({A: {"name_label": "elsewhere"}}))
    assert not found[""].ok
    assert "name_label" in found[""].remedy


def test_a_host_may_be_called_otherwise_in_the_inventory(cloud: Cloud) -> None:
    driver = cloud.driver({A: {"name_label": cloud.pool.host(A).uuid}, B: {"name_label": B}})
    assert all(check.ok for check in driver.check(A))
    assert driver.observe(cloud.vm(LOCAL_A)).storage == LOCAL_A


def test_fix_makes_the_iso_srs_and_says_where_a_folder_is_missing(bare: Cloud) -> None:
    bare.folder(NFS).mkdir(parents=True)
    driver = bare.driver()
    found = {check.subject.rpartition(" ")[2]: check for check in driver.fix(A)}
    assert {name: check.ok for name, check in found.items()} == {"nfs": True, "local": False, "iscsi": False}
    assert f"/run/sr-mount/{bare.storages[LOCAL_A]}/configdrive" in found["local"].remedy
    bare.folder(LOCAL_A).mkdir(parents=True)
    assert [check.subject.rpartition(" ")[2] for check in driver.fix(A) if check.ok] == ["local"]  # the other has it
    assert "shared, 0 images" in findings(driver)["storage nfs"].detail
