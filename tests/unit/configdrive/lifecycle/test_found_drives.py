"""Nothing is remembered (Redis was lost): what is found on the hypervisor is taken over, and never damaged."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import (
    PermanentCode,
)
from configdrive.lifecycle.state import Phase
from tests.unit.documents import OTHER_UUID, Json
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import (
    AT_DESTINATION,
    AT_SOURCE,
    HOST_2,
    VM,
    Fleet,
    foreign_image,
    moves,
    places_of,
    refused,
    running,
)


def test_a_found_drive_is_emptied_by_stop_and_destroy(fleet: Fleet) -> None:
    for word in ("stop", "destroy"):
        running(fleet)
        fleet.remembered = None
        fleet.send(word)
        assert (fleet.machine.medium, fleet.generations()) == (None, [])


def test_a_found_drive_moves_with_its_vm(local: Fleet) -> None:
    local.remembered = None
    local.send("migrate", phase="prepare")
    assert places_of(local) == {AT_SOURCE, AT_DESTINATION}
    moves(local)
    local.send("migrate", host=None)
    assert places_of(local) == {AT_DESTINATION}
    assert local.password() == "first"


def test_a_found_drive_is_attached_again_where_the_hypervisor_gave_it_up_for_the_migration(local: Fleet) -> None:
    local.remembered = None
    local.send("migrate", phase="prepare")
    assert local.known().phase is Phase.ATTACHED, "the drive was looked for where the VM still is"
    local.machine.host, local.machine.medium = HOST_2, None
    local.send("migrate", host=None)
    assert local.password() == "first"


@pytest.mark.parametrize("word", ["password_reset", "update"])
def test_a_found_drive_is_not_hidden_by_an_event_that_only_remembers(local: Fleet, word: str) -> None:
    local.remembered = None
    settled = local.send(word)
    assert settled.outcome.detail == "comes with the next start"
    assert (local.known().adopted, local.known().phase, local.known().places) == (True, Phase.ATTACHED, (AT_SOURCE,))
    local.machine.host, local.machine.medium = HOST_2, None
    local.send("migrate", host=None)
    assert local.password() == "first"


@pytest.mark.parametrize(
    ("word", "data"),
    [
        ("update", {"apply": "now", "guest": {"ssh_keys": []}}),
        ("update", {"password_delivered": True}),
        ("password_reset", {"apply": "now"}),
        ("start", {}),
        ("start", {"guest": {"password": "new"}}),
    ],
)
def test_a_found_drive_is_not_replaced_by_one_that_lacks_its_content(fleet: Fleet, word: str, data: Json) -> None:
    running(fleet)
    fleet.remembered = None
    error = refused(fleet, word, **data)
    assert error.code is PermanentCode.IMAGE_LOST
    assert "start event" in error.remedy
    assert fleet.user_data() == b"hello"


@pytest.mark.parametrize("word", ["start", "deploy"])
def test_an_event_that_brings_the_content_makes_a_found_drive_the_fleet_s_own(fleet: Fleet, word: str) -> None:
    running(fleet)
    fleet.remembered = None
    attached: Json = {"start": True} if word == "deploy" else {}
    fleet.send(word, guest={"user_data": {"text": "again"}}, **attached)
    assert fleet.user_data() == b"again"
    assert not fleet.known().adopted
    fleet.send("update", apply="now", label="config-2")
    assert (fleet.label(), fleet.user_data()) == ("config-2", b"again")


def test_the_image_in_the_drive_is_the_found_one_whatever_else_lies_about(fleet: Fleet) -> None:
    running(fleet)
    foreign_image(fleet.cloud, VM, 77)
    fleet.remembered = None
    fleet.send("update")
    found = fleet.known().image
    assert found is not None
    assert found.generation == 2


def test_of_several_images_beside_an_empty_drive_the_newest_is_the_found_one(fleet: Fleet) -> None:
    for generation in (5, 7, 6):
        foreign_image(fleet.cloud, VM, generation)
    fleet.send("update")
    found = fleet.known().image
    assert found is not None
    assert (found.generation, fleet.known().phase) == (7, Phase.STAGED)


def test_another_vm_s_medium_is_not_taken_over(fleet: Fleet) -> None:
    foreign = foreign_image(fleet.cloud, OTHER_UUID)
    fleet.machine.slot, fleet.machine.medium = True, foreign
    fleet.send("update")
    assert (fleet.known().image, fleet.known().adopted) == (None, False)


def test_a_migration_of_an_unknown_vm_without_any_image_moves_nothing(fleet: Fleet) -> None:
    settled = fleet.send("migrate")
    assert settled.outcome.status is Status.APPLIED
    vm = fleet.known().vm
    assert vm is not None
    assert vm.host == HOST_2


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_of_an_unknown_vm_on_an_unknown_host_there_is_nothing_to_stop(fleet: Fleet, word: str) -> None:
    settled = fleet.send(word, host=None)
    assert settled.outcome.status is Status.NOT_APPLICABLE
    assert settled.state is None
    assert fleet.cloud.verbs == []


@pytest.mark.parametrize("verb", ["attach", "upload"])
def test_what_this_very_event_has_left_in_an_attempt_that_died_is_no_found_drive(fleet: Fleet, verb: str) -> None:
    event = fleet.event("start")

    def killed(at_verb: str, at: At) -> None:
        if (at_verb, at) == (verb, At.AFTER):
            raise KeyboardInterrupt

    fleet.cloud.hook = killed
    with pytest.raises(KeyboardInterrupt):
        fleet.handle(event)
    fleet.cloud.hook = lambda _verb, _at: None
    fleet.handle(event, attempt=2)
    assert fleet.files() is not None
    assert not fleet.known().adopted
