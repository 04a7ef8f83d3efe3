"""The executor of a plan: one event, one driver, under one lease, every step timed and fenced."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from configdrive.contents.render import render
from configdrive.contract.events import DestroyEvent, LifecycleEvent, MigrateEvent, MigratePhase, StopEvent, short_type
from configdrive.errors import FleetError, PermanentCode, PermanentError, StaleError, TransientCode, TransientError
from configdrive.iso.build import build
from configdrive.lifecycle.plan import Attach, Copy, Delete, Detach, Leave, Step, Upload, image_name
from configdrive.lifecycle.state import ImageRecord
from configdrive.lifecycle.transitions import DriveGoal, Goal
from configdrive.model import HostName, Image, Place, PowerState, StorageName, StoredImage, Vm, VmData, VmUuid
from configdrive.ports import Attachment, HypervisorDriver, Inserted, Lease, Observation, Observer, StepRecord

LIVE = frozenset({PowerState.RUNNING, PowerState.PAUSED})
"""The power states in which a guest can notice a new medium."""

AWAY = frozenset({TransientCode.HOST_UNREACHABLE, TransientCode.STORAGE_UNAVAILABLE})
"""A host, or a storage of it, is down: it may come back with what it has."""

_NO_MORE = frozenset({PermanentCode.UNKNOWN_HOST, PermanentCode.STORAGE_NOT_FOUND})
"""A host, or a storage of it, is no longer in the inventory."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Content:
    """What an image is built from: the VM's data, and the label of drives whose VM names none."""

    data: VmData
    label: str


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a plan.

    Args:
        attachment: how the image is attached.
        away: the host that should have given the drive up but is away.
        kept: images that could not be deleted because a host in `Executor.leftover` uses them still.
    """

    attachment: Attachment | None = None
    away: HostName | None = None
    kept: tuple[StoredImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Executor:
    """One event's work on one hypervisor.

    Args:
        event, driver, lease, observer: whose, where, by which right, and who takes note.
        leftover: hosts that were away when they should have given up what they have of the VM (`VmState.left_on`).
    """

    event: LifecycleEvent
    driver: HypervisorDriver
    lease: Lease
    observer: Observer
    leftover: tuple[HostName, ...] = ()

    def look(self, vm: Vm, also: Collection[Place]) -> tuple[Vm, Observation]:
        """Observe the VM where the event's goal lies; returns the VM as it was looked at.

        The storage is found from the root disk unless this event names one; what an earlier event named is the
        fallback for a VM that the hypervisor does not know (yet). While a migration is prepared the VM and its drive
        are still on the old host, and its image is wanted on the destination where it lies here, which need not be the
        root disk's storage any more: a hypervisor looks for what is in the drive in the very same place.
        """
        named = self.event.data.primary_storage
        seen = self._observe(replace(vm, primary_storage=None if named is None else StorageName(named)), also)
        if seen.storage is None and vm.primary_storage is not None:
            seen = self._fall_back(vm, also, seen)
        event = self.event
        if not isinstance(event, MigrateEvent) or event.data.phase is not MigratePhase.PREPARE:
            return vm, seen
        here = _place_of_drive(seen, vm) or seen.storage
        there = replace(
            vm,
            host=HostName(event.data.destination),
            primary_storage=None if here is None else here.storage,
        )
        observed = self._observe(there, {*also, *(() if here is None else (here,))})
        return there, replace(observed, power=seen.power, drive=seen.drive)

    def _fall_back(self, vm: Vm, also: Collection[Place], seen: Observation) -> Observation:
        """Look on the storage that an earlier event named. Nothing has to be removed from one that is no more."""
        try:
            return self._observe(vm, also)
        except PermanentError as error:
            if error.code is PermanentCode.STORAGE_NOT_FOUND and isinstance(self.event, StopEvent | DestroyEvent):
                return seen
            raise

    def execute(
        self,
        vm: Vm,
        goal: Goal,
        steps: tuple[Step, ...],
        place: Place | None,
        content: Content,
    ) -> Executed:
        """Take the steps in order; answers how the image on `place` is attached, when the goal is that it is.

        When a step fails for good, an image that this plan brought onto a storage and did not attach goes again.
        """
        brought: list[StoredImage] = []
        kept: list[StoredImage] = []
        attachment = away = None
        try:
            for step in steps:
                if isinstance(step, Leave):
                    away = self._leave(replace(vm, host=step.host, primary_storage=None))
                elif isinstance(step, Delete):
                    kept += self._delete(vm, step.image, goal)
                else:
                    attachment = self._take(step, vm, goal, content, brought) or attachment
        except PermanentError:
            for stored in brought:
                self._undo(vm, stored)
            raise
        if attachment is None and goal.drive is DriveGoal.ATTACHED and goal.image is not None and place is not None:
            attachment = self._attach(vm, goal.image, place)  # already so: asked only for the outcome's facts
        return Executed(attachment, away, tuple(kept))

    def _take(
        self,
        step: Upload | Copy | Attach | Detach,
        vm: Vm,
        goal: Goal,
        content: Content,
        brought: list[StoredImage],
    ) -> Attachment | None:
        match step:
            case Upload(record, place):
                finished = self._timed("build", partial(_build, vm, record, goal, content))
                brought.append(StoredImage(finished.name, place))
                self._change("upload", partial(self.driver.upload, vm, finished, place))
            case Copy(record, source, target):
                name = image_name(vm, record)
                brought.append(StoredImage(name, target))
                self._change("copy", partial(self.driver.copy, vm, name, source, target))
            case Attach(record, place):
                attachment = self._attach(vm, record, place)
                brought.clear()
                return attachment
            case Detach():
                self._change("detach", partial(self.driver.detach, vm))
        return None

    def _delete(self, vm: Vm, stored: StoredImage, goal: Goal) -> list[StoredImage]:
        """Delete an image. A leftover host that has it in its drive is asked to give it up now: no reason to fail.

        This event holds up those who would ask it otherwise. Answers the image when the host needs it still.
        """
        for hosts in ((), self.leftover):
            for host in hosts:
                self._give_up(replace(vm, host=host, primary_storage=None), goal)
            try:
                self._change("delete", partial(self.driver.delete, vm, stored))
            except TransientError as error:
                if error.code is not TransientCode.IMAGE_IN_USE or not self.leftover:
                    raise
            else:
                return []
        return [stored]

    def _give_up(self, vm: Vm, goal: Goal) -> None:
        """Empty the drive on a leftover host, if it can be; of a VM that runs there only if the event says so."""
        try:
            power = self._observe(vm, ()).power
            if power not in LIVE or goal.drive is DriveGoal.EMPTY:
                self._change("detach", partial(self.driver.detach, vm))
        except StaleError:
            raise
        except FleetError:  # it stays a leftover
            return

    def _attach(self, vm: Vm, record: ImageRecord, place: Place) -> Attachment:
        return self._change("attach", partial(self.driver.attach, vm, image_name(vm, record), place))

    def _leave(self, vm: Vm) -> HostName | None:
        """Empty the drive on the host that the VM has left; one that has failed, or is no more, holds nothing up.

        Answers the host when it is away, and so still has what it has.

        Raises:
            FleetError: `VM_BUSY` when the VM has not left it, and as the driver's verbs.
        """
        try:
            power = self._observe(vm, ()).power
        except FleetError as error:
            if error.code in AWAY:
                return vm.host
            if error.code in _NO_MORE:
                return None
            raise
        if power in LIVE:
            detail = f"VM {vm.instance_name} ({vm.uuid}) runs on host {vm.host} still"
            remedy = "send this event when the migration has ended; if the VM runs on two hosts, power one of them off"
            raise TransientError(TransientCode.VM_BUSY, detail, remedy)
        if power is not PowerState.UNDEFINED:
            self._change("detach", partial(self.driver.detach, vm))
        return None

    def _observe(self, vm: Vm, also: Collection[Place]) -> Observation:
        return self._timed("observe", partial(self.driver.observe, vm, also))

    def _undo(self, vm: Vm, stored: StoredImage) -> None:
        with suppress(FleetError):  # the first error is the one to report; the sweep finds what stays behind
            self._change("delete", partial(self.driver.delete, vm, stored))

    def _change(self, step: str, action: Callable[[], _Result]) -> _Result:
        """Take a step that changes the world, if the lease still holds."""
        self.lease.check()
        return self._timed(step, action)

    def _timed(self, step: str, action: Callable[[], _Result]) -> _Result:
        started = time.perf_counter()
        error: str | None = None
        try:
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
                    event_id=self.event.id,
                    event_type=short_type(self.event.type),
                    vm_uuid=VmUuid(self.event.data.vm.uuid),
                    hypervisor=self.driver.name,
                    seconds=time.perf_counter() - started,
                    error=error,
                ),
            )


def _place_of_drive(seen: Observation, vm: Vm) -> Place | None:
    own = isinstance(seen.drive, Inserted) and seen.drive.name.vm_uuid == vm.uuid
    return seen.drive.place if own and isinstance(seen.drive, Inserted) else None


def _build(vm: Vm, record: ImageRecord, goal: Goal, content: Content) -> Image:
    files = render(vm, content.data, goal.password)
    label = content.data.label or content.label
    return build(image_name(vm, record), files, label=label, built_at=record.built_at)
