from rigs.cloud import VmScript
from tests.integration.cli.place import Place
from workers.cli.errors import ExitCode

REASON = "the counter was restored from a backup"
FAR = 2**53 - 1
"""The largest sequence that there is."""


def test_a_counter_that_went_back_goes_on_from_where_it_is_set(place: Place, vm: VmScript) -> None:
    assert place.outcome(vm.event("deploy", start=True, sequence=FAR))["status"] == "applied"
    late = place.outcome(vm.event("stop", sequence=7), ExitCode.FAILED)
    assert (late["status"], late["code"]) == ("dropped", "stale_sequence")

    assert place.json("sequence", vm.uuid) == {"vm_uuid": vm.uuid, "sequence": FAR}
    assert place.json("sequence", vm.uuid, "--set", "7", "--reason", REASON) == {"vm_uuid": vm.uuid, "sequence": 7}
    assert place.outcome(vm.event("stop", sequence=8))["status"] == "applied"
    assert place.cloud.images(vm.uuid) == []
    (action,) = place.json("show", vm.uuid)["operators"]
    assert (action["action"], action["vm_uuid"], action["reason"]) == ("sequence", vm.uuid, f"{FAR} -> 7: {REASON}")
    assert f"sequence {FAR} -> 7: {REASON}" in place.run("show", vm.uuid).stdout


def test_it_is_not_set_under_a_vm_whose_events_wait(place: Place, vm: VmScript) -> None:
    place.outcome(vm.event("deploy"))
    place.outcome(vm.event("start", host="nowhere"), ExitCode.FAILED)
    shown = place.run("sequence", vm.uuid, "--set", "0", "--reason", REASON)

    assert shown.exit_code == ExitCode.FAILED
    assert "its events wait" in shown.stderr
    assert place.json("sequence", vm.uuid)["sequence"] == 1
    assert place.json("show", vm.uuid)["operators"] == []
    place.run("skip", "--yes", vm.uuid)
