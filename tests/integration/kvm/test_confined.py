"""A VM that AppArmor confines reaches its image: libvirt's own helper says which lines its profile gets.

Only the kernel of a confined host could refuse the rest; this asks no kernel.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from configdrive.model import HostName, Place, StorageName
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk
from tests.support import require
from workers.hypervisors.kvm.domain_xml import Target, disk_xml
from workers.hypervisors.kvm.inventory import HostTable

if TYPE_CHECKING:
    from tests.integration.kvm.cloud import Cloud
    from workers.hypervisors.kvm.driver import KvmDriver

HELPER = Path("/usr/lib/libvirt/virt-aa-helper")
ITS_PROFILE = Path("/etc/apparmor.d/usr.lib.libvirt.virt-aa-helper")


@pytest.fixture(autouse=True)
def helper() -> None:
    require(HELPER.exists(), "libvirt's virt-aa-helper is not installed")


def profile(xml: str, uuid: str) -> list[str]:
    """What a VM's profile would be made of, or the helper's complaint."""
    argv = [str(HELPER), "--dryrun", "--create", "--uuid", f"libvirt-{uuid}"]
    done = subprocess.run(argv, input=xml, check=False, capture_output=True, text=True)
    return [line.strip() for line in (done.stdout + done.stderr).splitlines()]


@pytest.mark.parametrize("where", ["local", "host-cache"])
def test_its_profile_lets_qemu_read_the_image_and_write_nothing(cloud: Cloud, driver: KvmDriver, where: str) -> None:
    vm, place = cloud.define(disk(None, "hdd", "ide")), Place(StorageName(where), HostName("h1"))
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
