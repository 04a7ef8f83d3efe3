"""Redis is lost: the hypervisors and their storages are enough to carry on; and what nobody needs is swept away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.model import Generation, ImageName, InstanceName, VmUuid
from tests.e2e.kvm.moving import GUEST, require_moved, running
from tests.e2e.kvm.site import LOCAL, SHARED
from tests.integration.kvm.cloud import image_at
from tests.support import run_command

if TYPE_CHECKING:
    from pathlib import PurePath

    from rigs.fleet import Fleet
    from tests.e2e.kvm.conftest import NewVm
    from tests.e2e.kvm.site import Site

NOBODY = VmUuid("99999999-9999-4999-8999-999999999999")


def run(fleet: Fleet, *words: str, **settings: str) -> dict[str, Any]:
    """Run a command as an operator does; returns its JSON."""
    done = run_command({**fleet.environment, **settings}, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def swept(fleet: Fleet, *words: str, **settings: str) -> dict[str, dict[str, Any]]:
    """Sweep; returns what is said of each image, by its name."""
    return {image["image"]: image for image in run(fleet, "sweep", *words, **settings)["images"]}


def lose_redis(fleet: Fleet) -> None:
    with fleet.redis.client() as client:
        client.flushall()


def fleet_of(path: PurePath) -> str:
    """Return the id in an image's name: workers keep theirs while they run, whatever is on Redis."""
    name = ImageName.parse(path.name)
    assert name is not None
    assert name.fleet is not None
    return name.fleet


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


def test_a_sweep_deletes_what_no_vm_needs_and_nothing_else(new_vm: NewVm, hosts: Site, fleet: Fleet) -> None:
    vm, other = new_vm(LOCAL), new_vm(LOCAL)
    path, others = running(vm), running(other)
    folder, root = (hosts.hosts["h1"].outside(one) for one in (path.parent, path.parents[2]))
    older = ImageName.of(vm.vm.instance_name, vm.vm.uuid, Generation(0))
    used = ImageName.of(InstanceName("i-7-7-VM"), VmUuid("77777777-7777-4777-8777-777777777777"), Generation(1))
    with fleet.redis.client() as client:
        identity: Any = client.get(f"{fleet.settings.key_prefix}fleet")
    nobodys = ImageName.of("i-9-9-vm", NOBODY, Generation(3), "a" * 16, identity.decode())
    strangers = ["notes.iso", f"{older}.txt", "config.iso"]
    for image in (older, nobodys, used):
        (root / image_at(image)).parent.mkdir(exist_ok=True)
        (root / image_at(image)).write_bytes(bytes(4096))
    for name in strangers:
        (folder / name).write_bytes(bytes(4096))
    other.change_medium("h1", path.parents[2] / image_at(used))  # in the drive of a VM of another name

    def names() -> set[str]:
        return {entry.name for entry in root.rglob("*") if entry.is_file()}

    before = names()
    looked = {
        image["image"]: image for image in run(fleet, "sweep", "--dry-run", CONFIGDRIVE_ORPHAN_SECONDS="0")["images"]
    }
    assert names() == before
    assert (looked[str(older)]["goes"], looked[str(older)]["why"]) == (True, "old")
    assert (looked[str(used)]["goes"], looked[str(used)]["why"]) == (False, "in_drive")
    assert looked[path.name]["why"] == "in_drive"
    assert not any(name in looked for name in strangers)

    assert swept(fleet)[str(nobodys)]["why"] == "new", "it may be of a VM that only Redis has forgotten"
    assert swept(fleet, CONFIGDRIVE_ORPHAN_SECONDS="0")[str(nobodys)]["deleted"]
    assert names() == before - {str(older), str(nobodys)}
    assert vm.guest_has("h1") == str(path)
    assert others.name in names()
