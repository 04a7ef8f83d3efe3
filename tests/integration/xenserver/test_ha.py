"""A VM that HA restarts on any host: its image lies where all hosts see it, or is refused with the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import StoredImage
from configdrive.ports import AttachedHow
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import BLOCK_A, LOCAL_A, NFS, A, B, Cloud, give
from tests.support import error_of


@pytest.mark.parametrize("newer", [False, True])
def test_an_image_that_one_host_sees_is_refused_for_good(cloud: Cloud, *, newer: bool) -> None:
    cloud.pool.world.newer = newer
    driver, vm = cloud.driver(), cloud.vm(BLOCK_A)
    cloud.pool.protect(vm.uuid)
    error = error_of(give, driver, vm, place=BLOCK_A)
    assert error.code is PermanentCode.MISCONFIGURED
    assert "fallback_sr" in error.remedy
    assert ("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED" in error.detail) is newer


def test_with_a_fallback_it_lies_there_and_moves_with_the_vm(cloud: Cloud) -> None:
    driver, vm, plain = cloud.driver(fallback_sr="nfs"), cloud.vm(BLOCK_A), cloud.vm(BLOCK_A)
    cloud.pool.protect(vm.uuid)
    assert driver.observe(plain).storage == BLOCK_A
    assert driver.observe(vm).storage == NFS
    assert give(driver, vm).how is AttachedHow.INSERTED
    cloud.site.start_vm(vm.uuid, A)
    cloud.site.stop_vm(vm.uuid)  # its host fails
    cloud.site.start_vm(vm.uuid, B)
    seen = driver.observe(replace(vm, host=B))
    assert (seen.storage, seen.images) == (NFS, (StoredImage(image_name(vm), NFS),))
    assert cloud.medium(vm) == make_image(vm).content


@pytest.mark.parametrize(("name", "well"), [("nfs", True), ("local", False), ("elsewhere", False)])
def test_doctor_looks_at_the_fallback(cloud: Cloud, name: str, *, well: bool) -> None:
    assert cloud.storages[LOCAL_A]
    assert all(check.ok for check in cloud.driver(fallback_sr=name).check(A)) is well
