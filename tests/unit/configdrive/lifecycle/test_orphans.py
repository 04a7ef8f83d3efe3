"""Which images stay and which go: every reason, and what may never go whatever is remembered."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.lifecycle.orphans import Scene, Why, judge, of_vm, scene
from configdrive.lifecycle.state import ImageRecord, Phase, VmRecord
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.ports import Inserted, Survey, SurveyedVm
from tests.unit.documents import OTHER_UUID, UUID
from tests.unit.fakes.fleet import AT_DESTINATION, AT_SOURCE, HOME, HOST_1, HOST_2

VM, OTHER = VmUuid(UUID), VmUuid(OTHER_UUID)


def image(generation: int = 5, place: Place = HOME, uuid: VmUuid = VM) -> StoredImage:
    return StoredImage(ImageName.of(InstanceName("i-2-14-VM"), uuid, Generation(generation)), place)


def one(uuid: VmUuid, *media: StoredImage, power: PowerState = PowerState.RUNNING) -> SurveyedVm:
    return SurveyedVm(uuid, f"name of {uuid}", power, tuple(Inserted(each.name, each.place) for each in media))


def known(phase: Phase = Phase.ATTACHED, generation: int | None = 5, sequence: int = 7, *places: Place) -> VmRecord:
    vm = Vm(VM, InstanceName("i-2-14-VM"), HypervisorName("memory"), HOST_1)
    record = None if generation is None else ImageRecord(str(image(generation).name), Generation(generation), 1.0)
    return VmRecord(vm=vm, sequence=sequence, phase=phase, image=record, places=places or (HOME,))


HERE, THERE = replace(AT_SOURCE, identity="a"), replace(AT_DESTINATION, identity="b")
"""Two places that can be told apart for sure."""
GONE = known(Phase.GONE, None)
STOPPED = known(Phase.ABSENT, None)


def seen(*images: StoredImage, vms: tuple[SurveyedVm, ...] = (), away: tuple[HostName, ...] = ()) -> Scene:
    return scene({HOST_1: Survey(images, vms)}, away)


@pytest.mark.parametrize(
    ("stored", "remembered", "why"),
    [
        (image(5), known(), Why.CURRENT),
        (image(5, AT_SOURCE), known(Phase.ATTACHED, 5, 7, AT_SOURCE, AT_DESTINATION), Why.CURRENT),
        (image(5, AT_SOURCE), known(Phase.ATTACHED, 5, 7, AT_DESTINATION), Why.CURRENT),
        (image(5, HERE), known(Phase.ATTACHED, 5, 7, THERE), Why.ELSEWHERE),
        (image(4), known(), Why.OLD),
        (image(7), known(), Why.OLD),
        (image(8), known(), Why.OLD),
        (image(8), STOPPED, Why.STOPPED),
        (image(5), STOPPED, Why.STOPPED),
        (image(7), STOPPED, Why.STOPPED),
        (image(5), GONE, Why.VM_GONE),
        (image(9), GONE, Why.VM_GONE),
        (image(5), None, Why.VM_UNKNOWN),
    ],
)
def test_an_image_that_is_in_no_drive_is_judged_by_what_is_remembered(
    stored: StoredImage, remembered: VmRecord | None, why: Why
) -> None:
    assert judge(stored, seen(stored), remembered) is why


def test_an_image_of_a_vm_that_a_host_knows_stays_when_nothing_is_remembered() -> None:
    stored = image()
    assert judge(stored, seen(stored, vms=(one(VM),)), None) is Why.NOT_REMEMBERED
    assert judge(stored, seen(stored, vms=(one(OTHER),)), None) is Why.VM_UNKNOWN


def test_an_image_whose_name_is_in_a_drive_stays_in_every_place() -> None:
    elsewhere = image(5, AT_DESTINATION)
    held = one(OTHER, image(5, AT_SOURCE))
    assert judge(elsewhere, seen(elsewhere, vms=(held,)), GONE) is Why.IN_DRIVE


@pytest.mark.parametrize("remembered", [None, GONE, STOPPED, known()])
def test_what_a_host_may_need_that_does_not_answer_stays(remembered: VmRecord | None) -> None:
    stored = image(4)
    assert judge(stored, seen(stored, away=(HOST_2,)), remembered) is Why.HOST_AWAY


def test_on_a_host_s_own_storage_only_that_host_can_need_an_image_of_a_known_vm() -> None:
    stored = image(4, AT_SOURCE)
    assert judge(stored, seen(stored, away=(HOST_2,)), known()) is Why.OLD
    assert judge(stored, seen(stored, away=(HOST_2,)), None) is Why.HOST_AWAY, "the VM may be on the other"


def test_only_the_fleet_s_own_images_are_swept() -> None:
    def tagged(fleet: str | None) -> StoredImage:
        fingerprint = None if fleet is None else "a" * 16
        return StoredImage(ImageName.of("vm", VM, Generation(5), fingerprint, fleet), HOME)

    own, other, old = tagged("fleetaaa"), tagged("fleetbbb"), tagged(None)
    for remembered in (None, GONE, STOPPED, known()):
        assert judge(own, seen(own), remembered, "fleetaaa").goes
        assert judge(other, seen(other), remembered, "fleetaaa") is Why.OTHER_FLEET
    assert judge(old, seen(old), GONE, "fleetaaa") is Why.VM_GONE, "it is one of a VM that this fleet has made"
    assert judge(old, seen(old), None, "fleetaaa") is Why.OTHER_FLEET


def test_what_goes_is_what_no_vm_needs() -> None:
    assert {why for why in Why if why.goes} == {
        Why.VM_GONE,
        Why.VM_UNKNOWN,
        Why.STOPPED,
        Why.OLD,
        Why.ELSEWHERE,
    }


generations = st.integers(0, 9)
places = st.sampled_from([HOME, AT_SOURCE, AT_DESTINATION, HERE, THERE])
images = st.builds(image, generations, places, st.sampled_from([VM, OTHER]))
vms = st.builds(
    lambda uuid, media, power: one(uuid, *media, power=power),
    st.sampled_from([VM, OTHER]),
    st.lists(images, max_size=2),
    st.sampled_from(PowerState),
)
records = st.builds(
    lambda phase, generation, sequence, where: known(phase, generation, sequence, *where),
    st.sampled_from(Phase),
    st.none() | generations,
    generations,
    st.lists(places, max_size=3),
)


@given(
    st.lists(images, min_size=1, max_size=4),
    st.dictionaries(st.sampled_from([HOST_1, HOST_2]), st.lists(vms, max_size=2)),
    st.sets(st.sampled_from([HOST_1, HOST_2])),
    st.none() | records,
)
def test_nothing_that_is_needed_ever_goes(
    stored: list[StoredImage],
    here: dict[HostName, list[SurveyedVm]],
    away: set[HostName],
    remembered: VmRecord | None,
) -> None:
    looked = scene({host: Survey(tuple(stored), tuple(found)) for host, found in here.items()}, away)
    in_drives = {medium.name for found in here.values() for each in found for medium in each.media}
    for each in stored:
        if not judge(each, looked, remembered).goes:
            continue
        assert each.name not in in_drives
        assert each.place.host is not None or not away
        if remembered is None:
            assert not away
            assert each.name.vm_uuid not in looked.vms
        elif remembered.phase is not Phase.GONE and remembered.image is not None and each.place in remembered.places:
            assert each.name.file != remembered.image.file


# --- what the hosts show together -------------------------------------------------------------------------------------


def test_a_shared_image_is_one_image_however_many_hosts_see_it() -> None:
    stored, local = image(), image(5, AT_DESTINATION)
    looked = scene({HOST_1: Survey((stored,), ()), HOST_2: Survey((stored, local), ())}, [])
    assert looked.images == {stored: HOST_1, local: HOST_2}
    assert of_vm(VM, looked.images) == [stored, local]
    assert of_vm(OTHER, looked.images) == []


def test_who_uses_an_image_is_known_by_name_and_host() -> None:
    stored = image()
    looked = scene({HOST_1: Survey((), ()), HOST_2: Survey((), (one(OTHER, stored),))}, [])
    assert looked.users == {stored.name: (f"name of {OTHER}", HOST_2)}


@pytest.mark.parametrize("order", [(HOST_1, HOST_2), (HOST_2, HOST_1)])
def test_a_vm_that_two_hosts_know_is_where_it_is_not_halted(order: tuple[HostName, HostName]) -> None:
    powers = {HOST_1: PowerState.HALTED, HOST_2: PowerState.SUSPENDED}
    looked = scene({host: Survey((), (one(VM, power=powers[host]),)) for host in order}, [])
    assert looked.vms[VM][0] == HOST_2
