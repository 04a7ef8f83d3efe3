from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import TransientCode
from configdrive.iso.build import build
from configdrive.model import Generation, HostName, HypervisorName, ImageName, InstanceName, Vm, VmUuid
from rigs.cloud import HOST, STORAGE, VmScript
from rigs.simulated.faults import Raise
from tests.integration.cli.place import FLEET, PASSWORD, USER_DATA, Place
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.driver import SimulatedDriver
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

GUEST = {"password": PASSWORD, "user_data": {"text": USER_DATA}}


@pytest.fixture
def lost(quiet_place: Callable[..., Place], vm: VmScript) -> Place:
    """A place where a VM has a drive that was made by its first event, and Redis has nothing of it."""
    place = quiet_place()
    vm.event("deploy")
    known = Vm(VmUuid(vm.uuid), InstanceName(vm.name), HypervisorName("simulated"), HostName(HOST))
    driver = SimulatedDriver(place.cloud.world, auto_define=True)
    storage = driver.observe(known).storage
    assert storage is not None
    made = build(ImageName.of(known.instance_name, known.uuid, Generation(1)), {}, label="config", built_at=1.0)
    driver.upload(known, made, storage)
    driver.attach(known, made.name, storage)
    driver.close()
    return place


def test_a_drive_that_is_there_is_remembered_once(lost: Place, vm: VmScript) -> None:
    looked = lost.json("adopt", "--dry-run")
    assert lost.run("show", vm.uuid).exit_code != ExitCode.DONE, "looking remembers nothing"
    adopted = lost.json("adopt")
    again = lost.json("adopt")

    (row,) = adopted["vms"]
    assert (looked["dry_run"], looked["vms"]) == (True, [row])
    assert row == {
        "vm_uuid": vm.uuid,
        "instance_name": vm.name,
        "host": HOST,
        "phase": "attached",
        "generation": 1,
        "places": row["places"],
        "adopted": True,
        "why_not": None,
    }
    assert [place.partition("@")[0] for place in row["places"]] == [STORAGE]
    assert (again["vms"][0]["adopted"], again["vms"][0]["why_not"]) == (False, "it is remembered")
    assert lost.json("show", vm.uuid)["adopted"]


def test_the_table_says_what_is_remembered_from_now_on(lost: Place, vm: VmScript) -> None:
    for arguments, what, count in (
        (("--dry-run",), "would be remembered", "1 VMs with a drive or an image: 1 would be adopted\n"),
        ((), "remembered", "1 VMs with a drive or an image: 1 adopted\n"),
        ((), "it is remembered", "1 VMs with a drive or an image: 0 adopted\n"),
    ):
        shown = lost.run("adopt", *arguments)
        (row,) = [line for line in shown.stdout.splitlines() if vm.uuid in line]
        assert row.rstrip().endswith(what)
        assert {vm.name, HOST, "attached"} <= set(row.split())
        assert shown.stdout.endswith(count)
        assert (shown.exit_code, shown.stderr) == (ExitCode.DONE, "")


def test_what_is_adopted_goes_with_its_vm_and_is_not_swept(lost: Place, vm: VmScript) -> None:
    lost.json("adopt")
    assert [row["why"] for row in lost.json("sweep")["images"]] == ["in_drive"]
    with lost.with_worker():
        (reported,) = lost.lines("publish", "-", "--wait", stdin=json.dumps(vm.event("destroy")))
    assert reported["outcome"]["status"] == "applied"
    assert (lost.cloud.images(vm.uuid), lost.cloud.medium(vm.uuid)) == ([], None)


def test_a_sweep_before_the_adoption_takes_nothing_and_loses_nothing(lost: Place, vm: VmScript) -> None:
    (found,) = lost.json("sweep")["images"]
    assert not found["goes"]
    lost.json("adopt")
    with lost.fleet.redis.client() as client:
        assert client.ttl(f"{lost.fleet.settings.key_prefix}vm:{vm.uuid}") == -1, "it is remembered for good"


def test_a_vm_whose_events_wait_is_left_to_them(lost: Place, vm: VmScript) -> None:
    lost.run("publish", "-", stdin=json.dumps(vm.event("start", guest=GUEST)))
    (row,) = lost.json("adopt")["vms"]
    assert (row["adopted"], row["why_not"]) == (False, "an event of it waits or is in work")


def test_a_host_that_does_not_answer_is_named(lost: Place) -> None:
    lost.cloud.world.faults.inject(Raise(verb=Verb.SURVEY, code=TransientCode.HOST_UNREACHABLE, times=2))
    shown = lost.run("adopt")

    assert lost.json("adopt", code=ExitCode.FAILED) == {
        "dry_run": False,
        "vms": [],
        "hosts_away": [HOST],
        "other_fleets": [],
    }
    assert (shown.exit_code, shown.stdout) == (ExitCode.FAILED, "0 VMs with a drive or an image: 0 adopted\n")
    assert f"not answering: {HOST}" in shown.stderr
    assert lost.json("adopt")["vms"][0]["adopted"]


def with_images(place: Place, vm: VmScript, *fleets: str) -> list[str]:
    """Put an image of each fleet on the storage, of a VM of its own; returns these VMs."""
    driver = SimulatedDriver(place.cloud.world, auto_define=True)
    vms = []
    for fleet in fleets:
        owner = Vm(VmUuid(str(uuid.uuid4())), InstanceName(vm.name), HypervisorName("simulated"), HostName(HOST))
        name = ImageName.of(owner.instance_name, owner.uuid, Generation(1), "a" * 16, fleet)
        storage = driver.observe(owner).storage
        assert storage is not None
        made = build(name, {}, label="config", built_at=1.0)
        driver.upload(owner, made, storage)
        driver.attach(owner, made.name, storage)
        vms.append(str(owner.uuid))
    driver.close()
    return vms


def test_another_fleets_images_are_taken_over_only_when_it_is_named(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place()
    (old,) = with_images(place, vm, "oldfleet")
    shown = place.run("adopt")
    refused = place.json("adopt", code=ExitCode.FAILED)

    assert (shown.exit_code, shown.stdout) == (ExitCode.FAILED, "0 VMs with a drive or an image: 0 adopted\n")
    assert "`configdrive adopt --fleet oldfleet`" in shown.stderr
    assert (refused["vms"], refused["other_fleets"]) == ([], ["oldfleet"])
    assert place.run("show", old).exit_code == ExitCode.FAILED, "nothing was remembered"

    taken = place.json("adopt", "--fleet", "oldfleet")
    assert [(one["vm_uuid"], one["adopted"]) for one in taken["vms"]] == [(old, True)]
    assert (taken["other_fleets"], place.json("show", old)["adopted"]) == ([], True)


def test_of_several_fleets_on_one_storage_one_is_adopted(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    _, second, own = with_images(place, vm, "firstone", "secondxx", FLEET)
    shown = place.run("adopt", "--dry-run")
    taken = place.json("adopt", "--fleet", "secondxx")

    assert own in shown.stdout
    assert (shown.exit_code, shown.stderr) == (
        ExitCode.DONE,
        "left alone: images of fleet firstone, secondxx; --fleet takes one's over\n",
    )
    assert [one["vm_uuid"] for one in taken["vms"]] == [second]
    assert place.run("adopt", "--fleet", "Not-one").exit_code == ExitCode.USAGE
