"""Redis was lost: what is remembered of the drives that are found, and that events go on from there."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.lifecycle.adoption import adoptable, record_of
from configdrive.lifecycle.orphans import Scene, scene
from configdrive.lifecycle.state import Phase, VmRecord, peek, write
from configdrive.model import Generation, HypervisorName, ImageName, InstanceName, PowerState, StoredImage, VmUuid
from configdrive.ports import Inserted, Survey, SurveyedVm
from tests.unit.documents import OTHER_UUID
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


def test_of_several_images_beside_an_empty_drive_the_newest_is_the_present_one(fleet: Fleet) -> None:
    for generation in (5, 9, 7):
        foreign_image(fleet.cloud, VM, generation)
    assert generation_of(adopt(fleet)) == 9


def test_a_vm_that_two_hosts_know_is_remembered_where_it_runs(local: Fleet) -> None:
    medium = local.medium()
    assert medium is not None
    stale = SurveyedVm(VM, "", PowerState.HALTED, (Inserted(image(1), AT_SOURCE),))
    runs = SurveyedVm(VM, "", PowerState.RUNNING, (Inserted(medium.name, AT_DESTINATION),))
    found = record_of(VM, MEMORY, scene({HOST_1: Survey((), (stale,)), HOST_2: Survey((), (runs,))}, []), AT)
    assert found.vm is not None
    assert (found.vm.host, generation_of(found)) == (HOST_2, 2)


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


# --- and on it goes ---------------------------------------------------------------------------------------------------


def test_an_adopted_drive_moves_with_its_vm_and_goes_with_it(local: Fleet) -> None:
    adopt(local)
    local.machine.host, local.machine.medium = HOST_2, None
    local.send("migrate", host=None)
    assert places_of(local) == {AT_DESTINATION}
    assert local.password() == "first"
    local.send("stop", host=None)
    assert (local.medium(), local.generations()) == (None, [])


@pytest.mark.parametrize("word", ["start", "update"])
def test_an_adopted_drive_is_not_replaced_by_one_that_lacks_its_content(fleet: Fleet, word: str) -> None:
    running(fleet)
    adopt(fleet)
    error = refused(fleet, word, **({"apply": "now"} if word == "update" else {}))
    assert error.code is PermanentCode.IMAGE_LOST
    assert fleet.user_data() == b"hello"


def test_a_start_that_brings_the_content_ends_the_adoption(fleet: Fleet) -> None:
    running(fleet)
    adopt(fleet)
    fleet.send("start", guest={"user_data": {"text": "again"}})
    assert (fleet.user_data(), fleet.known().adopted) == (b"again", False)
