"""The use case on a hypervisor in memory: what the guest finds, what lies on the storages, and what is reported."""

from __future__ import annotations

import json

import pytest

from configdrive.contract.events import parse
from configdrive.contract.outcome import Status
from configdrive.errors import (
    PermanentCode,
    StaleCode,
)
from configdrive.lifecycle.state import Phase, VmState
from configdrive.model import HostName, PowerState
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, document
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import (
    HELLO,
    HOST_1,
    VM,
    Fleet,
    refused,
    running,
)

# --- a life -----------------------------------------------------------------------------------------------------------


def test_deploy_stages_an_image_and_leaves_the_drive_alone(fleet: Fleet) -> None:
    settled = fleet.send("deploy", guest=HELLO)
    assert fleet.generations() == [1]
    assert fleet.medium() is None
    assert fleet.known().phase is Phase.STAGED
    assert settled.outcome.status is Status.APPLIED
    assert settled.outcome.facts == {"generation": "1", "storage": "primary", "password": "none"}


def test_start_attaches_a_fresh_image_and_the_staged_one_goes(fleet: Fleet) -> None:
    fleet.send("deploy", guest=HELLO)
    settled = fleet.send("start")
    assert fleet.generations() == [2]
    assert fleet.user_data() == b"hello"
    assert settled.outcome.facts == {
        "generation": "2",
        "storage": "primary",
        "password": "none",
        "attach": "inserted",
        "device": "cd",
        "path": "/primary/i-2-14-vm.3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f.2.xhpd4oyy36b77dwi-fleetaaa.iso",
        "xml": "<disk/>",
    }


def test_deploy_with_start_attaches_at_once(fleet: Fleet) -> None:
    settled = fleet.send("deploy", start=True, guest=HELLO)
    assert fleet.generations() == [1]
    assert fleet.user_data() == b"hello"
    assert settled.outcome.facts["attach"] == "inserted"


def test_stop_leaves_nothing(fleet: Fleet) -> None:
    running(fleet)
    settled = fleet.send("stop")
    assert fleet.medium() is None
    assert fleet.generations() == []
    assert settled.outcome.facts == {"attach": "removed"}
    assert fleet.known().places == ()


def test_a_second_start_exchanges_the_medium_of_a_running_vm(fleet: Fleet) -> None:
    running(fleet)
    fleet.send("start", guest={"user_data": {"text": "newer"}})
    assert fleet.user_data() == b"newer"
    assert fleet.generations() == [3]


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
    assert all(0 <= record.seconds < 60 for record in fleet.observer.records)
    fleet.cloud.down.add(HOST_1)
    refused(fleet, "stop")
    assert (fleet.observer.records[-1].step, fleet.observer.records[-1].error) == ("observe", "host_unreachable")


def test_the_observer_takes_note_of_what_nobody_foresaw_without_its_text(fleet: Fleet) -> None:
    def surprise(verb: str, _at: At) -> None:
        if verb == "upload":
            raise RuntimeError("swordfish")

    fleet.cloud.hook = surprise
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


def test_an_update_waits_for_the_next_start(fleet: Fleet) -> None:
    running(fleet)
    before = list(fleet.cloud.verbs)
    settled = fleet.send("update", guest={"user_data": {"text": "new"}})
    assert fleet.cloud.verbs == before
    assert fleet.user_data() == b"hello"
    assert (settled.outcome.status, settled.outcome.detail) == (Status.APPLIED, "comes with the next start")
    fleet.send("stop")
    fleet.send("start")
    assert fleet.user_data() == b"new"


@pytest.mark.parametrize("power", [PowerState.RUNNING, PowerState.PAUSED])
def test_an_update_now_exchanges_the_medium_of_a_live_vm(fleet: Fleet, power: PowerState) -> None:
    running(fleet)
    fleet.power(power)
    fleet.send("update", apply="now", guest={"user_data": {"text": "new"}})
    assert fleet.user_data() == b"new"
    assert fleet.generations() == [3]


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.SUSPENDED])
def test_an_update_now_of_a_vm_that_is_not_live_waits(fleet: Fleet, power: PowerState) -> None:
    running(fleet)
    fleet.power(power)
    settled = fleet.send("update", apply="now", guest={"user_data": {"text": "new"}})
    assert fleet.user_data() == b"hello"
    assert settled.outcome.detail == "comes with the next start"
    fleet.send("start")
    assert fleet.user_data() == b"new"


# --- order of checks --------------------------------------------------------------------------------------------------


def test_a_state_of_another_version_is_refused(fleet: Fleet) -> None:
    fleet.remembered = '{"phase": "flying"}'
    assert refused(fleet, "start").code is PermanentCode.MISCONFIGURED


def test_the_state_at_rest_belongs_to_one_vm(fleet: Fleet) -> None:
    running(fleet)
    other = parse(json.dumps(document("start", sequence=9, vm={"uuid": OTHER_UUID, "instance_name": "i"})))
    assert error_of(fleet.handle, other).code is PermanentCode.UNSEALABLE


def test_hosts_of_the_inventory_are_the_driver_s() -> None:
    assert Fleet().driver.hosts() == [HostName("host-1"), HostName("host-2")]
