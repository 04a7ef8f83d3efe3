"""Which VMs have a drive, where its images lie, and who puts them into it."""

from dataclasses import replace

import pytest

from configdrive.contract.events import DeployEvent
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.lifecycle import state
from configdrive.lifecycle.state import Phase
from configdrive.model import Place, PowerState
from tests.unit.documents import Json, event
from tests.unit.fakes.cloud import Machine
from tests.unit.fakes.fleet import HELLO, HOME, HOST_1, PRIMARY, SECOND, VM, Fleet, left_places, refused, running

VIRTUAL_ROUTER: Json = {"services": {"UserData": "VirtualRouter", "Dhcp": "VirtualRouter"}}


def test_a_vm_whose_offering_does_not_name_config_drive_gets_none(fleet: Fleet) -> None:
    for word in ("deploy", "start"):
        settled = fleet.send(word, network_offering=VIRTUAL_ROUTER)
        assert settled.outcome.status is Status.NOT_APPLICABLE
        assert "ConfigDrive" in settled.outcome.detail
    for word in ("update", "password_reset", "stop", "migrate"):
        assert fleet.send(word).outcome.status is Status.NOT_APPLICABLE
    assert fleet.cloud.verbs == [], "its hypervisor was not even asked"


@pytest.mark.parametrize("services", [None, {"UserData": ["ConfigDrive"], "Dhcp": "VirtualRouter"}])
def test_with_config_drive_or_without_an_offering_a_vm_has_a_drive(fleet: Fleet, services: Json | None) -> None:
    fleet.send("deploy", network_offering=services and {"services": services}, start=True)
    assert fleet.files()


@pytest.mark.parametrize("word", ["deploy", "start"])
def test_a_drive_of_an_earlier_offering_goes(fleet: Fleet, word: str) -> None:
    running(fleet)
    settled = fleet.send(word, network_offering=VIRTUAL_ROUTER)
    assert settled.outcome.status is Status.NOT_APPLICABLE
    assert (fleet.medium(), fleet.generations(), fleet.known().phase) == (None, [], Phase.ABSENT)


def test_a_drive_of_an_earlier_offering_goes_with_the_stop(fleet: Fleet) -> None:
    running(fleet)
    fleet.send("update", network_offering=VIRTUAL_ROUTER)
    assert fleet.user_data() == b"hello"
    fleet.send("stop")
    assert (fleet.machine.medium, fleet.generations()) == (None, [])


@pytest.mark.parametrize(
    ("services", "named"),
    [
        ({}, False),
        ({"UserData": "ConfigDrive"}, True),
        ({"userdata": "CONFIGDRIVE"}, True),
        ({"UserData": "VirtualRouter"}, False),
        ({"UserData": ["VirtualRouter", "ConfigDrive"]}, True),
        ({"UserData": []}, False),
        ({"Dhcp": "ConfigDrive"}, False),
        ({"UserData": ["VirtualRouter"], "Dns": "ConfigDrive"}, False),
        ({"Dhcp": "VirtualRouter", "UserData": ["ConfigDrive"]}, True),
    ],
)
def test_reads_from_the_offering_whether_config_drive_provides_user_data(services: Json, *, named: bool) -> None:
    parsed = event("deploy", network_offering={"services": services})
    assert isinstance(parsed, DeployEvent)
    assert parsed.data.network_offering is not None
    assert parsed.data.network_offering.names_config_drive is named


# --- storages ---------------------------------------------------------------------------------------------------------


def test_the_storage_is_that_of_the_root_disk(fleet: Fleet) -> None:
    fleet.machine.root = SECOND
    assert running(fleet).send("start").outcome.facts["storage"] == "second"
    assert fleet.inserted().place == Place(SECOND)


def test_a_storage_that_the_event_names_goes_before_the_root_disk_s(fleet: Fleet) -> None:
    assert fleet.send("deploy", primary_storage="second").outcome.facts["storage"] == "second"
    assert {stored.place for stored in fleet.cloud.images_of(VM)} == {Place(SECOND)}


def test_a_storage_that_an_earlier_event_named_is_the_fallback_for_a_vm_that_is_not_defined_yet(fleet: Fleet) -> None:
    del fleet.cloud.machines[VM]
    fleet.send("deploy", primary_storage="second")
    assert fleet.send("deploy").outcome.facts["storage"] == "second"
    fleet.cloud.machines[VM] = Machine(HOST_1, PRIMARY)
    settled = fleet.send("start")
    assert settled.outcome.facts["storage"] == "primary", "now the root disk tells"
    assert {stored.place for stored in fleet.cloud.images_of(VM)} == {HOME}


def test_the_image_follows_a_root_disk_that_has_moved(fleet: Fleet) -> None:
    running(fleet)
    fleet.machine.root = SECOND
    fleet.send("start")
    assert {stored.place for stored in fleet.cloud.images_of(VM)} == {Place(SECOND)}
    assert fleet.known().places == (Place(SECOND),)


def test_an_image_that_stays_in_the_drive_on_an_older_storage_is_not_forgotten(fleet: Fleet) -> None:
    running(fleet)
    fleet.machine.root = SECOND
    fleet.send("deploy", guest=HELLO)
    assert {stored.place for stored in fleet.cloud.images_of(VM)} == {HOME, Place(SECOND)}
    assert fleet.known().places == (HOME, Place(SECOND))
    fleet.send("stop")
    assert fleet.generations() == []


def test_a_destroyed_vm_s_images_on_a_storage_that_is_away_are_reported(fleet: Fleet) -> None:
    fleet.send("deploy", primary_storage="second")
    fleet.cloud.down.add(SECOND)
    settled = fleet.send("destroy")
    assert settled.outcome.facts["left_behind"] == "second@shared"
    assert left_places(fleet) == {Place(SECOND)}


def test_a_destroy_goes_through_when_the_vm_and_the_storage_it_once_named_are_no_more(fleet: Fleet) -> None:
    fleet.send("deploy", primary_storage="second")
    fleet.cloud.images_of(VM)
    fleet.cloud.files.clear()
    fleet.cloud.shared.remove(SECOND)
    del fleet.cloud.machines[VM]
    fleet.remembered = state.dump(replace(fleet.known(), places=()), fleet.sealer, VM)
    assert refused(fleet, "start").code is PermanentCode.STORAGE_NOT_FOUND
    assert fleet.send("stop").outcome.status is Status.APPLIED
    assert fleet.send("destroy").gone


# --- attached by the orchestrator -------------------------------------------------------------------------------------


def test_an_orchestrator_that_attaches_by_itself_learns_what_to_attach(fleet: Fleet) -> None:
    fleet.send("deploy", attach="orchestrator", guest=HELLO)
    settled = fleet.send("start")
    assert fleet.medium() is None
    assert settled.outcome.facts["attach"] == "orchestrator"
    assert ".2." in settled.outcome.facts["path"]
    assert fleet.generations() == [2]


def test_an_orchestrator_needs_no_defined_vm_but_a_storage(fleet: Fleet) -> None:
    del fleet.cloud.machines[VM]
    assert refused(fleet, "start", attach="orchestrator").code is PermanentCode.VM_NOT_FOUND
    settled = fleet.send("start", attach="orchestrator", primary_storage="primary")
    assert settled.outcome.facts["attach"] == "orchestrator"


def test_the_medium_stays_until_the_orchestrator_has_exchanged_it(fleet: Fleet) -> None:
    fleet.send("deploy", attach="orchestrator", guest=HELLO)
    fleet.send("start")
    (stored,) = fleet.cloud.images_of(VM)
    fleet.machine.slot, fleet.machine.medium = True, stored
    fleet.power(PowerState.RUNNING)
    fleet.send("update", apply="now", guest={"user_data": {"text": "new"}})
    assert fleet.generations() == [2, 3]
    assert fleet.user_data() == b"hello"
    (newer,) = fleet.cloud.images_of(VM) - {stored}
    fleet.machine.medium = newer
    fleet.send("start")
    assert fleet.generations() == [3, 4]
    fleet.send("stop")
    assert (fleet.generations(), fleet.medium()) == ([], None)
