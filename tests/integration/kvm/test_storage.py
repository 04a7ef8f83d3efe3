"""The folder of images on a storage: made once, private, verified, on every kind of pool, by either route."""

import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import libvirt
import pytest

from configdrive.errors import Code, PermanentCode, TransientCode
from configdrive.model import Image, Place, StorageName, StoredImage
from configdrive.ports import EmptyDrive
from rigs.hanging_files import HangingFiles
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import CACHE, HDD, HOST, Cloud, MakeDriver, Mount, give, image_at, on_h1, root_in
from tests.support import error_of, require_rig
from tests.unit.workers.hypervisors.kvm.test_faults import failed
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.image_folder import SftpFolder, VolumeFolder


@pytest.fixture(params=["volume", "sftp"])
def routed(request: pytest.FixtureRequest, make_driver: MakeDriver, ssh_table: dict[str, object]) -> KvmDriver:
    """A driver for each route."""
    route: str = request.param
    return make_driver(storage_route=route, ssh=ssh_table if route == "sftp" else None)


def seen_on_host(cloud: Cloud, path: Path) -> list[str]:
    listing = subprocess.run(
        cloud.host.within(["find", str(path), "-printf", "%P %m\\n"]), check=True, capture_output=True, text=True
    )
    return sorted(line for line in listing.stdout.splitlines() if not line.startswith(" "))


def test_images_are_private_and_their_folder_lists_nothing_to_others(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("fresh", tmp_path / "fresh")
    vm = cloud.new_vm()
    routed.upload(vm, make_image(vm), on_h1("fresh"))
    where = image_at(image_name(vm))
    assert seen_on_host(cloud, tmp_path / "fresh") == sorted(
        ["configdrive 711", f"{Path(where).parent} 711", f"{where} 600", "configdrive/storage.id 600"]
    )


@pytest.mark.parametrize("looked", [False, True])
def test_a_folder_that_others_could_read_or_write_is_taken_from_them(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, *, looked: bool
) -> None:
    cloud.add_pool("open", tmp_path / "open")
    (tmp_path / "open" / "configdrive").mkdir()
    (tmp_path / "open" / "configdrive").chmod(0o777)
    vm = cloud.define(root=root_in(tmp_path / "open"))
    if looked:
        routed.observe(vm)
    routed.upload(vm, make_image(vm), on_h1("open"))
    assert "configdrive 711" in seen_on_host(cloud, tmp_path / "open")


def test_looking_makes_no_folder(cloud: Cloud, routed: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("fresh", tmp_path / "fresh")
    vm = cloud.define(root=root_in(tmp_path / "fresh"))
    assert routed.observe(vm, [CACHE]).images == ()
    routed.survey(HOST)
    routed.delete(vm, StoredImage(image_name(vm), on_h1("fresh")))
    assert seen_on_host(cloud, tmp_path / "fresh") == []


def test_a_file_that_came_or_went_past_libvirt_is_noticed(cloud: Cloud, routed: KvmDriver, home: Place) -> None:
    vm = cloud.define()
    routed.upload(vm, make_image(vm), home)
    path = cloud.pool / image_at(image_name(vm))
    path.unlink()
    assert routed.observe(vm).images == ()
    assert error_of(routed.attach, vm, image_name(vm), home).code is TransientCode.UPLOAD_CORRUPT
    path.write_bytes(make_image(vm).content)
    assert routed.observe(vm).images == (StoredImage(image_name(vm), home),)
    routed.delete(vm, StoredImage(image_name(vm), home))
    assert not path.exists()


def test_threads_that_begin_at_once_make_one_folder(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    for round_ in range(3):
        place = on_h1(f"busy-{round_}")
        cloud.add_pool(place.storage, tmp_path / str(round_))
        vms = [cloud.new_vm() for _ in range(8)]
        with ThreadPoolExecutor(len(vms)) as pool:
            for done in [pool.submit(driver.upload, vm, make_image(vm), place) for vm in vms]:
                done.result(timeout=300)
        assert len(list((tmp_path / str(round_) / "configdrive").rglob("*.iso"))) == len(vms)
        cloud.clean()


def test_a_file_that_others_just_begin_to_read_is_written_and_deleted_all_the_same(
    cloud: Cloud, driver: KvmDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = cloud.define()
    refused: list[str] = []

    def refusing(method: str) -> None:
        real = getattr(libvirt.virStorageVol, method)

        def once(volume: libvirt.virStorageVol, *arguments: object) -> object:
            if method not in refused:
                refused.append(method)
                # Recorded from libvirt 9.0, in the moment in which another connection opens the volume to read it.
                text = f"Requested operation is not valid: volume '{volume.name()}' is still in use."
                raise failed(libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_STORAGE, text)
            return real(volume, *arguments)

        monkeypatch.setattr(libvirt.virStorageVol, method, once)

    refusing("upload")
    refusing("delete")
    driver.upload(vm, make_image(vm), home)
    driver.delete(vm, StoredImage(image_name(vm), home))
    assert refused == ["upload", "delete"]
    assert driver.observe(vm, [home]).images == ()


@pytest.mark.parametrize(("name", "active"), [("their-iso-pool", True), ("configdrive-other", False)])
def test_a_pool_in_that_directory_that_somebody_else_has_made_is_used_and_started(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path, name: str, *, active: bool
) -> None:
    cloud.add_pool("other", tmp_path / "other")
    cloud.add_pool(name, tmp_path / "other" / "configdrive", active=active)
    vm, place = cloud.define(), on_h1("other")
    driver.upload(vm, make_image(vm), place)
    assert (tmp_path / "other" / image_at(image_name(vm))).exists()
    assert [image.name for image in driver.observe(vm, [place]).images] == [image_name(vm)]


def test_a_pool_that_bears_our_name_elsewhere_is_refused(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("other", tmp_path / "other")
    cloud.add_pool("configdrive-other", tmp_path / "elsewhere")
    vm = cloud.define()
    assert error_of(driver.upload, vm, make_image(vm), on_h1("other")).code is PermanentCode.MISCONFIGURED
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_under_an_image_s_name_is_neither_written_through_nor_taken_for_the_image(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    """By volumes, too, where libvirt follows it: what it leads to is not what the image's name promises."""
    vm, victim = cloud.define(HDD), tmp_path / "victim"
    victim.write_bytes(b"root:$6$only-root-may-read-this" + bytes(4096))
    path, image = cloud.pool / image_at(image_name(vm)), make_image(vm)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim)
    failure = error_of(driver.copy, vm, image.name, home, CACHE, lambda sha256: sha256 == image.sha256)
    assert failure.code is PermanentCode.IMAGE_LOST
    driver.upload(vm, image, home)
    assert (path.is_symlink(), path.read_bytes()) == (False, image.content)
    assert victim.read_bytes().startswith(b"root:")


def test_a_network_pool_is_shared_and_its_folder_lies_on_it(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, mount: Mount
) -> None:
    mount(tmp_path / "nfs", "size=20m", "127.0.0.1:/export")
    source = "<source><host name='127.0.0.1'/><dir path='/export'/></source>"
    cloud.add_pool("nfs", tmp_path / "nfs", "netfs", source)
    vm = cloud.define(root=root_in(tmp_path / "nfs"))
    place = Place(StorageName("nfs"))
    assert routed.observe(vm).storage == place
    assert give(routed, vm, place).path == str(tmp_path / "nfs" / image_at(image_name(vm)))
    assert f"{image_at(image_name(vm))} 600" in seen_on_host(cloud, tmp_path / "nfs")

    # Unmounted, nothing is written into the directory below.
    cloud.connection.storagePoolLookupByName("nfs").destroy()
    assert routed.observe(vm).unreachable == (place,)
    assert error_of(routed.upload, vm, make_image(vm, 2), place).code is TransientCode.STORAGE_UNAVAILABLE
    assert list((tmp_path / "nfs").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ("size=300k", {TransientCode.STORAGE_FULL}),
        ("ro", {PermanentCode.ACCESS_DENIED, TransientCode.STORAGE_UNAVAILABLE}),
    ],
)
def test_a_storage_that_is_full_or_read_only_is_reported_and_nothing_half_done_is_left(  # noqa: PLR0913, PLR0917
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, mount: Mount, options: str, codes: set[Code]
) -> None:
    mount(tmp_path / "bad", options)
    cloud.add_pool("bad", tmp_path / "bad")
    vm = cloud.new_vm()
    assert error_of(routed.upload, vm, make_image(vm), on_h1("bad")).code in codes
    assert [line for line in seen_on_host(cloud, tmp_path / "bad") if vm.uuid in line] == []


@pytest.mark.parametrize("folder", [VolumeFolder, SftpFolder])
def test_what_reads_back_otherwise_is_not_left_there(
    cloud: Cloud,
    make_driver: MakeDriver,
    ssh_table: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    folder: type,
) -> None:
    """A storage that damages what it stores: the bytes are damaged on their way out."""
    vm = cloud.define()
    if folder is VolumeFolder:
        driver, place = make_driver(), on_h1("local")
        sent = VolumeFolder._upload
        monkeypatch.setattr(VolumeFolder, "_upload", lambda self, volume, data: sent(self, volume, b"\0" * len(data)))
    else:
        driver, place = make_driver(ssh=ssh_table), CACHE
        written = asyncssh.SFTPClientFile.write
        monkeypatch.setattr(asyncssh.SFTPClientFile, "write", lambda self, data: written(self, data[:-1]))
    assert error_of(driver.upload, vm, make_image(vm), place).code is TransientCode.UPLOAD_CORRUPT
    assert driver.observe(vm, [place]).images == ()


def test_the_largest_image_goes_through(cloud: Cloud, routed: KvmDriver, home: Place) -> None:
    vm = cloud.define()
    image = make_image(vm, sectors=64 * 1024 * 1024 // 2048)
    routed.upload(vm, image, home)
    assert (cloud.pool / image_at(image.name)).read_bytes() == image.content
    routed.delete(vm, StoredImage(image.name, home))


def test_every_size_is_written_exactly(cloud: Cloud, routed: KvmDriver, home: Place) -> None:
    vm = cloud.new_vm()
    for generation, size in enumerate([0, 1, 511, 2048, 262_080, 262_081]):
        content = bytes(itertools.islice(itertools.cycle(range(251)), size))
        routed.upload(vm, Image(image_name(vm, generation), "config", content, ""), home)
        assert (cloud.pool / image_at(image_name(vm, generation))).read_bytes() == content


def test_a_storage_that_hangs_is_asked_once_and_all_that_lies_elsewhere_goes_on(
    cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path
) -> None:
    """libvirt's calls into it do not come back, and it waits for the pools that they hold."""
    cloud.add_pool("bad", tmp_path / "bad")
    place = on_h1("bad")
    with require_rig():
        hangs = HangingFiles(tmp_path / "bad", tmp_path / "asked", cloud.host.within)
    driver = make_driver(call_timeout=2.0)
    bad = [cloud.define(HDD, root=root_in(tmp_path / "bad")) for _ in range(3)]
    good = [cloud.define(HDD) for _ in range(2)]
    for vm in (*bad, *good):
        give(driver, vm, place if vm in bad else home, 1)
    with hangs:
        for vm in bad:
            for _ in range(2):
                failure = error_of(driver.upload, vm, make_image(vm, 2), place)
                assert (failure.code, "hangs" in failure.detail) == (TransientCode.STORAGE_UNAVAILABLE, True)
            driver.detach(vm, [image_name(vm)])
            seen = driver.observe(vm, (), [image_name(vm)])
            assert (seen.storage and seen.storage.storage, seen.drive) == (place.storage, EmptyDrive())
            assert seen.unreachable == (seen.storage,)
        for vm in good:
            assert driver.observe(vm, (), [image_name(vm)]).images != ()
            give(driver, vm, home, 2)
        assert hangs.waiting == 1, "and held one thread of libvirtd's"
    for vm in bad:
        give(driver, vm, place, 3)
