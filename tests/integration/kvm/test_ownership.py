"""A private image is readable for a QEMU that is not root, because libvirt hands it over, or that AppArmor confines."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from configdrive.ports import Check
from rigs.libvirt import LibvirtHost
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HDD, HOST, Cloud, MakeDriver, give, image_at, on_h1
from tests.support import require, require_rig
from workers.hypervisors.kvm.domain_xml import Target, disk_xml
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.inventory import HostTable

HELPER = Path("/usr/lib/libvirt/virt-aa-helper")
ITS_PROFILE = Path("/etc/apparmor.d/usr.lib.libvirt.virt-aa-helper")
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


def pool_of(driver: KvmDriver) -> Check:
    (found,) = (check for check in driver.check(HOST) if "pool local" in check.subject)
    return found


def test_a_vm_of_qemu_s_user_boots_with_its_image_which_is_nobody_else_s(
    unprivileged: Cloud, make_driver: MakeDriver
) -> None:
    cloud, home, user = unprivileged, on_h1("local"), pwd.getpwnam(QEMU_USER)
    new = partial(make_driver, uri=cloud.host.uri, cache_directory="/var/cache/configdrive")
    driver, vm = new(), cloud.define(HDD)
    os.chown(cloud.pool / f"{vm.uuid}.root", user.pw_uid, user.pw_gid)
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), home)
        path = cloud.pool / image_at(image_name(vm, generation))
        assert owned(path) == (user.pw_uid, 0o600)
        driver.attach(vm, image_name(vm, generation), home)
        if generation == 1:
            cloud.start(vm)
        assert (owned(path), cloud.guest_sees(vm)) == ((user.pw_uid, 0o600), [str(path)])
    found = pool_of(driver)
    assert (found.ok, f"owner {user.pw_uid}" in found.detail) == (True, True)
    assert list((cloud.pool / "configdrive").glob("configdrive-probe*")) == []

    # A directory that is given to a user of its own: QEMU's is to be in its group.
    os.chown(cloud.pool, 36, 36)
    cloud.connection.storagePoolLookupByName("local").refresh(0)
    new().upload(vm, make_image(vm, 3), home)
    assert owned(cloud.pool / image_at(image_name(vm, 3))) == (36, 0o640)
    found = pool_of(new(image_owner=0, image_group=0))
    assert (found.ok, "image_mode" in found.remedy) == (False, True)
    cloud.stop(vm)
    mended = new(image_owner=0, image_group=0, image_mode="0644")
    assert [check.subject for check in mended.check(HOST) if not check.ok] == []
    give(mended, vm, home, 4)
    cloud.start(vm)
    cloud.stop(vm)


def profile(xml: str, uuid: str) -> list[str]:
    """What AppArmor's profile of a VM would be made of, or the complaint of libvirt's helper.

    Only the kernel of a confined host could refuse the rest; this asks no kernel.
    """
    require(HELPER.exists(), "libvirt's virt-aa-helper is not installed")
    argv = [str(HELPER), "--dryrun", "--create", "--uuid", f"libvirt-{uuid}"]
    done = subprocess.run(argv, input=xml, check=False, capture_output=True, text=True)
    return [line.strip() for line in (done.stdout + done.stderr).splitlines()]


@pytest.mark.parametrize("where", ["local", "host-cache"])
def test_apparmor_s_profile_lets_qemu_read_the_image_and_write_nothing(
    cloud: Cloud, driver: KvmDriver, where: str
) -> None:
    vm, place = cloud.define(HDD), on_h1(where)
    driver.upload(vm, make_image(vm), place)
    path = driver.attach(vm, image_name(vm), place).path
    lines = profile(cloud.domain(vm).XMLDesc(0), vm.uuid)
    assert f'"{path}" rk,' in lines
    assert f'deny "{path}" w,' in lines


def test_the_cache_may_lie_where_the_inventory_has_it_by_default_and_not_where_libvirt_lets_no_vm_read(
    cloud: Cloud,
) -> None:
    vm = cloud.define()
    domain = ET.fromstring(cloud.domain(vm).XMLDesc(0))  # noqa: S314  # the test's own libvirtd
    devices = domain.find("devices")
    assert devices is not None
    said = {}
    kept = [
        f"/{name}/configdrive"
        for name in ("etc", "bin", "lib", "sbin", "usr/bin", "usr/lib", "usr/sbin", "proc", "sys")
    ]
    for directory in (HostTable.model_fields["cache_directory"].default, *kept):
        drive = ET.fromstring(disk_xml(Target("hdd", "ide"), f"{directory}/1c/{image_name(vm)}"))  # noqa: S314
        devices.append(drive)
        said[str(directory)] = " ".join(profile(ET.tostring(domain, encoding="unicode"), vm.uuid))
        devices.remove(drive)
    assert f'"/var/cache/configdrive/1c/{image_name(vm)}" rk,' in said["/var/cache/configdrive"]
    assert [directory for directory in kept if "skipped restricted file" not in said[directory]] == []


def test_the_helper_itself_may_look_at_an_image_wherever_it_lies(cloud: Cloud) -> None:
    require(ITS_PROFILE.exists(), "no AppArmor profiles here")
    assert re.search(r"^\s*/\*\*\.\[iI\]\[sS\]\[oO\] r,$", ITS_PROFILE.read_text(), re.MULTILINE)
    assert str(image_name(cloud.new_vm())).endswith(".iso")
