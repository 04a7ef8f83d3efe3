"""What nobody has told the fleet, or told it wrong: undeclared storage, VMs moved by hand, wrong hosts, clones."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from tests.e2e.kvm.moving import GUEST, running, started
from tests.e2e.kvm.site import ALONE, LOCAL, SHARED
from tests.e2e.kvm.test_redis_lost import fleet_of, lose_redis, run
from tests.integration.kvm.cloud import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rigs.fleet import Fleet
    from tests.e2e.kvm.conftest import NewVm
    from tests.e2e.kvm.site import Site

UNDECLARED = "undeclared"


@pytest.fixture
def undeclared(hosts: Site) -> Iterator[str]:
    """A directory that both hosts share, in a pool of each host's own name, of which the inventory says nothing."""
    pools = {"h1": UNDECLARED, "h2": "3f0c1a52-1f6e-4a55-9a30-2f3a7f7f0b11"}
    for host, pool in pools.items():
        hosts.clouds[host].add_pool(pool, hosts.directory / UNDECLARED)
    yield UNDECLARED
    for host in pools:
        for found in hosts.clouds[host].connection.listAllStoragePools(0):
            if str(hosts.directory / UNDECLARED) in found.XMLDesc(0):
                persistent = found.isPersistent()
                found.destroy()
                if persistent:
                    found.undefine()


@contextmanager
def inactive(hosts: Site, pool: str) -> Iterator[None]:
    found = hosts.clouds["h1"].connection.storagePoolLookupByName(pool)
    found.destroy()
    try:
        yield
    finally:
        found.create()


def on_undeclared(hosts: Site) -> list[str]:
    return [path.name for path in (hosts.directory / UNDECLARED / "configdrive").rglob("*.iso")]


@pytest.mark.parametrize(("phase", "remembered"), [("complete", True), ("rollback", True), ("complete", False)])
def test_a_migration_on_storage_that_nobody_has_declared_shared_keeps_the_image(  # noqa: PLR0913 - fixtures
    new_vm: NewVm, hosts: Site, fleet: Fleet, undeclared: str, phase: str, *, remembered: bool
) -> None:
    vm = new_vm(undeclared)
    vm.define()
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.power_on()
    path = vm.guest_has("h1")
    if not remembered:
        lose_redis(fleet)
        run(fleet, "adopt", "--fleet", fleet_of(PurePath(str(path))))
    assert vm.migrate("prepare").status is Status.APPLIED
    if phase == "complete":
        vm.move()
    assert vm.migrate(phase).status is Status.APPLIED
    host = "h2" if phase == "complete" else "h1"
    assert path is not None
    assert vm.guest_has(host) == path
    assert on_undeclared(hosts) == [path.rpartition("/")[2]], "the only image, which the running VM has in its drive"
    outcome = vm.send("destroy", host=host)
    assert outcome.status is Status.APPLIED
    assert "left_behind" not in outcome.facts
    assert on_undeclared(hosts) == []


def test_a_stop_through_the_old_host_takes_no_image_from_a_vm_that_was_moved_by_hand(
    new_vm: NewVm, hosts: Site
) -> None:
    vm = new_vm(SHARED)
    path = running(vm)
    vm.move()
    outcome = vm.send("stop", host="h1")
    assert outcome.status is Status.APPLIED
    assert path.exists(), "it is in the drive of the running VM"
    assert vm.guest_has("h2") == str(path)
    assert f"{SHARED}@" in outcome.facts["left_behind"]
    assert hosts.clouds["h1"].connection is not None


def test_a_destroy_that_names_the_wrong_host_cleans_both(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    running(vm)
    outcome = vm.send("destroy", host="h2")
    assert outcome.status is Status.APPLIED, outcome
    assert (vm.images("h1"), vm.images("h2"), vm.media("h1")) == ({}, {}, set())


def test_a_destroy_does_not_wait_for_a_pool_that_is_not_active(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(ALONE)
    path = running(vm)
    with inactive(hosts, ALONE):
        outcome = vm.send("destroy")
        assert outcome.status is Status.APPLIED, outcome
        assert f"{ALONE}@h1" in outcome.facts["left_behind"]
        assert vm.media("h1") == set(), "the drive can be emptied all the same"
        assert path in vm.images("h1")
    wait_until(lambda: vm.images("h1") == {}, "the image to go when the pool is back", timeout=30)


def test_a_clone_and_its_original_hold_each_other_up_in_nothing(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(SHARED)
    first = running(vm)
    clone = new_vm(SHARED)
    clone.put_root("h1")
    theirs = disk(first, "hdd", "ide")
    hosts.clouds["h1"].define(theirs, root=disk(clone.root_disk, "vda", "virtio", "disk"), vm=clone.vm)

    assert vm.send("start", guest=GUEST | {"password": "another"}).status is Status.APPLIED
    assert first not in vm.images("h1")
    assert clone.media("h1") == {str(first)}
    mine = started(clone)
    assert clone.guest_has("h1") == str(mine)
    for one in (vm, clone):
        assert one.send("stop").status is Status.APPLIED
        assert (one.media("h1"), one.images("h1")) == (set(), {})
