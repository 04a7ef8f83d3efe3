from collections.abc import Callable

from configdrive.errors import PermanentCode
from rigs.cloud import VmScript, key_of
from rigs.simulated.faults import Raise
from tests.integration.cli.place import PASSWORD, Place
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.inventory import Verb

GUEST = {"password": PASSWORD}


def test_a_parked_event_is_tried_again_and_parked_again_until_the_cause_is_mended(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm, guest=GUEST)
    place.cloud.world.faults.inject(Raise(verb=Verb.OBSERVE, code=PermanentCode.ACCESS_DENIED, vm=vm.uuid))
    failed = place.run("retry", vm.uuid, "--wait")
    (outcome,) = place.lines("retry", vm.uuid, "--wait")

    assert failed.exit_code == ExitCode.FAILED
    assert "parked" in failed.stdout
    assert "access_denied" in failed.stdout
    assert (outcome["event_id"], outcome["status"]) == (parked["id"], "applied")
    assert place.json("show", vm.uuid)["parked"] is None
    assert place.cloud.images(vm.uuid) == [vm.image(1)]


def test_all_that_is_parked_for_one_cause_is_tried_again(place: Place) -> None:
    denied, elsewhere = VmScript(), VmScript()
    place.parked(denied)
    place.outcome(elsewhere.event("deploy", host="nowhere"), ExitCode.FAILED)
    reported = place.lines("retry", "--all-parked", "--code", "access_denied")

    assert denied.uuid in {row["vm_uuid"] for row in reported}
    assert elsewhere.uuid not in {row["vm_uuid"] for row in reported}
    assert place.json("show", elsewhere.uuid)["parked"] == "unknown_host"
    place.run("skip", "--yes", elsewhere.uuid)


def test_only_the_event_that_is_meant_is_decided_on(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm)
    for command in ("retry", "skip"):
        shown = place.run(command, vm.uuid, "--event", "another")

        assert shown.exit_code == ExitCode.FAILED
        assert f"is {parked['id']}" in shown.stderr
    assert place.run("skip", "--yes", vm.uuid, "--event", parked["id"]).exit_code == ExitCode.DONE


def test_an_id_that_two_events_have_is_ambiguous_and_their_keys_are_named(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm)
    behind = {**vm.event("update"), "id": parked["id"], "source": "/others"}
    place.store(behind)
    shown = place.run("skip", "--yes", vm.uuid, "--event", parked["id"])

    assert shown.exit_code == ExitCode.FAILED
    assert all(f"{key_of(event)} ({event['source']})" in shown.stderr for event in (parked, behind))
    assert place.run("skip", "--yes", vm.uuid, "--event", key_of(behind)).exit_code == ExitCode.FAILED
    (outcome,) = place.lines("skip", "--yes", vm.uuid, "--event", key_of(parked))
    assert (outcome["source"], outcome["status"]) == (parked["source"], "skipped")
    assert place.fleet.publisher.wait(behind, 600) is not None


def test_a_retry_that_nobody_takes_is_time_over(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.store(vm.event("deploy"))
    shown = place.run("retry", vm.uuid, "--wait", "0.2")

    assert shown.exit_code == ExitCode.TIME_OVER
    assert "no outcome so far" in shown.stderr
