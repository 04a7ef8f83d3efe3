"""Where on a datastore an image lies: in the fleet's folder, or in its VM's own directory; and what a sweep sees."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import AttachBy, HostName, Place, StorageName, StoredImage, Vm
from configdrive.ports import Inserted
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.vmware.conftest import MakeDriver, Site, give
from tests.support import error_of
from workers.hypervisors.vmware.driver import VmwareDriver
from workers.hypervisors.vmware.image_folder import ImageFolder
from workers.hypervisors.vmware.session import Found, Session

H1 = HostName("h1")


def directory(site: Site, vm: Vm, datastore: str = "vsan") -> Place:
    place = site.place(datastore)
    return replace(place, identity=f"{place.identity}#{vm.instance_name}")


@pytest.fixture
def in_directories(make_driver: MakeDriver) -> VmwareDriver:
    return make_driver(hosts={"h1": {"esxi": "esx-01", "placement": "vm-directory"}})


@pytest.fixture
def in_folders(make_driver: MakeDriver) -> VmwareDriver:
    return make_driver(hosts={"h1": {"esxi": "esx-01", "placement": "folder"}})


def test_vsan_takes_images_in_vms_directories_and_so_does_what_the_inventory_says(
    site: Site, driver: VmwareDriver, in_directories: VmwareDriver, in_folders: VmwareDriver
) -> None:
    on_vsan, elsewhere = site.define(datastore="vsan"), site.define(datastore="shared")
    assert driver.observe(on_vsan).storage == directory(site, on_vsan)
    assert driver.observe(elsewhere).storage == site.shared
    assert in_directories.observe(elsewhere).storage == directory(site, elsewhere, "shared")
    assert in_folders.observe(on_vsan).storage == site.place("vsan")
    named = replace(on_vsan, primary_storage=StorageName("vsan"))
    assert driver.observe(named).storage == directory(site, on_vsan)
    assert driver.observe(replace(on_vsan, primary_storage=StorageName("shared"))).storage == site.shared


def test_without_a_vm_or_with_an_orchestrator_that_inserts_it_an_image_lies_in_the_folder(
    site: Site, driver: VmwareDriver, make_driver: MakeDriver
) -> None:
    to_come = replace(new_vm("vmware", H1), primary_storage=StorageName("vsan"))
    assert driver.observe(to_come).storage == site.place("vsan")
    handed = replace(site.define(datastore="vsan"), attach_by=AttachBy.ORCHESTRATOR)
    assert driver.observe(handed).storage == site.place("vsan")
    falls_back = make_driver(hosts={"h1": {"esxi": "esx-01", "fallback_datastore": "other"}})
    assert falls_back.observe(handed).storage == site.other
    assert falls_back.observe(replace(handed, attach_by=AttachBy.FLEET)).storage == directory(site, handed)


def test_the_folder_on_vsan_is_an_object_that_is_made_once_and_known_by_its_own_name(
    site: Site, make_driver: MakeDriver
) -> None:
    hosts: dict[str, dict[str, object]] = {"h1": {"esxi": "esx-01", "placement": "folder"}}
    drivers, vms = [make_driver(hosts=hosts) for _ in range(4)], [site.define(datastore="vsan-2") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(give, drivers, vms))  # as the first of four processes
    [folder] = [path for path in site.center.datastore("vsan-2").iterdir() if path.is_symlink()]
    for vm in vms:
        [path] = site.cloud.media(vm.instance_name).values()
        assert path == f"[vsan-2] {folder.readlink()}/{image_name(vm)}"
        fresh = make_driver(hosts=hosts)
        assert fresh.observe(vm).drive == Inserted(image_name(vm), site.place("vsan-2"))
        fresh.detach(vm)
        fresh.delete(vm, StoredImage(image_name(vm), site.place("vsan-2")))
        assert site.files(vm) == []
    assert folder.exists()


def test_a_datastore_that_takes_no_folder_is_refused_with_the_remedy(site: Site, in_folders: VmwareDriver) -> None:
    vm = site.define(datastore="vsan")
    with site.center.broken(
        {"method": "PUT", "status": 404}, {"method": "CreateDirectory", "fault": "CannotCreateFile"}
    ):
        error = error_of(in_folders.upload, vm, make_image(vm), site.place("vsan"))
    assert error.code is PermanentCode.STORAGE_NOT_FOUND
    assert "vm-directory" in error.remedy


def test_an_old_directory_goes_with_its_last_file_only(site: Site, driver: VmwareDriver) -> None:
    for datastore, target in (("vsan", "vsan-2"), ("vsan-2", "vsan")):
        vm = site.define(datastore=datastore)
        image = give(driver, vm)
        old = site.center.datastore(datastore) / vm.instance_name
        site.cloud.relocate(vm.instance_name, datastore=target)
        (old / "notes.txt").write_text("a person's", "utf-8")
        give(driver, vm, generation=2)
        driver.delete(vm, StoredImage(image.name, directory(site, vm, datastore)))
        assert [path.name for path in old.iterdir()] == ["notes.txt"]
        (old / "notes.txt").unlink()
        driver.delete(vm, StoredImage(image.name, directory(site, vm, datastore)))  # gone already is success
        assert not old.exists()
        assert site.files(vm) == [f"{target}/{image_name(vm, 2)}"]


def test_what_comes_into_an_old_directory_after_the_look_stays(
    site: Site, in_directories: VmwareDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = site.define()
    image = give(in_directories, vm)
    old = site.center.datastore("shared") / vm.instance_name
    site.cloud.relocate(vm.instance_name, datastore="other")
    give(in_directories, vm, generation=2)
    looked = ImageFolder._is_empty

    def look(folder: ImageFolder, where: str) -> bool:
        found = looked(folder, where)
        if where == vm.instance_name:
            (old / "disk.vmdk").write_text("another VM's", "utf-8")
        return found

    monkeypatch.setattr(ImageFolder, "_is_empty", look)
    in_directories.delete(vm, StoredImage(image.name, directory(site, vm, "shared")))
    assert [path.name for path in old.iterdir()] == ["disk.vmdk"]
    assert [path.name for path in old.parent.iterdir() if "configdrive-" in path.name] == []


def test_a_directory_that_the_vm_has_just_left_is_not_made_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(datastore="vsan")
    before = driver.observe(vm).storage
    assert before is not None
    site.cloud.relocate(vm.instance_name, datastore="vsan-2")
    assert error_of(driver.upload, vm, make_image(vm), before).code is TransientCode.VM_BUSY
    assert site.files(vm) == []


def test_a_survey_knows_what_drives_have_in_vms_directories_and_a_deep_one_everything(
    site: Site, driver: VmwareDriver
) -> None:
    vm, gone = site.define(datastore="vsan"), site.define(datastore="vsan")
    give(driver, vm)
    lost = give(driver, gone)
    driver.detach(gone)
    inserted, nobodys = StoredImage(image_name(vm), directory(site, vm)), StoredImage(lost.name, directory(site, gone))
    survey = driver.survey(H1)
    assert inserted in survey.images
    assert nobodys not in survey.images
    deep = driver.survey_deep(H1)
    assert {inserted, nobodys} <= set(deep.images)
    site.cloud.destroy(gone.instance_name)


def test_a_search_of_a_datastore_may_take_an_hour_and_no_other_task_more_than_a_minute(
    site: Site, driver: VmwareDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = site.define(datastore="vsan")
    given = give(driver, vm)
    driver.detach(vm)
    [place] = [one.place for one in driver.survey_deep(H1).images if one.name == given.name]
    looks, retrieve = Counter[str](), Session.retrieve

    def slow(session: Session, wanted: Any, roots: Any, *more: Any) -> list[Found]:  # noqa: ANN401
        """Let what ends well, but for the list of a single folder, take a hundred looks, the next 20 s later."""
        found = retrieve(session, wanted, roots, *more)
        one_folder = vim.host.DatastoreBrowser.SearchResults
        well = [one for one in found if one.get("info.state") == "success"]
        looks.update(one.key for one in well if not isinstance(one.get("info.result"), one_folder))
        running = {"info.state": "running"}
        return [replace(one, properties=running) if 0 < looks[one.key] < 100 else one for one in found]

    clock = SimpleNamespace(monotonic=lambda: 20.0 * max(looks.values(), default=0), sleep=lambda _seconds: None)
    monkeypatch.setattr("workers.hypervisors.vmware.session.time", clock)
    monkeypatch.setattr(Session, "retrieve", slow)
    assert StoredImage(given.name, place) in driver.survey_deep(H1).images
    looks.clear()
    error = error_of(driver.attach, vm, given.name, place)
    assert (error.code, error.detail.endswith("has not ended within 60 s")) == (TransientCode.TASK_TIMEOUT, True)


def test_a_drive_that_names_an_image_of_before_gets_the_present_one(site: Site, driver: VmwareDriver) -> None:
    """So does a VM that was reverted to a snapshot: its drive names a file that is gone, in a directory of before."""
    vm = site.define(datastore="vsan")
    first = give(driver, vm)
    [old] = site.cloud.media(vm.instance_name).values()
    site.cloud.relocate(vm.instance_name, datastore="vsan-2")
    second = give(driver, vm, generation=2)
    driver.delete(vm, StoredImage(first.name, directory(site, vm)))
    site.cloud.insert(vm.instance_name, old)
    assert driver.observe(vm).drive == Inserted(first.name, directory(site, vm))
    place = directory(site, vm, "vsan-2")
    driver.attach(vm, second.name, place)
    assert driver.observe(vm).drive == Inserted(second.name, place)
