"""Nothing is remembered (Redis was lost): what is found on the hypervisor is taken over, and never damaged.

An event finds it, or `configdrive adopt` before any event does.
"""

from collections.abc import Callable

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.lifecycle.adoption import adoptable, record_of
from configdrive.lifecycle.orphans import Scene, scene
from configdrive.lifecycle.state import Phase, VmRecord, peek, write
from configdrive.model import Generation, HypervisorName, ImageName, InstanceName, PowerState, StoredImage, VmUuid
from configdrive.ports import Inserted, Survey, SurveyedVm
from tests.unit.documents import OTHER_UUID, Json
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import (
    AT_DESTINATION,
    AT_SOURCE,
    HELLO,
    HOME,
    HOST_1,
    HOST_2,
    LOCAL,
    VM,
    Fleet,
    foreign_image,
    moves,
    moves_without_its_drive,
    places_of,
    refused,
    running,
)

MEMORY = HypervisorName("memory")
OTHER = VmUuid(OTHER_UUID)
AT = 1_773_126_780.5


def looked(fleet: Fleet) -> Scene:
    return scene({host: fleet.driver.survey(host) for host in fleet.driver.hosts()}, [])


def adopt(fleet: Fleet) -> VmRecord:
    """Lose what is remembered, and remember what is found."""
    found = record_of(VM, MEMORY, looked(fleet), AT)
    fleet.remembered = write(found)
    return found


def generation_of(found: VmRecord) -> int:
    assert found.image is not None
    assert found.image.built_at == AT
    return found.image.generation


def image(generation: int, uuid: VmUuid = VM, name: str = "i-2-14-VM") -> ImageName:
    return ImageName.of(InstanceName(name), uuid, Generation(generation))


def forget(fleet: Fleet) -> None:
    fleet.remembered = None


@pytest.fixture(params=[forget, adopt], ids=["found by an event", "adopted"])
def lose(request: pytest.FixtureRequest) -> Callable[[Fleet], object]:
    """Lose Redis."""
    lost: Callable[[Fleet], object] = request.param
    return lost


# --- what is remembered of what is found ------------------------------------------------------------------------------


def test_a_running_vm_s_drive_is_remembered_as_attached(local: Fleet) -> None:
    found = adopt(local)
    assert found.vm is not None
    assert (found.vm.uuid, found.vm.instance_name, found.vm.host) == (VM, "i-2-14-vm", HOST_1)
    assert (found.vm.hypervisor, found.vm.primary_storage) == (MEMORY, None)
    assert (found.phase, generation_of(found), found.sequence) == (Phase.ATTACHED, 2, 2)
    assert (found.places, found.adopted, found.left_on) == ((AT_SOURCE,), True, ())
    assert peek(write(found)) == found


def test_an_image_beside_an_empty_drive_is_remembered_as_staged(fleet: Fleet) -> None:
    fleet.send("deploy", guest=HELLO)
    found = adopt(fleet)
    assert (found.phase, found.places) == (Phase.STAGED, (HOME,))


def test_an_image_whose_vm_no_host_knows_is_remembered_where_it_can_be_read(fleet: Fleet) -> None:
    fleet.machine.root = LOCAL
    fleet.send("deploy", guest=HELLO)
    fleet.cloud.machines.clear()
    found = adopt(fleet)
    assert found.vm is not None
    assert (found.vm.host, found.phase, found.places) == (HOST_1, Phase.STAGED, (AT_SOURCE,))


def test_the_image_in_the_drive_is_the_present_one_and_an_unfinished_event_may_come_again(local: Fleet) -> None:
    unfinished = StoredImage(image(3), AT_SOURCE)
    local.cloud.files[unfinished] = b"half"
    found = adopt(local)
    assert (generation_of(found), found.sequence) == (2, 2)
    assert local.send("start", guest=HELLO).outcome.status is Status.APPLIED, "the orchestrator sends it again"
    assert local.user_data() == b"hello"
    assert local.generations() == [3]


def test_a_drive_whose_storage_cannot_be_listed_is_remembered_all_the_same() -> None:
    held = SurveyedVm(VM, "", PowerState.RUNNING, (Inserted(image(4), None),))
    found = record_of(VM, MEMORY, scene({HOST_1: Survey((), (held,))}, []), AT)
    assert (found.phase, generation_of(found), found.places) == (Phase.ATTACHED, 4, ())


def test_vms_with_a_drive_or_an_image_are_found_and_no_others() -> None:
    third = VmUuid("7a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f")
    borrowed = SurveyedVm(third, "", PowerState.RUNNING, (Inserted(image(1, VM), HOME),))
    own = SurveyedVm(OTHER, "", PowerState.HALTED, (Inserted(image(1, OTHER), HOME),))
    assert adoptable(scene({HOST_1: Survey((), (borrowed, own))}, [])) == [OTHER]
    stored = StoredImage(image(1), HOME)
    assert adoptable(scene({HOST_1: Survey((stored,), (borrowed, own))}, [])) == sorted([VM, OTHER])


@pytest.mark.parametrize("generations", [(5, 9, 7), (5, 7, 6)])
def test_of_several_images_beside_an_empty_drive_the_newest_is_the_found_one(
    fleet: Fleet, lose: Callable[[Fleet], object], generations: tuple[int, ...]
) -> None:
    for generation in generations:
        foreign_image(fleet.cloud, VM, generation)
    lose(fleet)
    fleet.send("update")
    found = fleet.known().image
    assert found is not None
    assert (found.generation, fleet.known().phase) == (max(generations), Phase.STAGED)


def test_the_image_in_the_drive_is_the_found_one_whatever_else_lies_about(
    fleet: Fleet, lose: Callable[[Fleet], object]
) -> None:
    running(fleet)
    foreign_image(fleet.cloud, VM, 77)
    lose(fleet)
    fleet.send("update")
    found = fleet.known().image
    assert found is not None
    assert found.generation == 2


def test_another_vm_s_medium_is_not_taken_over(fleet: Fleet) -> None:
    foreign = foreign_image(fleet.cloud, OTHER_UUID)
    fleet.machine.slot, fleet.machine.medium = True, foreign
    fleet.send("update")
    assert (fleet.known().image, fleet.known().adopted) == (None, False)


# --- and on it goes ---------------------------------------------------------------------------------------------------


def test_a_found_drive_is_emptied_by_stop_and_destroy(fleet: Fleet, lose: Callable[[Fleet], object]) -> None:
    for word in ("stop", "destroy"):
        running(fleet)
        lose(fleet)
        fleet.send(word)
        assert (fleet.machine.medium, fleet.generations()) == (None, [])


@pytest.mark.parametrize("move", [moves, moves_without_its_drive])
def test_a_found_drive_moves_with_its_vm_and_goes_with_it(
    local: Fleet, lose: Callable[[Fleet], object], move: Callable[[Fleet], None]
) -> None:
    """Also where the hypervisor gave it up for the migration: it was looked for where the VM still was."""
    lose(local)
    local.send("migrate", phase="prepare")
    assert local.known().phase is Phase.ATTACHED
    assert places_of(local) == {AT_SOURCE, AT_DESTINATION}
    move(local)
    local.send("migrate", host=None)
    assert (places_of(local), local.password()) == ({AT_DESTINATION}, "first")
    local.send("stop", host=None)
    assert (local.medium(), local.generations()) == (None, [])


@pytest.mark.parametrize("word", ["password_reset", "update"])
def test_a_found_drive_is_not_hidden_by_an_event_that_only_remembers(
    local: Fleet, word: str, lose: Callable[[Fleet], object]
) -> None:
    lose(local)
    settled = local.send(word)
    assert settled.outcome.detail == "comes with the next start"
    assert (local.known().adopted, local.known().phase, local.known().places) == (True, Phase.ATTACHED, (AT_SOURCE,))
    moves_without_its_drive(local)
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
def test_a_found_drive_is_not_replaced_by_one_that_lacks_its_content(
    fleet: Fleet, word: str, data: Json, lose: Callable[[Fleet], object]
) -> None:
    running(fleet)
    lose(fleet)
    error = refused(fleet, word, **data)
    assert error.code is PermanentCode.IMAGE_LOST
    assert "start event" in error.remedy
    assert fleet.user_data() == b"hello"


@pytest.mark.parametrize("word", ["start", "deploy"])
def test_an_event_that_brings_the_content_makes_a_found_drive_the_fleet_s_own(
    fleet: Fleet, word: str, lose: Callable[[Fleet], object]
) -> None:
    running(fleet)
    lose(fleet)
    attached: Json = {"start": True} if word == "deploy" else {}
    fleet.send(word, guest={"user_data": {"text": "again"}}, **attached)
    assert fleet.user_data() == b"again"
    assert not fleet.known().adopted
    fleet.send("update", apply="now", label="config-2")
    assert (fleet.label(), fleet.user_data()) == ("config-2", b"again")


def test_a_migration_of_an_unknown_vm_without_any_image_moves_nothing(fleet: Fleet) -> None:
    settled = fleet.send("migrate")
    assert settled.outcome.status is Status.APPLIED
    assert fleet.vm().host == HOST_2


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_of_an_unknown_vm_on_an_unknown_host_there_is_nothing_to_stop(fleet: Fleet, word: str) -> None:
    settled = fleet.send(word, host=None)
    assert settled.outcome.status is Status.NOT_APPLICABLE
    assert settled.state is None
    assert fleet.cloud.verbs == []


@pytest.mark.parametrize("verb", ["attach", "upload"])
def test_what_this_very_event_has_left_in_an_attempt_that_died_is_no_found_drive(fleet: Fleet, verb: str) -> None:
    event = fleet.event("start")
    fleet.breaks(verb, KeyboardInterrupt(), At.AFTER)
    with pytest.raises(KeyboardInterrupt):
        fleet.handle(event)
    fleet.mended()
    fleet.handle(event, attempt=2)
    assert fleet.files()
    assert not fleet.known().adopted
