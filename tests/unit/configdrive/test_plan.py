"""The planner against a model world: every plan reaches its goal, harms nobody, and can be cut off anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle import DriveGoal, Goal
from configdrive.model import (
    AttachBy,
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    SecretStr,
    StorageName,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.plan import Attach, Copy, Delete, Detach, Leave, Step, Upload, distrust, image_name, plan
from configdrive.ports import DriveContent, EmptyDrive, Inserted, NoDrive, Observation
from configdrive.state import ImageRecord
from tests.unit.documents import OTHER_UUID, UUID

VM = Vm(VmUuid(UUID), InstanceName("i-2-14-VM"), HypervisorName("memory"), HostName("host-1"))
HOME = Place(StorageName("primary"))
SECOND = Place(StorageName("second"))
LOCAL = Place(StorageName("local"), HostName("host-1"))
UNKNOWN = Place(StorageName("no storage of ours"))
PLACES = (HOME, SECOND, LOCAL)
GOAL = ImageRecord(Generation(5), 0.0)


def named(generation: int, *, uuid: str = UUID, instance: str = "i-2-14-VM") -> ImageName:
    return ImageName(InstanceName(instance), VmUuid(uuid), Generation(generation))


WANTED = named(5)
FOREIGN = named(9, uuid=OTHER_UUID, instance="i-2-99-VM")
own_names = st.one_of(
    st.integers(3, 7).map(named),
    st.integers(4, 5).map(lambda generation: named(generation, instance="named-otherwise")),
)
own_images = st.builds(StoredImage, own_names, st.sampled_from(PLACES))


@dataclass
class World:
    """One VM and some storages. A medium whose storage is not ours is told without its place.

    An orchestrator that attaches by itself is only told what to attach, and has not done it yet.
    """

    vm: Vm
    power: PowerState
    storage: Place | None
    drive: tuple[ImageName, Place] | None
    slot: bool
    files: set[StoredImage]
    told: StoredImage | None = None

    def observe(self) -> Observation:
        drive: DriveContent = EmptyDrive() if self.slot else NoDrive()
        if self.drive is not None:
            name, place = self.drive
            drive = Inserted(name, None if place == UNKNOWN else place)
        images = tuple(sorted(self.files, key=lambda stored: (str(stored.name), stored.place.storage)))
        return Observation(self.power, self.storage, drive, images)

    def take(self, step: Step, goal: Goal) -> None:
        match step:
            case Upload(record, place):
                self.files.add(StoredImage(image_name(self.vm, record), place))
            case Copy(record, source, target):
                assert StoredImage(image_name(self.vm, record), source) in self.files, "copied from where nothing lies"
                self.files.add(StoredImage(image_name(self.vm, record), target))
            case Attach(record, place):
                self.told = StoredImage(image_name(self.vm, record), place)
                assert self.told in self.files, "attached what is not there"
                assert self.drive is None or self.drive[0].vm_uuid == self.vm.uuid, "took another VM's medium out"
                if self.vm.attach_by is AttachBy.FLEET:
                    self.drive, self.slot = (self.told.name, place), True
            case Detach():
                assert goal.drive is DriveGoal.EMPTY
                self.drive = None
            case Leave(host):
                assert host != self.vm.host, "left the host that it is on"
            case Delete(image):
                assert image in self.files, "deleted what is not the VM's own, or not there"
                assert self.drive != (image.name, image.place), "deleted what is in the drive"
                self.files.remove(image)

    def may_stay(self, stored: StoredImage, goal: Goal) -> bool:
        """What is in the drive (as far as that can be told), where the plan has not taken it out."""
        inserted = self.drive in {(stored.name, stored.place), (stored.name, UNKNOWN)}
        return inserted and (goal.drive is DriveGoal.AS_IT_IS or self.vm.attach_by is AttachBy.ORCHESTRATOR)

    def reached(self, goal: Goal) -> bool:
        if goal.image is None:
            return self.drive is None and not self.files
        assert self.storage is not None
        wanted = StoredImage(image_name(self.vm, goal.image), self.storage)
        there = wanted in self.files
        others = {stored for stored in self.files if stored != wanted and not self.may_stay(stored, goal)}
        attached = self.drive in {(wanted.name, wanted.place), (wanted.name, UNKNOWN)} or (
            self.vm.attach_by is AttachBy.ORCHESTRATOR and self.told == wanted
        )
        return there and (attached or goal.drive is not DriveGoal.ATTACHED) and not (others and goal.others_go)


@st.composite
def worlds(draw: st.DrawFn, *, foreign_in_drive: bool = False) -> World:
    files = draw(st.sets(own_images, max_size=6))
    inserted: tuple[ImageName, Place] | None
    if foreign_in_drive:
        inserted = (FOREIGN, draw(st.sampled_from([HOME, SECOND])))
    else:
        media = [(stored.name, stored.place) for stored in files]
        inserted = draw(
            st.none()
            | st.tuples(own_names, st.sampled_from((*PLACES, UNKNOWN)))
            | (st.sampled_from(sorted(media, key=str)) if media else st.none())
        )
    return World(
        vm=replace(VM, attach_by=draw(st.sampled_from(AttachBy))),
        power=draw(st.sampled_from([PowerState.RUNNING, PowerState.HALTED, PowerState.PAUSED])),
        storage=draw(st.sampled_from(PLACES)),
        drive=inserted,
        slot=draw(st.booleans()),
        files=files,
    )


goals = st.one_of(
    st.just(Goal(DriveGoal.EMPTY)),
    st.builds(Goal, st.sampled_from([DriveGoal.ATTACHED, DriveGoal.AS_IT_IS]), st.just(GOAL), fresh=st.booleans(),
              others_go=st.booleans(), left=st.sampled_from([None, HostName("host-2")])),
)  # fmt: skip


def done(world: World, goal: Goal) -> bool:
    """Whether the goal is reached and planning again yields nothing but what cannot be seen to be done."""
    unseen = (Leave, Attach) if world.vm.attach_by is AttachBy.ORCHESTRATOR else (Leave,)
    return world.reached(goal) and all(isinstance(step, unseen) for step in plan(world.vm, world.observe(), goal))


def carried_out(world: World, goal: Goal, *, most: int | None = None) -> Iterator[Step]:
    """Take the steps of one plan (at most so many), looking at the world between any two."""
    had_medium = world.drive is not None
    before = world.drive
    for step in plan(world.vm, world.observe(), goal)[:most]:
        world.take(step, goal)
        if goal.drive is not DriveGoal.EMPTY:
            assert (world.drive is not None) >= had_medium, "a VM was without its drive for a moment"
        if goal.drive is DriveGoal.AS_IT_IS:
            assert world.drive == before, "the drive was touched"
        yield step


# --- properties -------------------------------------------------------------------------------------------------------


@given(worlds(), goals)
def test_the_plan_reaches_the_goal_and_then_there_is_nothing_to_do(world: World, goal: Goal) -> None:
    for _ in carried_out(world, goal):
        pass
    assert done(world, goal)


@given(worlds(), goals, st.integers(0, 9))
def test_a_plan_that_was_cut_off_is_finished_by_planning_again(world: World, goal: Goal, most: int) -> None:
    for _ in carried_out(world, goal, most=most):
        pass
    for _ in carried_out(world, goal):
        pass
    assert done(world, goal)


@given(worlds() | worlds(foreign_in_drive=True), goals)
def test_no_step_names_another_vm_s_image(world: World, goal: Goal) -> None:
    with suppress(PermanentError):
        assert OTHER_UUID not in repr(plan(world.vm, world.observe(), goal))


@given(worlds(), goals)
def test_deletions_come_last_and_everything_is_brought_before_it_is_attached(world: World, goal: Goal) -> None:
    order = {Upload: 0, Copy: 0, Attach: 1, Detach: 1, Leave: 2, Delete: 3}
    ranks = [order[type(step)] for step in plan(world.vm, world.observe(), goal)]
    assert ranks == sorted(ranks)
    assert ranks.count(0) <= 1
    assert ranks.count(1) <= 1


@given(worlds(), goals)
def test_an_image_is_built_anew_only_where_none_can_be_copied(world: World, goal: Goal) -> None:
    names = {stored.name for stored in world.files}
    assume(goal.image is not None)
    uploads = any(isinstance(step, Upload) for step in carried_out(world, goal))
    assert not uploads or goal.fresh or WANTED not in names


@given(worlds(foreign_in_drive=True), goals)
def test_another_vm_s_medium_is_refused_before_anything_is_done_and_ejected_when_the_vm_stops(
    world: World, goal: Goal
) -> None:
    if goal.image is not None:
        with pytest.raises(PermanentError) as caught:
            plan(world.vm, world.observe(), goal)
        assert caught.value.code is PermanentCode.NOT_ITS_DRIVE
        assert OTHER_UUID in caught.value.detail
        assert caught.value.remedy
    else:
        for _ in carried_out(world, goal):
            pass
        assert world.reached(goal)


@given(worlds(), goals)
def test_an_image_that_may_be_half_written_is_brought_again(world: World, goal: Goal) -> None:
    """It is, unless it is in the drive or the last of its kind. Nothing else is forgotten: it must still be deleted."""
    seen = world.observe()
    trusted = set(distrust(world.vm, seen, goal).images)
    suspect = StoredImage(WANTED, world.storage or HOME)
    assert set(seen.images) - trusted <= {suspect}
    if goal.image is None or suspect not in seen.images:
        return
    in_drive = world.drive in {(WANTED, suspect.place), (WANTED, UNKNOWN)}
    last = not goal.fresh and not any(stored.name == WANTED and stored != suspect for stored in seen.images)
    assert (suspect in trusted) == (in_drive or last)
    if suspect not in trusted:
        assert isinstance(plan(world.vm, distrust(world.vm, seen, goal), goal)[0], Upload if goal.fresh else Copy)


def test_without_a_storage_there_is_nothing_to_distrust() -> None:
    unplaced = seen(EmptyDrive(), at(5, SECOND), storage=None)
    assert distrust(VM, unplaced, START) == unplaced


# --- examples ---------------------------------------------------------------------------------------------------------


def seen(
    drive: DriveContent = EmptyDrive(),  # noqa: B008 - it has no content to share
    *images: StoredImage,
    storage: Place | None = HOME,
    power: PowerState = PowerState.HALTED,
) -> Observation:
    return Observation(power, storage, drive, images)


def at(generation: int, place: Place = HOME) -> StoredImage:
    return StoredImage(named(generation), place)


START = Goal(DriveGoal.ATTACHED, GOAL, fresh=True)
STAGE = Goal(DriveGoal.AS_IT_IS, GOAL, fresh=True)
MOVE = Goal(DriveGoal.ATTACHED, GOAL)
MOVED = replace(MOVE, left=HostName("host-2"))
PREPARE = Goal(DriveGoal.AS_IT_IS, GOAL, others_go=False)
STOP = Goal(DriveGoal.EMPTY)
UPLOAD, ATTACH = Upload(GOAL, HOME), Attach(GOAL, HOME)


@pytest.mark.parametrize(
    ("goal", "observation", "steps"),
    [
        (START, seen(), (UPLOAD, ATTACH)),
        (START, seen(NoDrive()), (UPLOAD, ATTACH)),
        (START, seen(EmptyDrive(), at(5)), (ATTACH,)),
        (START, seen(Inserted(WANTED, HOME), at(5)), ()),
        (START, seen(Inserted(WANTED), at(5)), ()),
        (START, seen(Inserted(WANTED, HOME)), (UPLOAD, ATTACH)),
        (START, seen(Inserted(WANTED, SECOND), at(5), at(5, SECOND)), (ATTACH, Delete(at(5, SECOND)))),
        (START, seen(Inserted(named(4), HOME), at(4)), (UPLOAD, ATTACH, Delete(at(4)))),
        (START, seen(EmptyDrive(), at(5, SECOND)), (UPLOAD, ATTACH, Delete(at(5, SECOND)))),
        (STAGE, seen(), (UPLOAD,)),
        (STAGE, seen(EmptyDrive(), at(4)), (UPLOAD, Delete(at(4)))),
        (STAGE, seen(Inserted(named(4), SECOND), at(4), at(4, SECOND)), (UPLOAD, Delete(at(4)))),
        (MOVE, seen(EmptyDrive(), at(5, SECOND)), (Copy(GOAL, SECOND, HOME), ATTACH, Delete(at(5, SECOND)))),
        (MOVE, seen(), (UPLOAD, ATTACH)),
        (MOVED, seen(EmptyDrive(), at(5), at(4)), (ATTACH, Leave(HostName("host-2")), Delete(at(4)))),
        (PREPARE, seen(Inserted(WANTED, SECOND), at(5, SECOND)), (Copy(GOAL, SECOND, HOME),)),
        (PREPARE, seen(Inserted(WANTED, HOME), at(5), at(4)), ()),
        (STOP, seen(), ()),
        (STOP, seen(NoDrive(), storage=None, power=PowerState.UNDEFINED), ()),
        (STOP, seen(Inserted(WANTED, HOME), at(5), at(5, SECOND)), (Detach(), Delete(at(5)), Delete(at(5, SECOND)))),
        (STOP, seen(EmptyDrive(), at(3)), (Delete(at(3)),)),
    ],
)
def test_the_steps_of_common_situations(goal: Goal, observation: Observation, steps: tuple[Step, ...]) -> None:
    assert plan(VM, observation, goal) == steps


def test_an_image_under_the_vm_s_former_name_is_not_taken_for_the_present_one() -> None:
    former = StoredImage(named(5, instance="former-name"), HOME)
    assert plan(VM, seen(Inserted(former.name, HOME), former), MOVE) == (UPLOAD, ATTACH, Delete(former))


def test_what_an_orchestrator_has_not_exchanged_yet_stays_on_its_storage() -> None:
    by_orchestrator = replace(VM, attach_by=AttachBy.ORCHESTRATOR)
    observation = seen(Inserted(named(4), HOME), at(3), at(4))
    assert plan(by_orchestrator, observation, START) == (UPLOAD, ATTACH, Delete(at(3)))
    assert plan(by_orchestrator, observation, STOP) == (Detach(), Delete(at(3)), Delete(at(4)))


@pytest.mark.parametrize(
    ("power", "code"),
    [
        (PowerState.UNDEFINED, PermanentCode.VM_NOT_FOUND),
        (PowerState.HALTED, PermanentCode.STORAGE_NOT_FOUND),
        (PowerState.RUNNING, PermanentCode.STORAGE_NOT_FOUND),
    ],
)
@pytest.mark.parametrize("goal", [START, STAGE, MOVE, PREPARE])
def test_without_a_storage_there_is_nowhere_to_put_an_image(goal: Goal, power: PowerState, code: PermanentCode) -> None:
    with pytest.raises(PermanentError) as caught:
        plan(VM, seen(NoDrive(), storage=None, power=power), goal)
    assert caught.value.code is code
    assert "primary_storage" in caught.value.remedy


def test_a_goal_does_not_show_the_password() -> None:
    assert "swordfish" not in repr(replace(START, password=SecretStr("swordfish")))
