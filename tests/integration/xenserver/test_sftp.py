"""The second route: files in dom0 by SFTP, and a scan of the SR. The contract suite runs on it as well."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Place, Vm
from configdrive.ports import AttachedHow
from rigs.xapi import XapiPool
from tasks import isolation
from tasks.isolation import Isolation, Leaving
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import BLOCK_A, LOCAL_A, NFS, A, B, Cloud, give
from tests.integration.xenserver.dom0 import Dom0Server
from tests.mailboxes import Store
from tests.support import error_of, wait_until
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.image_folder import line_at


@pytest.fixture
def dom0(xapi: XapiPool, tmp_path: Path) -> Iterator[Dom0Server]:
    with Dom0Server(tmp_path / "ssh", xapi.host(A)) as server:
        yield server


def by_sftp(cloud: Cloud, dom0: Dom0Server) -> XenServerDriver:
    return cloud.driver({A: {"ssh": dom0.table}, B: {"ssh": dom0.table}}, storage_route="sftp")


@pytest.mark.parametrize("place", [NFS, LOCAL_A, BLOCK_A])
@pytest.mark.parametrize("route", ["import", "sftp"])
def test_with_ssh_the_directory_is_made(bare: Cloud, dom0: Dom0Server, place: Place, route: str) -> None:
    hosts: dict[str, dict[str, object]] = {A: {"ssh": dom0.table}, B: {"ssh": dom0.table}}
    driver, vm = bare.driver(hosts, storage_route=route), bare.vm(place)
    assert give(driver, vm, place=place).how is AttachedHow.INSERTED
    assert bare.images(place) == {str(image_name(vm)): make_image(vm).content}
    assert bare.folder(place).stat().st_mode & 0o777 == 0o700


def test_no_image_goes_over_xapi(cloud: Cloud, dom0: Dom0Server) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    assert cloud.pool.calls["VDI.create"] == cloud.pool.calls["PUT /import_raw_vdi"] == 0
    assert cloud.pool.calls["SR.scan"] == 1
    (path,) = cloud.folder(NFS).iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_unknown_host_key_is_refused(cloud: Cloud, dom0: Dom0Server) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm()
    dom0.forget_host_key()
    error = error_of(driver.upload, vm, make_image(vm), NFS)
    assert error.code is PermanentCode.ACCESS_DENIED
    assert dom0.opened == 0
    findings = [finding for finding in driver.check(A) if not finding.ok]
    assert [finding.subject for finding in findings] == [f"xenserver host {A}, ssh"]


@pytest.mark.parametrize("operation", ["write", "posix_rename"])
@pytest.mark.parametrize("full", [True, False])
def test_a_write_that_fails_leaves_nothing(cloud: Cloud, dom0: Dom0Server, operation: str, *, full: bool) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm()
    dom0.faulty[operation], dom0.full = asyncssh.SFTPFailure("no"), full  # OpenSSH says no more of a full disk
    code = TransientCode.STORAGE_FULL if full else TransientCode.STORAGE_UNAVAILABLE
    assert error_of(driver.upload, vm, make_image(vm), NFS).code is code
    assert cloud.images(NFS) == {}
    dom0.faulty.clear()
    driver.upload(vm, make_image(vm), NFS)
    assert len(cloud.images(NFS)) == 1


def test_a_worker_that_was_killed_before_the_scan_is_finished_by_the_next(cloud: Cloud, dom0: Dom0Server) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm()
    cloud.pool.faults.drop("SR.scan", after_effect=False)
    assert isinstance(error_of(driver.upload, vm, make_image(vm), NFS).code, TransientCode)
    assert give(driver, vm).how is AttachedHow.INSERTED
    assert cloud.medium(vm) == make_image(vm).content


def test_a_survey_clears_what_nobody_writes_to_any_more(cloud: Cloud, dom0: Dom0Server) -> None:
    driver, vm, other = by_sftp(cloud, dom0), cloud.vm(), cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    old, new, foreign = (
        cloud.folder(NFS) / f"{name}.part"
        for name in (image_name(other, 1).file, image_name(other, 2).file, "somebody-s")
    )
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    survey = driver.survey(A)
    assert [image.name for image in survey.images] == [image_name(vm)]
    assert (old.exists(), new.exists(), foreign.exists()) == (False, True, True)


def test_one_scan_serves_all_who_waited_for_it(cloud: Cloud, dom0: Dom0Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 600.0)
    store, driver, vms = Store(), by_sftp(cloud, dom0), [cloud.vm() for _ in range(3)]
    driver.upload(vms[0], make_image(vms[0], 2), NFS)
    place = driver.observe(vms[0]).storage
    assert place is not None
    cloud.pool.calls.clear()

    def bring(vm: Vm) -> None:
        with Isolation(store.places).watch(vm.hypervisor, f"of {vm.uuid}", frozenset(), vm=vm.uuid):
            driver.upload(vm, make_image(vm), NFS)

    line = line_at(place)

    def all_wait() -> bool:
        """Whether they are behind another process, which stays there."""
        assert store.places.come_alone(line, "another process") == 0
        return store.client.zcard(f"{store.prefix}asked:{line}") == 1 + len(vms)

    assert not all_wait()
    with ThreadPoolExecutor(len(vms)) as threads:
        jobs = [threads.submit(bring, vm) for vm in vms]
        wait_until(all_wait, "all to wait", timeout=60)
        store.places.go_away(line, "another process", Leaving.ENDED)
        for job in jobs:
            job.result(300)
    assert cloud.pool.calls["SR.scan"] == 1
    for vm in vms:
        assert driver.attach(vm, image_name(vm), NFS).how is AttachedHow.INSERTED


@pytest.mark.parametrize("what", ["the image", "the folder"])
def test_a_link_is_not_followed_to_what_only_root_may_read(cloud: Cloud, dom0: Dom0Server, what: str) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm(BLOCK_A)
    driver.upload(vm, make_image(vm), BLOCK_A)
    folder, aside = cloud.folder(BLOCK_A), cloud.folder(BLOCK_A).with_name("aside")
    if what == "the folder":
        folder.rename(aside)
        folder.symlink_to("aside")
    else:
        (folder.parent / "secret").write_bytes(b"root's own".ljust(len(make_image(vm).content), b"!"))
        (folder / image_name(vm).file).unlink()
        (folder / image_name(vm).file).symlink_to("../secret")
    error = error_of(driver.copy, vm, image_name(vm), BLOCK_A, NFS)
    assert error.code in {PermanentCode.ACCESS_DENIED, PermanentCode.IMAGE_LOST}
    assert cloud.images(NFS) == {}
    if what == "the folder":
        assert error_of(driver.upload, vm, make_image(vm, 2), BLOCK_A).code is PermanentCode.ACCESS_DENIED


def test_a_folder_that_others_may_look_into_is_closed(cloud: Cloud, dom0: Dom0Server) -> None:
    driver, vm = by_sftp(cloud, dom0), cloud.vm()
    cloud.folder(NFS).chmod(0o755)
    driver.upload(vm, make_image(vm), NFS)
    assert cloud.folder(NFS).stat().st_mode & 0o777 == 0o700
