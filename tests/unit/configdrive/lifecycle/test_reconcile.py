"""The use case on a hypervisor in memory: what the guest finds, what lies on the storages, and what is reported."""

import json

import pytest

from configdrive.contract.events import parse
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode
from configdrive.lifecycle.state import Phase, VmState
from configdrive.model import PowerState
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, Json, document
from tests.unit.fakes.fleet import HELLO, HOST_1, VM, Fleet, refused, running

# --- a life -----------------------------------------------------------------------------------------------------------


def test_from_deploy_to_stop_there_is_one_image_and_nothing_afterwards(fleet: Fleet) -> None:
    deployed = fleet.send("deploy", guest=HELLO).outcome
    assert deployed.status is Status.APPLIED
    assert deployed.facts == {"generation": "1", "storage": "primary", "password": "none"}
    assert (fleet.generations(), fleet.medium(), fleet.known().phase) == ([1], None, Phase.STAGED)
    started = fleet.send("start").outcome
    assert started.facts == {
        "generation": "2",
        "storage": "primary",
        "password": "none",
        "attach": "inserted",
        "device": "cd",
        "path": "/primary/i-2-14-vm.3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f.2.xhpd4oyy36b77dwi-fleetaaa.iso",
        "xml": "<disk/>",
    }
    assert (fleet.generations(), fleet.user_data()) == ([2], b"hello")
    fleet.power(PowerState.RUNNING)
    fleet.send("start", guest={"user_data": {"text": "newer"}})
    assert (fleet.generations(), fleet.user_data()) == ([3], b"newer")
    stopped = fleet.send("stop").outcome
    assert stopped.facts == {"attach": "removed"}
    assert (fleet.generations(), fleet.medium(), fleet.known().places) == ([], None, ())


def test_deploy_with_start_attaches_at_once(fleet: Fleet) -> None:
    settled = fleet.send("deploy", start=True, guest=HELLO)
    assert (fleet.generations(), fleet.user_data()) == ([1], b"hello")
    assert settled.outcome.facts["attach"] == "inserted"


def test_an_event_that_was_done_already_is_dropped_by_its_number(fleet: Fleet) -> None:
    running(fleet)
    verbs = len(fleet.cloud.verbs)
    for sequence in (1, 2):
        settled = fleet.send("start", sequence=sequence, guest={"user_data": {"text": "stale"}})
        assert (settled.outcome.status, settled.outcome.code) == (Status.DROPPED, StaleCode.STALE_SEQUENCE)
        assert settled.state is None
    assert len(fleet.cloud.verbs) == verbs
    assert fleet.user_data() == b"hello"


def test_destroy_leaves_nothing_and_no_later_event_brings_the_vm_back(fleet: Fleet) -> None:
    running(fleet, guest=HELLO | {"password": "swordfish"})
    settled = fleet.send("destroy")
    assert settled.gone
    assert fleet.medium() is None
    assert fleet.generations() == []
    assert fleet.known() == VmState(sequence=3, phase=Phase.GONE)
    for word in ("deploy", "start", "stop", "migrate", "password_reset", "update", "destroy"):
        late = fleet.send(word)
        assert (late.outcome.status, late.outcome.code) == (Status.DROPPED, StaleCode.VM_GONE)
        assert not late.gone
    assert fleet.generations() == []


def test_the_outcome_tells_whose_it_is_and_how_often_it_was_tried(fleet: Fleet) -> None:
    fleet.clock.time = 99.5
    outcome = fleet.send("deploy", attempt=4).outcome
    assert (outcome.event_id, outcome.event_type, outcome.vm_uuid) == ("event-1", "deploy", VM)
    assert (outcome.sequence, outcome.at, outcome.attempts, outcome.code) == (1, 99.5, 4, None)


def test_the_observer_takes_note_of_every_step_with_what_it_belongs_to(fleet: Fleet) -> None:
    fleet.send("deploy", start=True)
    assert fleet.observer.steps == ["observe", "build", "upload", "attach"]
    record = fleet.observer.records[-1]
    assert (record.event_id, record.event_type, record.vm_uuid) == ("event-1", "deploy", VM)
    assert (record.hypervisor, record.error) == ("memory", None)
    assert all(record.seconds >= 0 for record in fleet.observer.records)
    fleet.cloud.down.add(HOST_1)
    refused(fleet, "stop")
    assert (fleet.observer.records[-1].step, fleet.observer.records[-1].error) == ("observe", "host_unreachable")


def test_the_observer_takes_note_of_what_nobody_foresaw_without_its_text(fleet: Fleet) -> None:
    fleet.breaks("upload", RuntimeError("swordfish"))
    with pytest.raises(RuntimeError):
        fleet.send("deploy")
    assert fleet.observer.records[-1].error == "unclassified"


# --- labels -----------------------------------------------------------------------------------------------------------


def test_the_fleet_s_label_holds_until_the_vm_names_its_own(fleet: Fleet) -> None:
    running(fleet)
    assert fleet.label() == "config"
    fleet.send("update", label="config-2", apply="now")
    assert fleet.label() == "config-2"
    fleet.send("start")
    assert fleet.label() == "config-2"


# --- when changes reach the guest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "data", "at_once"),
    [
        (PowerState.RUNNING, {}, False),
        (PowerState.RUNNING, {"apply": "now"}, True),
        (PowerState.PAUSED, {"apply": "now"}, True),
        (PowerState.HALTED, {"apply": "now"}, False),
        (PowerState.SUSPENDED, {"apply": "now"}, False),
    ],
)
def test_an_update_comes_with_the_next_start_or_now_if_the_vm_is_live(
    fleet: Fleet, power: PowerState, data: Json, *, at_once: bool
) -> None:
    running(fleet)
    fleet.power(power)
    fleet.cloud.verbs.clear()
    settled = fleet.send("update", guest={"user_data": {"text": "new"}}, **data)
    assert (settled.outcome.status, settled.outcome.detail) == (
        Status.APPLIED,
        "" if at_once else "comes with the next start",
    )
    assert (fleet.user_data(), fleet.generations()) == ((b"new", [3]) if at_once else (b"hello", [2]))
    assert data or fleet.cloud.verbs == []
    fleet.send("stop")
    fleet.send("start")
    assert (fleet.user_data(), fleet.files()["cloudstack/metadata/vm_id.txt"]) == (b"new", b"14")


# --- order of checks --------------------------------------------------------------------------------------------------


def test_a_state_of_another_version_is_refused(fleet: Fleet) -> None:
    fleet.remembered = '{"phase": "flying"}'
    assert refused(fleet, "start").code is PermanentCode.MISCONFIGURED


def test_the_state_at_rest_belongs_to_one_vm(fleet: Fleet) -> None:
    running(fleet)
    other = parse(json.dumps(document("start", sequence=9, vm={"uuid": OTHER_UUID, "instance_name": "i"})))
    assert error_of(fleet.handle, other).code is PermanentCode.UNSEALABLE
