"""Which VMs have a config drive: the network offering says it."""

from __future__ import annotations

import pytest

from configdrive.contract.events import DeployEvent
from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Phase
from tests.unit.documents import Json, event
from tests.unit.fakes.fleet import Fleet, running

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
