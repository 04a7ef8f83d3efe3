"""A private image is readable for a QEMU that is not root, because libvirt hands it over."""

from __future__ import annotations

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
from tests.integration.kvm.cloud import Cloud, disk
from tests.support import require, require_rig
from workers.hypervisors.kvm.driver import KvmDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

QEMU_USER = "libvirt-qemu"
AS_DEBIAN_HAS_IT = f"""\
user = "{QEMU_USER}"
group = "{QEMU_USER}"
dynamic_ownership = 1
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


@pytest.fixture
def unprivileged(folder: Path) -> Iterator[Cloud]:
    with require_rig():
        host = LibvirtHost(folder / "host")
        host.start()
    try:
        require(any(one.pw_name == QEMU_USER for one in pwd.getpwall()), f"no user {QEMU_USER} here")
        (host.directory / "etc" / "qemu.conf").write_text(AS_DEBIAN_HAS_IT)
        host.stop_daemon()
        subprocess.run(host.within(["sh", "-c", OPEN_KVM, str(folder / "kvm")]), check=True)
        host.start_daemon()
        cloud = Cloud(host, "local", folder / "local")
        yield cloud
        cloud.close()
    finally:
        host.stop()


def test_an_image_in_a_drive_belongs_to_qemu_s_user_and_to_nobody_else(unprivileged: Cloud) -> None:
    cloud, home = unprivileged, Place(StorageName("local"), HostName("h1"))
    driver = KvmDriver.from_inventory({"hosts": {"h1": {"uri": cloud.host.uri}}})
    vm = cloud.define(disk(None, "hdd", "ide"), running=True)
    paths = [cloud.pool / "configdrive" / str(image_name(vm, generation)) for generation in (1, 2)]
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), home)
        driver.attach(vm, image_name(vm, generation), home)
    user = pwd.getpwnam(QEMU_USER).pw_uid
    assert [(path.stat().st_uid, path.stat().st_mode & 0o777) for path in paths] == [(user, 0o600)] * 2
    assert str(paths[1]) in {drive.path for drive in cloud.drives(vm).values()}
    driver.close()
