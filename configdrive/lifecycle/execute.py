"""The executor of a plan: one VM, one driver, under one lease, every step timed and fenced."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from pydantic import SecretStr

from configdrive.contents.remarks import remarks
from configdrive.contents.render import render
from configdrive.drive_data import VmData
from configdrive.errors import FleetError, PermanentCode, PermanentError, StaleError, TransientCode, TransientError
from configdrive.iso.build import build
from configdrive.lifecycle.plan import (
    Attach,
    Copy,
    Delete,
    Detach,
    Leave,
    Observed,
    Step,
    Upload,
    distrust,
    is_lost,
    media_of,
    plan,
)
from configdrive.lifecycle.state import ImageRecord, VmState
from configdrive.lifecycle.transitions import LIVE, DriveGoal, Goal
from configdrive.model import (
    DriveSettings,
    HostName,
    Image,
    ImageName,
    Intent,
    Place,
    PowerState,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.places import at
from configdrive.ports import (
    Attachment,
    HypervisorDriver,
    ImageNamer,
    Inserted,
    Lease,
    Observation,
    Observer,
    StepRecord,
)

_NO_MORE = frozenset({PermanentCode.UNKNOWN_HOST})
"""A host is no longer in the inventory."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Job:
    """What the steps are for, as the observer has it: an event's id and short type, and its VM."""

    event_id: str
    event_type: str
    vm_uuid: VmUuid


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a plan.

    Args:
        attachment: how the image is attached.
        away: other hosts that could not give up what they have of the VM.
        deleted: images that are gone.
        kept: images that could not be deleted.
        intents: what was written down before.
        remarks: on the drive that was made.
        arrived: of a migration that is prepared: whether the VM was on the destination before its image was whole.
    """

    attachment: Attachment | None = None
    away: tuple[HostName, ...] = ()
    deleted: tuple[StoredImage, ...] = ()
    kept: tuple[StoredImage, ...] = ()
    intents: tuple[Intent, ...] = ()
    remarks: tuple[str, ...] = ()
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class Executor:
    """The work on one VM of one hypervisor.

    Args:
        job, driver, lease, observer: what for, where, by which right, and who takes note.
        namer: names images by their bytes.
        drives: the fleet's settings.
    """

    job: Job
    driver: HypervisorDriver
    lease: Lease
    observer: Observer
    namer: ImageNamer
    drives: DriveSettings

    def look(self, vm: Vm, also: Collection[Place], names: Collection[ImageName] | None, *, named: bool) -> Observation:
        """Observe the VM where its goal lies.

        The storage is found from the root disk unless an event names one (`named`); what an earlier event named is the
        fallback for a VM that the hypervisor does not know (yet).

        Raises:
            FleetError: as the driver's `observe`.
        """
        seen = self._observe(vm if named else replace(vm, primary_storage=None), also, names)
        if seen.storage is None and vm.primary_storage is not None:
            seen = self._observe(vm, also, names)
        return seen

    def look_ahead(
        self,
        vm: Vm,
        destination: HostName,
        also: Collection[Place],
        names: Collection[ImageName] | None,
        *,
        named: bool,
    ) -> tuple[Vm, Observation]:
        """Observe a VM that is about to move to `destination`; returns it as it was looked at.

        The VM and its drive are still on the old host. Its image is wanted on the destination where it lies here, which
        need not be the root disk's storage any more: a hypervisor looks for what is in the drive in the same place.
        """
        seen = self.look(vm, also, names, named=named)
        here = _place_of_drive(seen, vm) or seen.storage
        there = replace(vm, host=destination, primary_storage=None if here is None else here.storage)
        observed = self._observe(there, {*also, *(() if here is None else (here,))}, names)
        return there, replace(observed, power=seen.power, drive=seen.drive, media=seen.media)

    def is_defined(self, vm: Vm) -> bool:
        """Whether the VM's host knows it.

        Raises:
            FleetError: as the driver's `observe`.
        """
        seen = self._observe(replace(vm, primary_storage=None), (), ())
        return seen.power is not PowerState.UNDEFINED

    # --- a goal ---------------------------------------------------------------------------------------------------

    def carry_out(
        self, observed: Observed, reached: VmState, goal: Goal, *, half_done: bool
    ) -> tuple[VmState, Goal, Executed]:
        """Build what is to be built, plan, and do it. An image that is lost is built again, if its content is known.

        Returns the state that is reached and the goal, with the image's name in both.

        Raises:
            FleetError: as `plan` and the driver's verbs; `IMAGE_LOST` when the content is not known.
        """
        image: Image | None = None
        if goal.fresh or is_lost(observed.seen, goal):
            reached, goal, image = self._build(observed.vm, reached, goal)
        try:
            return reached, goal, self._do(observed, reached.data, goal, image, half_done=half_done)
        except PermanentError as error:
            if error.code is not PermanentCode.IMAGE_LOST or image is not None:
                raise
        reached, goal, image = self._build(observed.vm, reached, goal)
        return reached, goal, self._do(observed, reached.data, goal, image, half_done=True)

    def _do(self, observed: Observed, data: VmData, goal: Goal, image: Image | None, *, half_done: bool) -> Executed:
        executed = self._execute(observed, goal, plan(distrust(observed, goal) if half_done else observed, goal), image)
        if image is None:
            return executed
        return replace(
            executed, remarks=remarks(observed.vm, data, self.drives, has_password=goal.password is not None)
        )

    def _build(self, vm: Vm, reached: VmState, goal: Goal) -> tuple[VmState, Goal, Image]:
        """Build the goal's image, whose bytes name it."""
        if goal.image is None or reached.adopted:
            detail = f"the drive of VM {vm.instance_name} is not the fleet's own work: its content is not known"
            raise PermanentError(PermanentCode.IMAGE_LOST, detail, "send a start event that carries the VM's data")
        image = self._timed("build", partial(self._built, vm, goal.image, reached.data, goal.password))
        record = replace(goal.image, file=image.name.file)
        return replace(reached, image=record), replace(goal, image=record, fresh=True), image

    def _built(self, vm: Vm, record: ImageRecord, data: VmData, password: SecretStr | None) -> Image:
        files = render(vm, data, password, self.drives)
        unnamed = ImageName.of(vm.instance_name, vm.uuid, record.generation)
        image = build(unnamed, files, label=data.label or self.drives.label, built_at=record.built_at)
        return replace(image, name=self.namer.name(vm, record.generation, image.sha256))

    def _intend(self, vm: Vm, seen: Observation, steps: Collection[Step]) -> tuple[Intent, ...]:
        """Write down what these steps are about to bring, before any of them is taken."""
        brought = (step for step in steps if isinstance(step, Upload | Copy | Attach))
        places = {(step.target if isinstance(step, Copy) else step.place): step.name for step in brought}
        intents = tuple(
            Intent(vm.host, seen.host_id, place, name.file, self.driver.name) for place, name in places.items()
        )
        if intents:
            self.lease.intend(intents)
        return intents

    def _execute(self, observed: Observed, goal: Goal, steps: Collection[Step], image: Image | None) -> Executed:
        """Take the steps in order; answers how the image is attached, when the goal is that it is.

        When a step fails for good, an image that this plan brought onto a storage and did not attach goes again. What
        cannot be deleted, or taken from another host, fails nothing: it is answered.
        """
        vm, seen = observed.vm, observed.seen
        already = None  # attached: once more, for the outcome's facts
        if goal.drive is DriveGoal.ATTACHED and goal.image and seen.storage:
            already = Attach(goal.image.name, seen.storage)
        intents = self._intend(vm, seen, (*steps, *(() if already is None else (already,))))
        brought: list[StoredImage] = []
        gone: dict[StoredImage, bool] = {}
        away: list[HostName] = []
        attachment: Attachment | None = None
        arrived = False
        try:
            for step in steps:
                if isinstance(step, Leave):
                    away += self._leave(step.host, observed, goal)
                elif isinstance(step, Delete):
                    gone[step.image] = self._delete(vm, step.image)
                else:
                    attachment = self._take(step, observed, image, brought) or attachment
            if not goal.others_go:
                arrived = self._observe(replace(vm, primary_storage=None), (), ()).power in LIVE
        except PermanentError:
            for stored in brought:
                self._undo(vm, stored)
            raise
        if attachment is None and already is not None:
            attachment = self._attach(vm, already.name, already.place)
        deleted, kept = (tuple(one for one, is_gone in gone.items() if is_gone is which) for which in (True, False))
        return Executed(attachment, tuple(away), deleted, kept, intents, arrived=arrived)

    def _take(
        self,
        step: Upload | Copy | Attach | Detach,
        observed: Observed,
        image: Image | None,
        brought: list[StoredImage],
    ) -> Attachment | None:
        vm = observed.vm
        match step:
            case Upload(name, place):
                brought.append(StoredImage(name, place))
                if image is not None:
                    self._change("upload", partial(self.driver.upload, vm, image, place), vm.host, place)
            case Copy(name, source, target):
                brought.append(StoredImage(name, target))
                self._change("copy", partial(self._copy, vm, name, source, target), vm.host, source, target)
            case Attach(name, place):
                attachment = self._attach(vm, name, place)
                brought.clear()
                return attachment
            case Detach(media):
                self._change("detach", partial(self.driver.detach, vm, media, observed.known.added), vm.host)
        return None

    def _copy(self, vm: Vm, name: ImageName, source: Place, target: Place) -> None:
        self.driver.copy(vm, name, source, target, partial(self.namer.is_genuine, name))

    def _delete(self, vm: Vm, stored: StoredImage) -> bool:
        """Delete an image; answers whether it is gone."""
        try:
            self._change("delete", partial(self.driver.delete, vm, stored, anyones=False), vm.host, stored.place)
        except StaleError:
            raise
        except FleetError:
            return False
        return True

    def _attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        return self._change("attach", partial(self.driver.attach, vm, name, place), vm.host, place)

    def _leave(self, host: HostName, observed: Observed, goal: Goal) -> list[HostName]:
        """Empty the drive on another host, unless it is the same one; answers the host when it could not be done now.

        A host that is no more holds nothing up.

        Raises:
            FleetError: `VM_BUSY` when the VM, which is to have its drive elsewhere, runs there.
        """
        vm = replace(observed.vm, host=host, primary_storage=None)
        try:
            seen = self._observe(vm, (), ())
        except FleetError as error:
            return [] if error.code in _NO_MORE else [vm.host]
        media = media_of(seen)
        if _is_same(seen, observed.seen) or seen.power is PowerState.UNDEFINED:
            return []
        if seen.power in LIVE and goal.drive is not DriveGoal.EMPTY:
            detail = f"VM {vm.instance_name} ({vm.uuid}) runs on host {vm.host} still"
            remedy = "send this event when the migration has ended; if the VM runs on two hosts, power one of them off"
            raise TransientError(TransientCode.VM_BUSY, detail, remedy)
        try:
            if media:
                self._change("detach", partial(self.driver.detach, vm, media, observed.known.added), vm.host)
        except StaleError:
            raise
        except FleetError:
            return [vm.host]
        return []

    def _observe(self, vm: Vm, also: Collection[Place], names: Collection[ImageName] | None) -> Observation:
        return self._timed("observe", partial(self.driver.observe, vm, also, names), vm.host)

    def _undo(self, vm: Vm, stored: StoredImage) -> None:
        with suppress(FleetError):  # the first error is the one to report; the intent names what stays behind
            self._change("delete", partial(self.driver.delete, vm, stored, anyones=False), vm.host, stored.place)

    def _change(self, step: str, action: Callable[[], _Result], *places: HostName | Place) -> _Result:
        """Take a step that changes the world, if the lease still holds."""
        self.lease.check()
        return self._timed(step, action, *places)

    def _timed(self, step: str, action: Callable[[], _Result], *places: HostName | Place) -> _Result:
        started = time.perf_counter()
        error: str | None = None
        try:
            with at(*places):
                return action()
        except FleetError as failure:
            error = str(failure.code)
            raise
        except BaseException:
            error = "unclassified"
            raise
        finally:
            self.observer.step(
                StepRecord(
                    step=step,
                    event_id=self.job.event_id,
                    event_type=self.job.event_type,
                    vm_uuid=self.job.vm_uuid,
                    hypervisor=self.driver.name,
                    seconds=time.perf_counter() - started,
                    error=error,
                ),
            )


def _is_same(there: Observation, here: Observation) -> bool:
    """Whether two inventory names have led to one VM, or to one host."""
    return (there.vm_ref is not None and there.vm_ref == here.vm_ref) or (
        bool(there.host_id) and there.host_id == here.host_id
    )


def _place_of_drive(seen: Observation, vm: Vm) -> Place | None:
    own = isinstance(seen.drive, Inserted) and seen.drive.name.vm_uuid == vm.uuid
    return seen.drive.place if own and isinstance(seen.drive, Inserted) else None
