import json
from collections.abc import Callable

from rigs.cloud import VmScript
from tests.integration.cli.place import PASSWORD, Place
from workers.cli.errors import ExitCode


def test_vms_are_listed_and_filtered_and_named_instead_of_their_uuids(place: Place) -> None:
    done, waits = VmScript(), VmScript()
    guest = {"password": PASSWORD}
    place.outcome(done.event("start", guest=guest, label="config-2"))
    place.parked(waits)
    place.store(waits.event("update"))

    rows = {row["vm_uuid"]: row for row in place.json("list", "--labels")["vms"]}
    one, other = rows[done.uuid], rows[waits.uuid]
    named = (one["instance_name"], one["phase"], one["storages"], one["label"])
    assert named == (done.name, "attached", ["p1"], "config-2")
    assert (other["instance_name"], other["parked"], other["waiting"]) == (waits.name, "access_denied", 2)
    assert [row["vm_uuid"] for row in place.json("list", done.name)["vms"]] == [done.uuid]
    parked = {row["vm_uuid"]: row["parked"] for row in place.json("list", "--parked")["vms"]}  # other tests' too
    assert parked.keys() & {waits.uuid, done.uuid} == {waits.uuid}
    assert all(parked.values())
    assert place.json("list", "--host", "a-host-of-nobody")["vms"] == []
    text = place.run("list", done.name).stdout.splitlines()
    assert [text[1].split()[index] for index in (0, 1, -1)] == [done.name, done.uuid, "-"]
    for called in (done.name, done.uuid[:13], done.uuid[:13].upper()):
        assert place.json("show", called)["vm_uuid"] == done.uuid


def test_a_name_or_beginning_that_is_nobody_s_or_several_vms_is_refused(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    one, other = (VmScript(uuid_=f"12345678-0000-4000-8000-00000000000{number}") for number in "12")
    other.name = "web-2"
    for vm in (one, other):
        place.store(vm.event("stop"))
    several, nobody = place.run("show", "12345678"), place.run("skip", "web-1", "--yes")
    assert (several.exit_code, nobody.exit_code) == (ExitCode.USAGE, ExitCode.USAGE)
    assert one.uuid in several.stderr
    assert other.uuid in several.stderr
    assert "`configdrive list`" in nobody.stderr
    assert place.json("show", one.name)["vm_uuid"] == one.uuid


def test_without_an_outcome_the_reason_is_said(quiet_place: Callable[..., Place], place: Place) -> None:
    nobody_works, parked = quiet_place(), VmScript()
    first = nobody_works.run("publish", "-", "--wait", "0.1", stdin=json.dumps(VmScript().event("stop")))
    place.parked(parked)
    behind = place.run("publish", "-", "--wait", "0.1", stdin=json.dumps(parked.event("update")))

    assert (first.exit_code, behind.exit_code) == (ExitCode.TIME_OVER, ExitCode.TIME_OVER)
    assert "no worker takes from configdrive.simulated: `configdrive worker --hypervisor simulated`" in first.stderr
    assert "behind deploy #1, which is parked (access_denied): `configdrive show" in behind.stderr
