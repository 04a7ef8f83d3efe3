"""The least privileges: with them a whole life passes, without each alone an error and `doctor` name it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName, PowerState, StoredImage
from tests.contract.rig import make_image
from tests.integration.vmware.conftest import MakeDriver, Site, give
from tests.support import error_of

ROLE = Path(__file__).parents[3] / "deploy" / "vsphere" / "privileges.txt"
FOLDERS: dict[str, dict[str, object]] = {"h1": {"esxi": "esx-01", "placement": "folder"}}


def documented() -> list[str]:
    return ROLE.read_text("utf-8").split()


def test_the_role_s_file_and_the_guide_list_what_the_driver_says_that_it_needs() -> None:
    from workers.hypervisors.vmware.privileges import ON_DATASTORES, ON_OBJECT_STORES, ON_VMS  # noqa: PLC0415

    needed = {**ON_VMS, **ON_DATASTORES, **ON_OBJECT_STORES}
    assert documented() == sorted(needed)
    guide = (ROLE.parents[2] / "docs" / "how-to" / "vmware.md").read_text("utf-8")
    assert [one for one, why in needed.items() if f"| `{one}` | {why} |" not in guide] == []


def live(site: Site, make_driver: MakeDriver) -> None:
    """All that events do with drives: off and running, with and without a drive, in folders and directories."""
    by_default, in_folders = make_driver(), make_driver(hosts=FOLDERS)
    for driver, datastore in ((by_default, "shared"), (by_default, "vsan"), (in_folders, "vsan-2")):
        for power, drive in ((PowerState.HALTED, False), (PowerState.RUNNING, True), (PowerState.RUNNING, False)):
            vm = site.define(power, datastore=datastore, drive=drive)
            first = give(driver, vm)
            image = give(driver, vm, generation=2)
            if power is PowerState.RUNNING:
                site.center.lock_tray(site.cloud.reference(vm.instance_name))
            seen = driver.observe(vm)
            assert seen.storage is not None
            driver.detach(vm, seen.media)
            for name in (first.name, image.name):
                driver.delete(vm, StoredImage(name, seen.storage))
            assert site.files(vm) == []
    moved = site.define(datastore="vsan")
    image = give(by_default, moved)
    before = by_default.observe(moved).storage
    assert before is not None
    site.cloud.relocate(moved.instance_name, datastore="vsan-2")
    by_default.detach(moved)
    by_default.delete(moved, StoredImage(image.name, before))
    assert not (site.center.datastore("vsan") / moved.instance_name).exists()
    assert not by_default.survey(HostName("h1")).unreachable


def forget_folders(site: Site) -> None:
    """Let the next upload make the fleet's folders anew."""
    for folder in (site.center.directory / "datastores").glob("*/configdrive"):
        target = folder.resolve()
        if folder.is_symlink():
            folder.unlink()
        for file in target.iterdir():
            file.unlink()
        target.rmdir()


def said(make_driver: MakeDriver) -> list[str]:
    """What doctor finds missing."""
    return [one.detail for one in make_driver().check(HostName("h1")) if not one.ok and "missing" in one.detail]


def test_a_whole_life_passes_with_exactly_the_documented_privileges(site: Site, make_driver: MakeDriver) -> None:
    forget_folders(site)
    with site.center.allowing(documented()):
        live(site, make_driver)
        assert said(make_driver) == []


@pytest.mark.parametrize("missing", documented())
def test_without_one_of_them_the_error_names_it_and_doctor_finds_it_before(
    site: Site, make_driver: MakeDriver, missing: str
) -> None:
    forget_folders(site)
    site.define()
    with site.center.allowing([one for one in documented() if one != missing]):
        [found] = said(make_driver)
        assert found.startswith(f"{missing} is missing on {'Datastore' if missing[0] == 'D' else 'VirtualMachine'} '")
        with pytest.raises(PermanentError) as raised:
            live(site, make_driver)
    assert raised.value.code is PermanentCode.ACCESS_DENIED
    assert f"privilege {missing} is missing on " in raised.value.detail


def test_where_nobody_may_ask_for_privileges_roles_tell(site: Site, make_driver: MakeDriver) -> None:
    site.define()
    with site.center.allowing(roles=True):
        found = said(make_driver)
    assert [one.partition(" ")[0] for one in found] == documented()
    assert all(one.endswith("by their roles: it may not ask for privileges") for one in found)


def test_an_unreadable_vm_is_refused_by_name_and_holds_up_who_would_delete_what_it_may_have(
    site: Site, make_driver: MakeDriver
) -> None:
    vm, other = site.define(), site.define()
    driver = make_driver()
    image = give(driver, vm)
    with site.center.allowing(unreadable=[site.cloud.reference(other.instance_name)]):
        for refused in (
            error_of(make_driver().observe, other),
            error_of(driver.delete, vm, StoredImage(make_image(vm, 7).name, site.shared)),
            error_of(driver.survey, vm.host),
        ):
            assert refused.code is PermanentCode.ACCESS_DENIED
            assert "privilege System.Read is missing on VirtualMachine" in refused.detail
            assert other.instance_name in refused.detail
        assert driver.observe(vm).images == (StoredImage(image.name, site.shared),)


@pytest.mark.parametrize("kind", ["datastore", "host"])
def test_what_may_not_be_read_is_refused_where_it_is_needed_and_nowhere_else(
    site: Site, make_driver: MakeDriver, kind: str
) -> None:
    here, there = site.define(datastore="shared"), site.define(host="h2", datastore="other")
    hidden: Sequence[str] = (
        [site.cloud.datastore("other")._moId]
        if kind == "datastore"
        else [site.cloud.vm(there.instance_name).runtime.host._moId]
    )
    with site.center.allowing(unreadable=hidden):
        driver = make_driver()
        refused = error_of(driver.observe, there)
        assert driver.observe(here).storage == site.shared
    assert refused.code is PermanentCode.ACCESS_DENIED
    assert f"on {'Datastore' if kind == 'datastore' else 'HostSystem'} '" in refused.detail
