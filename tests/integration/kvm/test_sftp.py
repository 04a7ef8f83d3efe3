"""What only the SFTP route has: parts that are renamed, and sessions that end."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Place, StorageName, StoredImage
from configdrive.ports import Connections
from rigs.sshd import SshServer
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import CACHE, HDD, HOST, Cloud, MakeDriver, image_at, on_h1
from tests.support import error_of
from workers.driverkit.ssh import ABANDONED_SECONDS
from workers.hypervisors.kvm.image_folder import shard_of


def test_shared_pools_go_by_sftp_and_local_ones_by_libvirt_unless_the_inventory_says_otherwise(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    cloud.add_pool("near", tmp_path / "near")
    cloud.add_pool("far", tmp_path / "far")
    driver = make_driver(ssh=ssh_table, pools={"far": {"shared": True}})
    vm = cloud.new_vm()
    driver.upload(vm, make_image(vm), on_h1("near"))
    driver.upload(vm, make_image(vm), Place(StorageName("far")))
    pools = {pool.name() for pool in cloud.connection.listAllStoragePools(0)}
    assert "configdrive-near" in pools
    assert "configdrive-far" not in pools


def test_a_link_in_place_of_a_part_is_not_followed(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    driver = make_driver(ssh=ssh_table)
    vm = cloud.new_vm()
    folder = tmp_path / "cache" / shard_of(vm.uuid)
    folder.mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"untouched")
    (folder / f"{image_name(vm)}.part").symlink_to(tmp_path / "victim")
    driver.upload(vm, make_image(vm), CACHE)
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (folder / str(image_name(vm))).read_bytes() == make_image(vm).content


def test_an_image_by_sftp_belongs_to_whom_the_inventory_says(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    driver = make_driver(ssh=ssh_table, image_owner=36, image_group=107, image_mode="0640")
    driver.upload(vm := cloud.new_vm(), make_image(vm), CACHE)
    found = (tmp_path / image_at(image_name(vm), "cache")).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (36, 107, 0o640)


def test_an_image_that_is_qemu_s_by_now_is_read_through_libvirt_where_the_sftp_user_is_not_root(
    cloud: Cloud, make_driver: MakeDriver
) -> None:
    directory = Path(tempfile.mkdtemp(prefix="configdrive-sftp-"))
    directory.chmod(0o711)
    server = SshServer(directory / "ssh", within=cloud.host.within, user="daemon")
    try:
        server.start()
        (directory / "ssh").chmod(0o711)
        (directory / "pool").mkdir()
        shutil.chown(directory / "pool", "daemon")
        cloud.add_pool("theirs", directory / "pool")
        driver = make_driver(ssh=server.table, storage_route="sftp")
        vm, here = cloud.new_vm(), on_h1("theirs")
        driver.upload(vm, make_image(vm), here)
        image = directory / "pool" / image_at(image_name(vm))
        assert image.owner() == "daemon"
        os.chown(image, 0, 0)
        cloud.add_pool("target", directory / "target")
        shutil.chown(directory / "target", "daemon")
        driver.copy(vm, image_name(vm), here, on_h1("target"))
        assert (directory / "target" / image_at(image_name(vm))).read_bytes() == make_image(vm).content
    finally:
        server.stop()
        shutil.rmtree(directory)


def test_a_link_under_an_image_s_name_is_no_image(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    """It leads to a file that root alone may read, as an SFTP user who is root can."""
    secret = tmp_path / "shadow"
    secret.write_bytes(b"root:$6$only-root-may-read-this" + bytes(4096))
    secret.chmod(0o600)
    driver, vm = make_driver(ssh=ssh_table), cloud.define(HDD)
    cloud.add_pool("target", tmp_path / "target")
    image, path = make_image(vm), tmp_path / "cache" / shard_of(vm.uuid) / str(image_name(vm))
    path.parent.mkdir(mode=0o711, parents=True)
    path.symlink_to(secret)
    no_image = {PermanentCode.IMAGE_LOST, TransientCode.UPLOAD_CORRUPT}
    assert error_of(driver.copy, vm, image.name, CACHE, on_h1("target")).code in no_image
    assert error_of(driver.attach, vm, image.name, CACHE).code in no_image
    assert not (tmp_path / "target" / image_at(image.name)).exists()
    assert cloud.media(vm) == {"hdd": None}

    driver.upload(vm, image, CACHE)
    assert (path.is_symlink(), path.read_bytes()) == (False, image.content)
    path.unlink()
    path.symlink_to(secret)
    driver.delete(vm, StoredImage(image.name, CACHE), anyones=False)
    assert not path.is_symlink()
    assert secret.read_bytes().startswith(b"root:")


def test_what_a_killed_upload_left_goes_with_the_next_event_that_names_it_and_with_a_later_survey(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], home: Place
) -> None:
    """Killed in the middle, and nothing is remembered of it: a file with a password, under no image's name."""
    driver = make_driver(ssh=ssh_table, storage_route="sftp")
    vms = [cloud.define() for _ in range(4)]
    parts = [cloud.pool / f"{image_at(image_name(vm))}.part" for vm in vms]
    for vm, part in zip(vms, parts, strict=True):
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(make_image(vm).content[:1000])
    old = time.time() - 2 * ABANDONED_SECONDS
    os.utime(parts[3], (old, old))

    driver.observe(vms[0], (), [image_name(vms[0])])
    driver.observe(vms[1])
    driver.delete(vms[2], StoredImage(image_name(vms[2]), home), anyones=False)
    assert [part.exists() for part in parts] == [False, False, False, True]
    parts[2].write_bytes(b"an upload that is going on")
    assert {vm.uuid for vm in vms}.isdisjoint(image.name.vm_uuid for image in driver.survey(HOST).images)
    assert [part.exists() for part in parts] == [False, False, True, False]
    parts[2].unlink()


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
