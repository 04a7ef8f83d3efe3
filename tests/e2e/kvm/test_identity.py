"""What the fleet was not told, told wrong, or has forgotten with its Redis: undeclared storage, wrong hosts, clones."""

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.model import ImageName
from rigs.fleet import Fleet
from rigs.process import wait_until
from tests.e2e.kvm.moving import NewVm, require_moved, running, started
from tests.e2e.kvm.site import ALONE, LOCAL, SHARED, Site
from tests.e2e.orchestrator import GUEST
from tests.integration.kvm.cloud import disk
from tests.support import run_command

UNDECLARED = "undeclared"


def run(fleet: Fleet, *words: str) -> dict[str, Any]:
    """Run a command as an operator does; returns its JSON."""
    done = run_command(fleet.environment, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lose_redis(fleet: Fleet) -> None:
    with fleet.redis.client() as client:
        client.flushall()


def fleet_of(path: PurePath) -> str:
    """Return the id in an image's name: workers keep theirs while they run, whatever is on Redis."""
    name = ImageName.parse(path.name)
    assert name is not None
    assert name.fleet is not None
    return name.fleet


@pytest.fixture
def undeclared(hosts: Site) -> Iterator[str]:
    """A directory that both hosts share, in a pool of each host's own name, of which the inventory says nothing."""
    pools = {"h1": UNDECLARED, "h2": "3f0c1a52-1f6e-4a55-9a30-2f3a7f7f0b11"}
    for host, pool in pools.items():
        hosts.clouds[host].add_pool(pool, hosts.directory / UNDECLARED)
    yield UNDECLARED
    for cloud in hosts.clouds.values():
        for found in cloud.connection.listAllStoragePools(0):
            if str(hosts.directory / UNDECLARED) in found.XMLDesc(0):
                cloud.drop_pool(found.name())


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


def test_a_stop_through_the_old_host_takes_no_image_from_a_vm_that_was_moved_by_hand(new_vm: NewVm) -> None:
    vm = new_vm(SHARED)
    path = running(vm)
    vm.move()
    outcome = vm.send("stop", host="h1")
    assert outcome.status is Status.APPLIED
    assert path.exists(), "it is in the drive of the running VM"
    assert vm.guest_has("h2") == str(path)
    assert f"{SHARED}@" in outcome.facts["left_behind"]


def test_a_destroy_that_names_the_wrong_host_cleans_both(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    running(vm)
    outcome = vm.send("destroy", host="h2")
    assert outcome.status is Status.APPLIED, outcome
    assert (vm.images("h1"), vm.images("h2"), vm.media("h1")) == ({}, {}, set())


def test_a_destroy_does_not_wait_for_a_pool_that_is_not_active(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(ALONE)
    path = running(vm)
    with hosts.clouds["h1"].asleep(ALONE):
        outcome = vm.send("destroy")
        assert outcome.status is Status.APPLIED, outcome
        assert f"{ALONE}@h1" in outcome.facts["left_behind"]
        assert vm.media("h1") == set(), "the drive can be emptied all the same"
        assert path in vm.images("h1")
    wait_until(lambda: vm.images("h1") == {}, "the image to go when the pool is back", timeout=30)


def test_a_clone_and_its_original_hold_each_other_up_in_nothing(new_vm: NewVm) -> None:
    vm = new_vm(SHARED)
    first = running(vm)
    clone = new_vm(SHARED)
    clone.define(drives=disk(first, "hdd", "ide") + disk(first, "hdc", "ide"))
    assert vm.send("start", guest=GUEST | {"password": "another"}).status is Status.APPLIED
    assert first not in vm.images("h1")
    assert clone.media("h1") == {str(first)}
    mine = started(clone)
    assert clone.guest_has("h1") == str(mine)
    for one in (vm, clone):
        assert one.send("stop").status is Status.APPLIED
        assert (one.media("h1"), one.images("h1")) == (set(), {})


def test_drives_are_adopted_and_follow_their_vms_although_redis_was_lost(new_vm: NewVm, fleet: Fleet) -> None:
    moving, staged = new_vm(LOCAL), new_vm(SHARED)
    path = running(moving)
    content = moving.images("h1")[path]
    staged.define()
    assert staged.send("deploy", guest=GUEST).status is Status.APPLIED
    identity = fleet_of(path)
    lose_redis(fleet)

    looked = {vm["vm_uuid"]: vm for vm in run(fleet, "adopt", "--fleet", identity, "--dry-run")["vms"]}
    found = {vm["vm_uuid"]: vm for vm in run(fleet, "adopt", "--fleet", identity)["vms"]}
    again = {vm["vm_uuid"]: vm for vm in run(fleet, "adopt", "--fleet", identity)["vms"]}

    assert found == looked
    assert found[moving.script.uuid] == {
        "vm_uuid": moving.script.uuid,
        "instance_name": moving.script.name,
        "host": "h1",
        "phase": "attached",
        "generation": 1,
        "places": [f"{LOCAL}@h1"],
        "adopted": True,
        "why_not": None,
    }
    assert found[staged.script.uuid]["phase"] == "staged"
    assert [again[vm.script.uuid]["why_not"] for vm in (moving, staged)] == ["it is remembered"] * 2
    assert [run(fleet, "show", vm.script.uuid)["adopted"] for vm in (moving, staged)] == [True, True]

    # The drive follows its VM, and goes with it.
    assert moving.migrate("prepare").status is Status.APPLIED
    moving.move()
    assert moving.migrate("complete").status is Status.APPLIED
    require_moved(moving, path, content)
    moving.power_off("h2")
    assert moving.send("stop", host="h2").status is Status.APPLIED
    assert (moving.images("h1"), moving.images("h2")) == ({}, {})

    # What stood on it nobody knows: it is not built anew from nothing.
    lost = staged.send("start")
    assert (lost.status, lost.code) == (Status.PARKED, PermanentCode.IMAGE_LOST)
    assert "start" in lost.remedy
    assert staged.send("destroy").status is Status.APPLIED
    assert staged.images("h1") == {}
