"""What only the SFTP route has: parts that are renamed, and sessions that end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from configdrive.model import HostName, Place, StorageName
from configdrive.ports import Connections
from tests.contract.rig import image_name, make_image

if TYPE_CHECKING:
    from rigs.sshd import SshServer
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver

HOST = HostName("h1")
CACHE = Place(StorageName("host-cache"), HOST)


def test_shared_pools_go_by_sftp_and_local_ones_by_libvirt_unless_the_inventory_says_otherwise(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    cloud.add_pool("near", tmp_path / "near")
    cloud.add_pool("far", tmp_path / "far")
    driver = make_driver(ssh=ssh_table, pools={"far": {"shared": True}})
    vm = cloud.new_vm()
    driver.upload(vm, make_image(vm), Place(StorageName("near"), HOST))
    driver.upload(vm, make_image(vm), Place(StorageName("far")))
    pools = {pool.name() for pool in cloud.connection.listAllStoragePools(0)}
    assert "configdrive-near" in pools
    assert "configdrive-far" not in pools


def test_a_link_in_place_of_a_part_is_not_followed(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    driver = make_driver(ssh=ssh_table)
    vm = cloud.new_vm()
    folder = tmp_path / "cache"
    folder.mkdir()
    (tmp_path / "victim").write_bytes(b"untouched")
    (folder / f"{image_name(vm)}.part").symlink_to(tmp_path / "victim")
    driver.upload(vm, make_image(vm), CACHE)
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (folder / str(image_name(vm))).read_bytes() == make_image(vm).content


def test_sftp_goes_on_when_sshd_was_started_anew(
    cloud: Cloud, make_driver: MakeDriver, ssh: SshServer, ssh_table: dict[str, object]
) -> None:
    driver = make_driver(ssh=ssh_table)
    vm = cloud.new_vm()
    driver.upload(vm, make_image(vm, 1), CACHE)
    children = Path(f"/proc/{ssh.pid}/task/{ssh.pid}/children").read_text().split()
    assert children
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    driver.upload(vm, make_image(vm, 2), CACHE)
    assert Connections(HOST, "ssh", open=1, reopened=1) in driver.connections()
