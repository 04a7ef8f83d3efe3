"""A world for the planner: one VM, some storages, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from configdrive.lifecycle.plan import Attach, Copy, Delete, Detach, Leave, Observed, Step, Upload, plan
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
from tests.unit.documents import OTHER_UUID, UUID

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
