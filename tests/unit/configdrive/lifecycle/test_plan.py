"""The planner against a model world: every plan reaches its goal, harms nobody, and can be cut off anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from configdrive.errors import PermanentCode, TransientCode
from configdrive.lifecycle.plan import (
    Attach,
    Copy,
    Delete,
    Detach,
    Leave,
    Observed,
    Step,
    Upload,
    Whereabouts,
    distrust,
    plan,
)
from configdrive.lifecycle.state import ImageRecord, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal
from configdrive.model import (
    AttachBy,
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    StorageName,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.ports import DriveContent, EmptyDrive, Inserted, NoDrive, Observation
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, UUID

# --- the world: one VM, some storages, and what may be asked of it ----------------------------------------------------

VM = Vm(VmUuid(UUID), InstanceName("i-2-14-VM"), HypervisorName("memory"), HostName("host-1"))
HOME = Place(StorageName("primary"))
SECOND = Place(StorageName("second"))
LOCAL = Place(StorageName("local"), HostName("host-1"))
UNKNOWN = Place(StorageName("no storage of ours"))
PLACES = (HOME, SECOND, LOCAL)


def named(generation: int, *, uuid: str = UUID, instance: str = "i-2-14-VM") -> ImageName:
    return ImageName.of(InstanceName(instance), VmUuid(uuid), Generation(generation))


WANTED = named(5)
GOAL = ImageRecord(WANTED.file, WANTED.generation, 0.0)
FOREIGN = named(9, uuid=OTHER_UUID, instance="i-2-99-VM")
own_names = st.one_of(
    st.integers(3, 7).map(named),
    st.integers(4, 5).map(lambda generation: named(generation, instance="named-otherwise")),
)
own_images = st.builds(StoredImage, own_names, st.sampled_from(PLACES))


@dataclass
class World:
    """One VM and some storages. A medium whose storage is not ours is reported without its place.

    An orchestrator that attaches by itself only gets the answer what to attach, and has not done it yet.
    """

    vm: Vm
    power: PowerState
    storage: Place | None
    drive: tuple[ImageName, Place] | None
    slot: bool
    files: set[StoredImage]
    answered: StoredImage | None = None

    def observe(self) -> Observation:
        drive: DriveContent = EmptyDrive() if self.slot else NoDrive()
        if self.drive is not None:
            name, place = self.drive
            drive = Inserted(name, None if place == UNKNOWN else place)
        images = tuple(sorted(self.files, key=lambda stored: (str(stored.name), stored.place.storage)))
        return Observation(self.power, self.storage, drive, images)

    def take(self, step: Step, goal: Goal) -> None:
        match step:
            case Upload(name, place):
                self.files.add(StoredImage(name, place))
            case Copy(name, source, target):
                assert StoredImage(name, source) in self.files, "copied from where nothing lies"
                self.files.add(StoredImage(name, target))
            case Attach(name, place):
                self.answered = StoredImage(name, place)
                assert self.answered in self.files, "attached what is not there"
                if self.vm.attach_by is AttachBy.FLEET:
                    self.drive, self.slot = (self.answered.name, place), True
            case Detach(media):
                assert goal.drive is DriveGoal.EMPTY
                assert self.drive is not None
                assert self.drive[0] in media, "did not take out what is in the drive"
                self.drive = None
            case Leave(host):
                assert host != self.vm.host, "left the host that it is on"
            case Delete(image):
                assert image in self.files, "deleted what is not the VM's own, or not there"
                assert self.drive != (image.name, image.place), "deleted what is in the drive"
                self.files.remove(image)

    def may_stay(self, stored: StoredImage, goal: Goal) -> bool:
        """What is in the drive (as far as that is known), where the plan has not taken it out."""
        inserted = self.drive in {(stored.name, stored.place), (stored.name, UNKNOWN)}
        return inserted and (goal.drive is DriveGoal.AS_IT_IS or self.vm.attach_by is AttachBy.ORCHESTRATOR)

    def reached(self, goal: Goal) -> bool:
        if goal.image is None:
            return self.drive is None and not self.files
        assert self.storage is not None
        wanted = StoredImage(goal.image.name, self.storage)
        there = wanted in self.files
        others = {stored for stored in self.files if stored != wanted and not self.may_stay(stored, goal)}
        attached = self.drive in {(wanted.name, wanted.place), (wanted.name, UNKNOWN)} or (
            self.vm.attach_by is AttachBy.ORCHESTRATOR and self.answered == wanted
        )
        return there and (attached or goal.drive is not DriveGoal.ATTACHED) and not (others and goal.others_go)


@st.composite
def worlds(draw: st.DrawFn, *, foreign_in_drive: bool = False) -> World:
    wanted = draw(st.sets(st.sampled_from(PLACES)))
    files = draw(st.sets(own_images, max_size=4)) | {StoredImage(WANTED, place) for place in wanted}
    media = st.tuples(st.just(WANTED) | own_names, st.sampled_from((*PLACES, UNKNOWN)))
    if foreign_in_drive:
        media = st.tuples(st.just(FOREIGN), st.sampled_from(PLACES))
    elif files:
        media |= st.sampled_from(sorted(((stored.name, stored.place) for stored in files), key=str))
    inserted = draw(media if foreign_in_drive else st.none() | media)
    return World(
        vm=replace(VM, attach_by=draw(st.sampled_from(AttachBy))),
        power=draw(st.sampled_from([PowerState.RUNNING, PowerState.HALTED, PowerState.PAUSED])),
        storage=draw(st.sampled_from(PLACES)),
        drive=inserted,
        slot=draw(st.booleans()),
        files=files,
    )


def _goal(drive: DriveGoal, **more: Any) -> Goal:  # noqa: ANN401 - the goal's own fields
    return Goal(drive) if drive is DriveGoal.EMPTY else Goal(drive, GOAL, **more)


goals = st.builds(
    _goal,
    st.sampled_from(DriveGoal),
    fresh=st.booleans(),
    others_go=st.booleans(),
)


def planned(world: World, goal: Goal) -> tuple[Step, ...]:
    return plan(Observed(VmState(), world.vm, world.observe()), goal)


def done(world: World, goal: Goal) -> bool:
    """Whether the goal is reached and planning again yields nothing but what cannot be seen to be done."""
    unseen = (Leave, Attach) if world.vm.attach_by is AttachBy.ORCHESTRATOR else (Leave,)
    return world.reached(goal) and all(isinstance(step, unseen) for step in planned(world, goal))


def carried_out(world: World, goal: Goal, *, most: int | None = None) -> Iterator[Step]:
    """Take the steps of one plan (at most so many), looking at the world between any two."""
    had_medium = world.drive is not None
    before = world.drive
    for step in planned(world, goal)[:most]:
        world.take(step, goal)
        if goal.drive is not DriveGoal.EMPTY:
            assert (world.drive is not None) >= had_medium, "a VM was without its drive for a moment"
        if goal.drive is DriveGoal.AS_IT_IS:
            assert world.drive == before, "the drive was touched"
        yield step


# --- properties -------------------------------------------------------------------------------------------------------


@given(worlds() | worlds(foreign_in_drive=True), goals, st.integers(0, 9))
@settings(max_examples=200)  # a plan costs less than what Hypothesis draws for it
def test_a_plan_reaches_its_goal_in_order_also_after_it_was_cut_off_and_names_no_other_vm_s_image(
    world: World, goal: Goal, most: int
) -> None:
    steps = planned(world, goal)
    order = {Upload: 0, Copy: 0, Attach: 1, Detach: 1, Leave: 2, Delete: 3}
    ranks = [order[type(step)] for step in steps]
    assert ranks == sorted(ranks), "deletions come last, and everything is brought before it is attached"
    assert ranks.count(0) <= 1
    assert ranks.count(1) <= 1
    # A clone's definition names the image of the VM that it was cloned from: it gives way, and its owner deletes it.
    assert OTHER_UUID not in repr([step for step in steps if not isinstance(step, Detach)])
    if any(isinstance(step, Upload) for step in steps):
        names = {stored.name for stored in world.files}
        assert goal.fresh or WANTED not in names, "an image is built anew only where none can be copied"
    for cut in (most, None):
        for _ in carried_out(world, goal, most=cut):
            pass
    assert done(world, goal)


@given(worlds(), goals)
def test_an_image_that_may_be_half_written_is_brought_again(world: World, goal: Goal) -> None:
    """It is, unless it is the last of its kind, or in the drive, and the drive did not come with the VM.

    Nothing else is forgotten: it must still be deleted.
    """
    observed = Observed(VmState(), world.vm, world.observe())
    seen = observed.seen
    trusted = set(distrust(observed, goal).seen.images)
    suspect = StoredImage(WANTED, world.storage or HOME)
    assert set(seen.images) - trusted <= {suspect}
    if goal.image is None or suspect not in seen.images:
        return
    in_drive = world.drive in {(WANTED, suspect.place), (WANTED, UNKNOWN)}
    last = not goal.fresh and not any(stored.name == WANTED and stored != suspect for stored in seen.images)
    came_with_the_vm = not goal.fresh and suspect.place.host is not None and world.vm.attach_by is AttachBy.FLEET
    assert (suspect in trusted) == (last or (in_drive and not came_with_the_vm))
    if suspect not in trusted:
        taken_out = [Detach((WANTED,))] if in_drive else []  # the guest must not read what is overwritten
        steps = list(plan(distrust(observed, goal), goal))
        assert steps[: len(taken_out)] == taken_out
        assert isinstance(steps[len(taken_out)], Upload if goal.fresh else Copy)


def test_without_a_storage_there_is_nothing_to_distrust() -> None:
    unplaced = seen(EmptyDrive(), at(5, SECOND), storage=None)
    observed = Observed(VmState(), VM, unplaced)
    assert distrust(observed, START) == observed


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
PREPARE = Goal(DriveGoal.AS_IT_IS, GOAL, others_go=False)
STOP = Goal(DriveGoal.EMPTY)
UPLOAD, ATTACH = Upload(WANTED, HOME), Attach(WANTED, HOME)


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
        (MOVE, seen(EmptyDrive(), at(5, SECOND)), (Copy(WANTED, SECOND, HOME), ATTACH, Delete(at(5, SECOND)))),
        (MOVE, seen(), (UPLOAD, ATTACH)),
        (PREPARE, seen(Inserted(WANTED, SECOND), at(5, SECOND)), (Copy(WANTED, SECOND, HOME),)),
        (PREPARE, seen(Inserted(WANTED, HOME), at(5), at(4)), ()),
        (STOP, seen(), ()),
        (STOP, seen(NoDrive(), storage=None, power=PowerState.UNDEFINED), ()),
        (
            STOP,
            seen(Inserted(WANTED, HOME), at(5), at(5, SECOND)),
            (Detach((WANTED,)), Delete(at(5)), Delete(at(5, SECOND))),
        ),
        (STOP, seen(EmptyDrive(), at(3)), (Delete(at(3)),)),
    ],
)
def test_the_steps_of_common_situations(goal: Goal, observation: Observation, steps: tuple[Step, ...]) -> None:
    assert plan(Observed(VmState(), VM, observation), goal) == steps


def test_other_hosts_give_up_their_drive_before_anything_is_deleted() -> None:
    where = Whereabouts(hosts=(HostName("host-2"),))
    observed = Observed(VmState(), VM, seen(EmptyDrive(), at(5), at(4)), where)
    assert plan(observed, MOVE) == (ATTACH, Leave(HostName("host-2")), Delete(at(4)))
    assert plan(observed, PREPARE) == ()


def test_what_was_intended_is_deleted_though_nobody_sees_it() -> None:
    """An upload that was killed may lie there under another name."""
    where = Whereabouts(unseen=(at(4), at(3, SECOND)))
    observed = Observed(VmState(), VM, replace(seen(EmptyDrive()), unreachable=(SECOND,)), where)
    assert plan(observed, STOP) == (Delete(at(4)),)


def test_an_image_where_nobody_has_brought_it_is_not_deleted_in_a_place_that_may_be_the_same_folder() -> None:
    """Two pools over one directory, which nobody has declared to be shared."""
    moved = Observed(VmState(), VM, seen(EmptyDrive(), at(5), at(5, SECOND)), Whereabouts(places=(SECOND,)))
    assert plan(moved, MOVE) == (ATTACH,)
    brought = replace(moved, where=Whereabouts(places=(SECOND, HOME)))
    assert plan(brought, MOVE) == (ATTACH, Delete(at(5, SECOND)))


def test_places_with_identities_differ_by_them() -> None:
    here, there = replace(HOME, identity="a"), replace(SECOND, identity="b")
    images = at(5, here), at(5, there)
    moved = Observed(VmState(), VM, seen(EmptyDrive(), *images, storage=here), Whereabouts(places=(there,)))
    assert plan(moved, MOVE) == (Attach(WANTED, here), Delete(at(5, there)))


def test_a_storage_that_is_away_takes_no_image_and_keeps_a_stop_waiting_for_nothing() -> None:
    away = replace(seen(Inserted(WANTED, HOME)), unreachable=(HOME,))
    assert error_of(plan, Observed(VmState(), VM, away), START).code is TransientCode.STORAGE_UNAVAILABLE
    assert plan(Observed(VmState(), VM, away), STOP) == (Detach((WANTED,)),)


def test_an_image_under_the_vm_s_former_name_is_not_taken_for_the_present_one() -> None:
    former = StoredImage(named(5, instance="former-name"), HOME)
    observed = Observed(VmState(), VM, seen(Inserted(former.name, HOME), former))
    assert plan(observed, MOVE) == (UPLOAD, ATTACH, Delete(former))


def test_what_an_orchestrator_has_not_exchanged_yet_stays_on_its_storage() -> None:
    by_orchestrator = replace(VM, attach_by=AttachBy.ORCHESTRATOR)
    observation = seen(Inserted(named(4), HOME), at(3), at(4))
    observed = Observed(VmState(), by_orchestrator, observation)
    assert plan(observed, START) == (UPLOAD, ATTACH, Delete(at(3)))
    assert plan(observed, STOP) == (Detach((named(4),)), Delete(at(3)), Delete(at(4)))


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
    caught = error_of(plan, Observed(VmState(), VM, seen(NoDrive(), storage=None, power=power)), goal)
    assert caught.code is code
    assert "primary_storage" in caught.remedy


def test_a_goal_does_not_show_the_password() -> None:
    assert "swordfish" not in repr(replace(START, password=SecretStr("swordfish")))
