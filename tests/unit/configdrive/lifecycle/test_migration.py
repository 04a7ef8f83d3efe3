"""A migration moves the image with its VM, and nothing of its content is lost."""

from dataclasses import replace

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, TransientCode
from configdrive.lifecycle.state import Phase
from configdrive.model import HostName, PowerState, StorageName, StoredImage
from tests.unit.fakes.cloud import Machine
from tests.unit.fakes.fleet import (
    AT_DESTINATION,
    AT_SOURCE,
    HELLO,
    HOST_1,
    HOST_2,
    LOCAL,
    SECOND,
    VM,
    Fleet,
    left_places,
    moves,
    moves_without_its_drive,
    places_of,
    refused,
    running,
)

OTHER = StorageName("other")


@pytest.mark.parametrize("again", [None, HOST_1])
def test_an_image_is_copied_by_prepare_and_by_complete_left_on_the_destination_only(
    local: Fleet, again: HostName | None
) -> None:
    before, medium = local.content(), local.medium()
    settled = local.send("migrate", phase="prepare", host=None)
    assert settled.outcome.status is Status.APPLIED
    assert (places_of(local), local.medium()) == ({AT_SOURCE, AT_DESTINATION}, medium), "the running VM is left alone"
    known = local.known()
    assert (local.vm().host, known.destination, known.phase) == (HOST_1, HOST_2, Phase.ATTACHED)
    assert known.places == (AT_SOURCE, AT_DESTINATION)
    moves(local)
    for host in (None, again):
        settled = local.send("migrate", phase="complete", host=host)
        assert (settled.outcome.status, settled.outcome.facts["attach"]) == (Status.APPLIED, "already")
        assert (places_of(local), local.content()) == ({AT_DESTINATION}, before)
        assert (local.vm().host, local.known().destination) == (HOST_2, None)
        assert local.known().places == (AT_DESTINATION,)


@pytest.mark.parametrize("source", ["sound", "lost", "tampered with"])
def test_complete_without_prepare_copies_the_image_or_builds_it_again_with_its_password(
    local: Fleet, source: str
) -> None:
    before = local.content()
    if source == "lost":
        local.cloud.down.add(HOST_1)
    if source == "tampered with":
        local.cloud.files[local.inserted()] = b"tampered"
    moves_without_its_drive(local)
    local.send("migrate", host=None)
    assert local.content() == before, "the same build time, the same bytes"
    assert local.known().places == (AT_DESTINATION,)
    assert left_places(local) == ({AT_SOURCE} if source == "lost" else set())
    assert places_of(local) == {AT_DESTINATION} | left_places(local)


def test_rollback_leaves_everything_as_before_prepare_also_when_it_comes_twice(local: Fleet) -> None:
    before, medium = local.content(), local.medium()
    local.send("migrate", phase="prepare", host=None)
    for _ in range(2):
        assert local.send("migrate", phase="rollback", host="host-1").outcome.status is Status.APPLIED
        assert (places_of(local), local.known().places) == ({AT_SOURCE}, (AT_SOURCE,))
        assert (local.content(), local.medium()) == (before, medium)


@pytest.mark.parametrize("attempt", [1, 2])
def test_rollback_puts_the_medium_back_that_was_ejected_and_trusts_the_original(local: Fleet, attempt: int) -> None:
    local.send("migrate", phase="prepare", host=None)
    local.machine.medium = None
    (copy,) = {stored for stored in local.cloud.images_of(VM) if stored.place == AT_DESTINATION}
    local.cloud.files[copy] = b"half"
    local.send("migrate", phase="rollback", host=None, attempt=attempt)
    assert local.password() == "first"


@pytest.mark.parametrize("phase", ["complete", "rollback"])
def test_what_a_host_keeps_of_a_vm_that_has_left_it_names_no_image(local: Fleet, phase: str) -> None:
    local.send("migrate", phase="prepare", host=None)
    kept = Machine(HOST_2, LOCAL, slot=True, medium=StoredImage(local.inserted().name, AT_DESTINATION))
    if phase == "complete":
        kept = replace(local.machine, power=PowerState.HALTED)
        moves(local)
    local.cloud.remains.append((VM, kept))
    local.send("migrate", phase=phase, host=None)
    assert kept.medium is None
    assert places_of(local) == {AT_DESTINATION if phase == "complete" else AT_SOURCE}
    assert local.password() == "first"


def test_what_a_host_keeps_is_found_without_the_storage_that_an_earlier_event_named(local: Fleet) -> None:
    local.send("update", primary_storage="second")
    local.cloud.shared.remove(SECOND)
    kept = replace(local.machine, power=PowerState.HALTED)
    local.cloud.remains.append((VM, kept))
    moves_without_its_drive(local)
    local.send("migrate", host=None)
    assert kept.medium is None
    assert places_of(local) == {AT_DESTINATION}


@pytest.mark.parametrize("away", [HOST_2, None], ids=["down", "no longer in the inventory"])
def test_a_rollback_needs_no_destination(local: Fleet, away: HostName | None) -> None:
    local.send("migrate", phase="prepare", host=None)
    if away is None:
        local.cloud.hosts.remove(HOST_2)
    else:
        local.cloud.down.add(away)
    settled = local.send("migrate", phase="rollback", host=None)
    left = "local@host-2" if away is None else "drive@host-2, local@host-2"
    assert (settled.outcome.status, settled.outcome.facts["left_behind"]) == (Status.APPLIED, left)
    assert local.password() == "first"


@pytest.mark.parametrize("power", [PowerState.RUNNING, PowerState.PAUSED])
def test_a_migration_is_not_complete_while_the_vm_is_on_its_source(local: Fleet, power: PowerState) -> None:
    local.send("migrate", phase="prepare", host=None)
    source = replace(local.machine, power=power)
    moves(local)
    local.cloud.remains.append((VM, source))
    error = refused(local, "migrate", host=None)
    assert (error.code, "host-1" in error.detail) == (TransientCode.VM_BUSY, True)
    assert source.medium is not None
    assert places_of(local) == {AT_SOURCE, AT_DESTINATION}


def test_prepare_brings_the_image_to_where_it_lies_even_if_the_root_disk_has_moved_since(local: Fleet) -> None:
    local.cloud.local.add(OTHER)
    local.machine.root = OTHER
    local.send("migrate", phase="prepare", host=None)
    assert places_of(local) == {AT_SOURCE, AT_DESTINATION}


@pytest.mark.parametrize("phase", ["prepare", "complete", "rollback"])
def test_on_shared_storage_nothing_is_copied(fleet: Fleet, phase: str) -> None:
    running(fleet)
    before = dict(fleet.cloud.files)
    if phase == "complete":
        fleet.machine.host = HOST_2
    fleet.cloud.verbs.clear()
    fleet.send("migrate", phase=phase, host=None)
    assert fleet.cloud.files == before
    assert set(fleet.cloud.verbs) <= {"observe", "attach"}
    assert fleet.user_data() == b"hello"


def test_a_staged_image_moves_and_stays_staged(fleet: Fleet) -> None:
    fleet.machine.root = LOCAL
    fleet.send("deploy", guest=HELLO)
    fleet.machine.host = HOST_2
    fleet.send("migrate", host=None)
    assert places_of(fleet) == {AT_DESTINATION}
    assert fleet.medium() is None
    assert fleet.known().phase is Phase.STAGED


def test_an_image_keeps_its_name_when_its_vm_is_renamed(local: Fleet) -> None:
    before = local.inserted()
    moves_without_its_drive(local)
    local.send("migrate", host=None, vm={"uuid": VM, "instance_name": "Web 01 (prod)"})
    assert local.inserted().name == before.name
    assert local.password() == "first"
    assert places_of(local) == {AT_DESTINATION}


def test_a_late_rollback_after_the_migration_was_completed_does_nothing(local: Fleet) -> None:
    local.send("migrate", phase="prepare", host=None)
    moves(local)
    local.send("migrate", phase="complete", host=None)
    medium = local.medium()
    settled = local.send("migrate", phase="rollback", host="host-1")
    assert settled.outcome.status is Status.NOT_APPLICABLE
    assert local.medium() == medium
    assert local.vm().host == HOST_2
    assert local.send("start", host="host-2").outcome.status is Status.APPLIED


@pytest.mark.parametrize("phase", ["prepare", "complete"])
def test_a_migration_to_a_host_that_is_not_there_is_rejected_and_holds_nothing_up(local: Fleet, phase: str) -> None:
    outcome = local.send("migrate", phase=phase, host=None, destination="no-such-host").outcome
    assert (outcome.status, outcome.code) == (Status.REJECTED, PermanentCode.UNKNOWN_HOST)
    assert local.send("start").outcome.status is Status.APPLIED


def test_a_copy_of_an_image_whose_content_is_not_known_must_be_genuine(local: Fleet) -> None:
    (image,) = local.cloud.images_of(VM)
    local.remembered = None
    local.send("update")
    local.cloud.files[image] = b"tampered"
    moves_without_its_drive(local)
    assert refused(local, "migrate", host=None).code is PermanentCode.IMAGE_LOST
