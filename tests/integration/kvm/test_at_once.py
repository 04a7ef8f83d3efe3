"""Two workers on one host at the same moment: what one does right before any call to libvirt that the other makes.

The order is provoked, so that no test depends on how fast the machine is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest

from configdrive.errors import TransientError
from configdrive.model import Place, StoredImage, Vm
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import CACHE, HOST, Cloud, MakeDriver, image_at, on_h1
from workers.driverkit import ssh
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.sessions import Link

MOST_CALLS = 200


class Before:
    """Has something happen right before one of the calls to libvirt that a worker makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.happened = True
        self._at: Callable[[list[str]], bool] = lambda _calls: False
        self._happens: Callable[[], object] = lambda: None
        call = Link.call

        def called(link: Link, function: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.calls.append(function.__name__)
            if not self.happened and self._at(self.calls):
                self.happened = True
                self._happens()
            return call(link, function, *args, **kwargs)

        monkeypatch.setattr(Link, "call", called)

    def call(self, at: Callable[[list[str]], bool], happens: Callable[[], object]) -> None:
        """Before the call that `at` knows by the names of all calls from now on; it is the last one."""
        self.calls.clear()
        self._at, self._happens, self.happened = at, happens, False

    def call_number(self, number: int, happens: Callable[[], object]) -> None:
        """Before the call of this number from now on."""
        self.call(lambda calls: len(calls) == number, happens)


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Before:
    return Before(monkeypatch)


def life(driver: KvmDriver, vm: Vm, place: Place) -> None:
    """Do what an event does with a VM's images, from a folder that is not there yet to one that has none again."""
    driver.observe(vm, [place], [image_name(vm)])
    driver.upload(vm, make_image(vm), place)
    (stored,) = seen(driver, vm, place)
    driver.delete(vm, stored)
    assert seen(driver, vm, place) == ()


def seen(driver: KvmDriver, vm: Vm, place: Place) -> tuple[StoredImage, ...]:
    return tuple(driver.observe(vm, [place]).images)


def test_whatever_another_worker_does_between_two_calls_costs_no_attempt(
    cloud: Cloud, make_driver: MakeDriver, before: Before, tmp_path: Path
) -> None:
    mine, another = make_driver(), make_driver()
    for number in range(1, MOST_CALLS, 2):
        place = on_h1(f"pool-{number}")
        cloud.add_pool(place.storage, tmp_path / str(number))
        vm, other = cloud.new_vm(), cloud.new_vm()
        before.call_number(number, lambda: life(another, other, place))  # noqa: B023 - called in this round
        life(mine, vm, place)
        if len(before.calls) < number:
            break
    assert 20 < number < MOST_CALLS - 1


def take_away(cloud: Cloud, directory: Path) -> None:
    """Do the first half of what a worker does that makes its pool again: it ends."""
    cloud.connection.storagePoolLookupByTargetPath(str(directory)).destroy()


@pytest.mark.parametrize(
    ("call", "behind", "ended"),
    [("destroy", "", True), ("destroy", "", False), ("storagePoolCreateXML", "destroy", False)],
)
def test_two_workers_take_a_folder_from_others_at_once(  # noqa: PLR0913, PLR0917 - the fixtures
    cloud: Cloud, make_driver: MakeDriver, before: Before, tmp_path: Path, call: str, behind: str, *, ended: bool
) -> None:
    """The other one has just ended the pool of that folder, or has made it again and uses it."""
    place, folder = on_h1("open"), tmp_path / "open" / "configdrive"
    cloud.add_pool("open", folder.parent)
    (mine, others), (vm, other) = (make_driver(), make_driver()), (cloud.new_vm(), cloud.new_vm())
    make_driver().observe(vm, [place], [image_name(vm)])  # the folder is there, and has its identity
    take_away(cloud, folder)
    folder.chmod(0o755)
    mine.observe(vm, [place])  # to look makes a pool, and takes the folder from nobody

    def happens() -> None:
        if ended:
            take_away(cloud, folder)
        else:
            others.upload(other, make_image(other), place)

    before.call(lambda calls: calls[-1] == call and (not behind or behind in calls), happens)
    mine.upload(vm, make_image(vm), place)
    assert (folder.parent / image_at(image_name(vm))).exists()
    assert folder.stat().st_mode & 0o777 == 0o711
    assert before.happened


def test_an_upload_whose_pool_another_worker_makes_again_is_well_with_the_next_attempt_at_the_latest(
    cloud: Cloud, make_driver: MakeDriver, before: Before, tmp_path: Path
) -> None:
    driver = make_driver()
    place = on_h1("again")
    cloud.add_pool(place.storage, tmp_path / "again")
    driver.observe(first := cloud.new_vm(), [place], [image_name(first)])

    def happens() -> None:
        for pool in cloud.connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            if pool.name().startswith("configdrive") and pool.name().endswith("-again"):
                pool.destroy()

    number = 0
    while number == 0 or len(before.calls) >= number:
        number += 1
        vm = cloud.new_vm()
        before.call_number(number, happens)
        try:
            driver.upload(vm, make_image(vm), place)
        except TransientError:
            driver.upload(vm, make_image(vm), place)
        assert len(seen(driver, vm, place)) == 1
    assert number > 5


def test_an_image_that_another_worker_has_just_deleted_is_gone(
    cloud: Cloud, make_driver: MakeDriver, before: Before, home: Place
) -> None:
    mine, another, vm = make_driver(), make_driver(), cloud.new_vm()
    mine.upload(vm, make_image(vm), home)
    (stored,) = seen(mine, vm, home)
    before.call(lambda calls: calls[-1] == "delete", lambda: another.delete(vm, stored))
    mine.delete(vm, stored)
    assert seen(mine, vm, home) == ()


def test_an_upload_by_sftp_that_becomes_whole_while_its_folder_is_listed_disturbs_nobody(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, vm = make_driver(ssh=ssh_table), cloud.new_vm()
    driver.upload(vm, make_image(vm), CACHE)
    listed = ssh.list_directory

    async def then_it_is_whole(client: Any, directory: Any) -> list[str]:  # noqa: ANN401
        return [*await listed(client, directory), f"{image_name(vm)}.part"]

    monkeypatch.setattr("workers.hypervisors.kvm.image_folder.list_directory", then_it_is_whole)
    assert image_name(vm) in [one.name for one in driver.survey(HOST).images]
