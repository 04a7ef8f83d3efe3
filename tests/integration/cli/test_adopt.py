from collections.abc import Callable
from contextlib import closing

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

GUEST = {"password": PASSWORD, "user_data": {"text": USER_DATA}}


def put_drive(place: Place, vm: VmScript, *signed: str) -> None:
    """Give a VM the drive of its first event, past the fleet. `signed`: the fingerprint and the fleet in its name."""
    its = Vm(VmUuid(vm.uuid), InstanceName(vm.name), HypervisorName("simulated"), HostName(HOST))
    with closing(SimulatedDriver(place.cloud.world, auto_define=True)) as driver:
        storage = driver.observe(its).storage
        assert storage is not None
        name = ImageName.of(its.instance_name, its.uuid, Generation(1), *signed)
        driver.upload(its, build(name, {}, label="config", built_at=1.0), storage)
        driver.attach(its, name, storage)


@pytest.fixture
def lost(quiet_place: Callable[..., Place], vm: VmScript) -> Place:
    """A place where a VM has a drive that was made by its first event, and Redis has nothing of it."""
    place = quiet_place()
    vm.event("deploy")
    put_drive(place, vm)
    return place


def test_a_drive_that_is_there_is_remembered_once_and_for_good(lost: Place, vm: VmScript) -> None:
    def table(*arguments: str) -> tuple[str, str]:
        """Return the VM's row, and the last line."""
        shown = lost.run("adopt", *arguments)
        assert (shown.exit_code, shown.stderr) == (ExitCode.DONE, "")
        (row,) = [line for line in shown.stdout.splitlines() if vm.uuid in line]
        assert {vm.name, HOST, "attached"} <= set(row.split())
        return row.rstrip(), shown.stdout.splitlines()[-1]

    looked = lost.json("adopt", "--dry-run")
    (row,) = looked["vms"]
    assert (looked["dry_run"], row) == (
        True,
        {
            "vm_uuid": vm.uuid,
            "instance_name": vm.name,
            "host": HOST,
            "phase": "attached",
            "generation": 1,
            "places": row["places"],
            "adopted": True,
            "why_not": None,
        },
    )
    assert [place.partition("@")[0] for place in row["places"]] == [STORAGE]
    would, would_be = table("--dry-run")
    assert lost.run("show", vm.uuid).exit_code != ExitCode.DONE, "looking remembers nothing"
    (found,) = lost.json("sweep")["images"]
    assert not found["goes"], "a sweep before it takes nothing"
    first, once = table()
    again, none = table()
    refused = lost.json("adopt")["vms"][0]

    assert would.endswith("would be remembered")
    assert first.endswith("  remembered")
    assert again.endswith("it is remembered")
    begin = "1 VMs with a drive or an image: "
    assert [would_be, once, none] == [f"{begin}{end}" for end in ("1 would be adopted", "1 adopted", "0 adopted")]
    assert (refused["adopted"], refused["why_not"]) == (False, "it is remembered")
    assert lost.json("show", vm.uuid)["adopted"]
    with lost.fleet.redis.client() as client:
        assert client.ttl(f"{lost.fleet.settings.key_prefix}vm:{vm.uuid}") == -1


def test_what_is_adopted_goes_with_its_vm_and_is_not_swept(lost: Place, vm: VmScript) -> None:
    lost.json("adopt")
    assert [row["why"] for row in lost.json("sweep")["images"]] == ["in_drive"]
    with lost.with_worker():
        assert lost.outcome(vm.event("destroy"))["status"] == "applied"
    assert (lost.cloud.images(vm.uuid), lost.cloud.medium(vm.uuid)) == ([], None)


def test_a_vm_whose_events_wait_is_left_to_them(lost: Place, vm: VmScript) -> None:
    lost.store(vm.event("start", guest=GUEST))
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


def with_images(place: Place, *fleets: str) -> list[str]:
    """Put an image of each fleet on the storage, in a VM of its own; returns these VMs."""
    vms = [VmScript() for _ in fleets]
    for vm, fleet in zip(vms, fleets, strict=True):
        put_drive(place, vm, "a" * 16, fleet)
    return [vm.uuid for vm in vms]


def test_another_fleets_images_are_taken_over_only_when_it_is_named(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    (old,) = with_images(place, "oldfleet")
    shown = place.run("adopt")
    refused = place.json("adopt", code=ExitCode.FAILED)

    assert (shown.exit_code, shown.stdout) == (ExitCode.FAILED, "0 VMs with a drive or an image: 0 adopted\n")
    assert "`configdrive adopt --fleet oldfleet`" in shown.stderr
    assert (refused["vms"], refused["other_fleets"]) == ([], ["oldfleet"])
    assert place.run("show", old).exit_code == ExitCode.FAILED, "nothing was remembered"

    taken = place.json("adopt", "--fleet", "oldfleet")
    assert [(one["vm_uuid"], one["adopted"]) for one in taken["vms"]] == [(old, True)]
    assert (taken["other_fleets"], place.json("show", old)["adopted"]) == ([], True)


def test_of_several_fleets_on_one_storage_one_is_adopted(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    _, second, own = with_images(place, "firstone", "secondxx", FLEET)
    shown = place.run("adopt", "--dry-run")
    taken = place.json("adopt", "--fleet", "secondxx")

    assert own in shown.stdout
    assert (shown.exit_code, shown.stderr) == (
        ExitCode.DONE,
        "left alone: images of fleet firstone, secondxx; --fleet takes one's over\n",
    )
    assert [one["vm_uuid"] for one in taken["vms"]] == [second]
    assert place.run("adopt", "--fleet", "Not-one").exit_code == ExitCode.USAGE
