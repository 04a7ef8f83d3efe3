from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import TransientCode
from configdrive.iso.build import build
from configdrive.model import Generation, HostName, HypervisorName, ImageName, InstanceName, Vm, VmUuid
from rigs.cloud import HOST, STORAGE, VmScript
from rigs.simulated.faults import Raise
from tests.integration.cli.place import PASSWORD, USER_DATA, Place
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
        "vm": vm.uuid,
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

    assert lost.json("adopt", code=ExitCode.FAILED) == {"dry_run": False, "vms": [], "hosts_away": [HOST]}
    assert (shown.exit_code, shown.stdout) == (ExitCode.FAILED, "0 VMs with a drive or an image: 0 adopted\n")
    assert f"not answering: {HOST}" in shown.stderr
    assert lost.json("adopt")["vms"][0]["adopted"]
