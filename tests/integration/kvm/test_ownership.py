"""A private image is readable for a QEMU that is not root, because libvirt hands it over."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configdrive.model import HostName, Place, StorageName
from rigs.libvirt import LibvirtHost
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import Cloud, disk, image_at
from tests.support import require, require_rig
from workers.hypervisors.kvm.driver import KvmDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

QEMU_USER = "libvirt-qemu"
QEMU_CONF = f"""\
user = "{QEMU_USER}"
group = "{QEMU_USER}"
dynamic_ownership = {{dynamic}}
remember_owner = 1
security_driver = "none"
stdio_handler = "file"
namespaces = [ ]
cgroup_controllers = [ ]
"""


# A machine's /dev/kvm may be root's alone. As long as that differs from what libvirtd finds out as root, it asks QEMU
# for its capabilities again and again, for seconds.
OPEN_KVM = """\
[ -e /dev/kvm ] || exit 0
mknod "$0" c 10 232
chmod 666 "$0"
mount --bind "$0" /dev/kvm
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user may pass through, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="configdrive-kvm-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=[1, 0], ids=["dynamic ownership", "as they are"])
def unprivileged(folder: Path, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with require_rig():
        host = LibvirtHost(folder / "host")
        host.start()
    try:
        require(any(one.pw_name == QEMU_USER for one in pwd.getpwall()), f"no user {QEMU_USER} here")
        (host.directory / "etc" / "qemu.conf").write_text(QEMU_CONF.format(dynamic=request.param))
        host.stop_daemon()
        subprocess.run(host.within(["sh", "-c", OPEN_KVM, str(folder / "kvm")]), check=True)
        host.start_daemon()
        cloud = Cloud(host, "local", folder / "local")
        yield cloud
        cloud.close()
    finally:
        host.stop()


def owned(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_mode & 0o777


def test_a_vm_of_qemu_s_user_boots_with_its_image_which_is_nobody_else_s(unprivileged: Cloud) -> None:
    cloud, home = unprivileged, Place(StorageName("local"), HostName("h1"))
    driver = KvmDriver.from_inventory({"hosts": {"h1": {"uri": cloud.host.uri}}})
    vm = cloud.define(disk(None, "hdd", "ide"))
    user = pwd.getpwnam(QEMU_USER)
    os.chown(cloud.pool / f"{vm.uuid}.root", user.pw_uid, user.pw_gid)
    paths = [cloud.pool / image_at(image_name(vm, generation)) for generation in (1, 2)]
    for generation, path in enumerate(paths, start=1):
        driver.upload(vm, make_image(vm, generation), home)
        assert owned(path) == (user.pw_uid, 0o600)
        driver.attach(vm, image_name(vm, generation), home)
        if generation == 1:
            cloud.start(vm)
        assert (owned(path), str(path) in {drive.path for drive in cloud.drives(vm).values()}) == (
            (user.pw_uid, 0o600),
            True,
        )
    (found,) = (check for check in driver.check(HostName("h1")) if "pool local" in check.subject)
    assert (found.ok, f"owner {user.pw_uid}" in found.detail) == (True, True)
    assert list((cloud.pool / "configdrive").glob("configdrive-probe*")) == []

    # A directory that is given to a user of its own: QEMU's is to be in its group.
    os.chown(cloud.pool, 36, 36)
    cloud.connection.storagePoolLookupByName("local").refresh(0)
    theirs = KvmDriver.from_inventory({"hosts": {"h1": {"uri": cloud.host.uri}}})
    theirs.upload(vm, make_image(vm, 3), home)
    assert owned(cloud.pool / image_at(image_name(vm, 3))) == (36, 0o640)
    squashed = KvmDriver.from_inventory({"hosts": {"h1": {"uri": cloud.host.uri, "image_owner": 0, "image_group": 0}}})
    (found,) = (check for check in squashed.check(HostName("h1")) if "pool local" in check.subject)
    assert (found.ok, "image_mode" in found.remedy) == (False, True)
    cloud.stop(vm)
    mended = KvmDriver.from_inventory(
        {"hosts": {"h1": {"uri": cloud.host.uri, "image_owner": 0, "image_group": 0, "image_mode": "0644"}}}
    )
    assert [check.subject for check in mended.check(HostName("h1")) if not check.ok] == []
    mended.upload(vm, make_image(vm, 4), home)
    mended.attach(vm, image_name(vm, 4), home)
    cloud.start(vm)
    for one in (driver, theirs, squashed, mended):
        one.close()
    cloud.stop(vm)
