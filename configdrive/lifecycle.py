"""The state machine of one VM's drive: what an event means, and which steps make it true. Pure: data in, data out.

| event                      | goal                                                  | password                        | phase    |
|----------------------------|-------------------------------------------------------|---------------------------------|----------|
| deploy                     | fresh image on the storage, drive as it is            | given one becomes pending       | STAGED   |
| deploy, `start`            | as start                                              | as start                        | ATTACHED |
| start                      | fresh image, attached; no other image anywhere        | pending one is carried          | ATTACHED |
| stop                       | drive empty, no image anywhere                        | carried one is consumed         | ABSENT   |
| stop, `booted: false`      | as stop                                               | carried one is pending again    | ABSENT   |
| migrate, prepare           | the image also on the destination                     | unchanged                       | as it is |
| migrate, complete          | the image attached on the destination, nowhere else   | unchanged                       | as it is |
| migrate, rollback          | the image attached on the source, nowhere else        | unchanged                       | as it is |
| password_reset             | nothing now                                           | pending                         | as it is |
| password_reset, now, live  | fresh image, attached                                 | carried                         | ATTACHED |
| update                     | nothing now                                           | unchanged                       | as it is |
| update, now, live          | fresh image, attached                                 | unchanged                       | ATTACHED |
| update, password_delivered | fresh image, attached, when live                      | carried one is consumed         | as it is |
| destroy                    | drive empty, no image anywhere                        | forgotten                       | GONE     |

A VM whose network offering does not name ConfigDrive has the goal of `stop` on deploy and start, and no goal otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import SecretStr

from configdrive.errors import PermanentCode, PermanentError
from configdrive.events import (
    Apply,
    ContentEvent,
    DeployEvent,
    DestroyEvent,
    LifecycleEvent,
    MigrateEvent,
    MigratePhase,
    PasswordResetEvent,
    StartEvent,
    StopEvent,
    UpdateEvent,
)
from configdrive.guest_data import GuestData
from configdrive.model import (
    AttachBy,
    Generation,
    HostName,
    HypervisorName,
    InstanceName,
    Presentation,
    StorageName,
    Vm,
    VmData,
    VmUuid,
)
from configdrive.state import ImageRecord, Passwords, Phase, VmState


class DriveGoal(StrEnum):
    """What shall be in the VM's drive."""

    ATTACHED = "attached"
    EMPTY = "empty"
    AS_IT_IS = "as_it_is"


@dataclass(frozen=True, slots=True)
class Goal:
    """What must be true afterwards.

    Args:
        drive: what shall be in the drive.
        image: the image that shall exist; with `others_go` the only one.
        fresh: build it from the newest data. Otherwise an image of this generation that lies elsewhere is copied.
        password: what the image carries.
        others_go: delete every other image of the VM.
    """

    drive: DriveGoal
    image: ImageRecord | None = None
    fresh: bool = False
    password: SecretStr | None = field(default=None, repr=False)
    others_go: bool = True


class Note(StrEnum):
    """What an outcome says beside its status."""

    NONE = ""
    NO_CONFIG_DRIVE = "the network offering does not name ConfigDrive as UserData provider"
    PASSWORD_NOT_ENABLED = "the VM's template is not password-enabled"  # noqa: S105 - a sentence, not a password
    PENDING = "comes with the next start"


@dataclass(frozen=True, slots=True)
class Move:
    """One step of the state machine: the state once the goal is reached, the goal (none: nothing to do), and a note."""

    state: VmState
    goal: Goal | None
    note: Note = Note.NONE


def absorb(known: VmState, event: LifecycleEvent, guest: GuestData) -> VmState:
    """Take in what an event tells, without acting on it: also what a superseded event leaves behind.

    Raises:
        PermanentError: `INVALID_EVENT` when the VM's host is neither in the event nor known.
    """
    state = replace(known, vm=vm_of(known.vm, event), sequence=event.data.sequence)
    if not isinstance(event, ContentEvent):
        return state
    if isinstance(event, DeployEvent):
        state = replace(state, data=VmData(), passwords=Passwords(), wanted=True, password_enabled=True)
    if isinstance(event, DeployEvent | StartEvent):
        state = replace(state, adopted=False)
    data = guest.merged_into(state.data)
    if event.data.label is not None:
        data = replace(data, label=event.data.label)
    enabled = state.password_enabled if event.data.password_enabled is None else event.data.password_enabled
    passwords = state.passwords if guest.password is None else replace(state.passwords, pending=guest.password)
    offering = event.data.network_offering
    return replace(
        state,
        data=data,
        password_enabled=enabled,
        passwords=passwords if enabled else Passwords(),
        wanted=state.wanted if offering is None else offering.names_config_drive,
    )


def move(known: VmState, event: LifecycleEvent, guest: GuestData, *, live: bool) -> Move:
    """Say what an event makes of a VM's state, and what must be true for it. `live`: the VM runs (or is paused) now."""
    state = absorb(known, event, guest)
    match event:
        case DestroyEvent():
            return Move(VmState(sequence=state.sequence, phase=Phase.GONE, places=state.places), _nothing_left())
        case StopEvent():
            passwords = _after_stop(state.passwords, booted=event.data.booted)
            stopped = replace(state, phase=Phase.ABSENT, passwords=passwords, image=None, destination=None)
            return Move(stopped, _nothing_left())
        case MigrateEvent():
            return _migrate(state, event)
        case _ if not state.wanted:
            return _unwanted(state, event)
        case StartEvent():
            return _attach_fresh(state, event)
        case DeployEvent():
            return _attach_fresh(state, event) if event.data.start else _stage(state, event)
        case PasswordResetEvent():
            if not state.password_enabled:
                return Move(state, None, Note.PASSWORD_NOT_ENABLED)
            return _now_or_later(state, event, now=event.data.apply is Apply.NOW, live=live)
        case UpdateEvent():
            now = event.data.apply is Apply.NOW
            if event.data.password_delivered:
                state = replace(state, passwords=replace(state.passwords, carried=None))
                now = True
            return _now_or_later(state, event, now=now, live=live)


def _nothing_left() -> Goal:
    return Goal(DriveGoal.EMPTY)


def _record(event: LifecycleEvent) -> ImageRecord:
    return ImageRecord(Generation(event.data.sequence), event.time.timestamp())


def _unwanted(state: VmState, event: LifecycleEvent) -> Move:
    """A VM without config drive: what an earlier offering left behind goes when the VM is deployed or started."""
    leftover = state.image is not None or bool(state.places)
    if leftover and isinstance(event, DeployEvent | StartEvent):
        return Move(replace(state, phase=Phase.ABSENT, image=None), _nothing_left(), Note.NO_CONFIG_DRIVE)
    return Move(state, None, Note.NO_CONFIG_DRIVE)


def _stage(state: VmState, event: LifecycleEvent) -> Move:
    record = _record(event)
    goal = Goal(DriveGoal.AS_IT_IS, record, fresh=True, password=state.passwords.pending)
    return Move(replace(state, phase=Phase.STAGED, image=record), goal)


def _attach_fresh(state: VmState, event: LifecycleEvent) -> Move:
    """The next image for a start carries the pending password; one that is carried already stays (second start, HA)."""
    if state.passwords.pending is not None:
        state = replace(state, passwords=Passwords(pending=None, carried=state.passwords.pending))
    return _rebuild(state, event)


def _rebuild(state: VmState, event: LifecycleEvent) -> Move:
    record = _record(event)
    goal = Goal(DriveGoal.ATTACHED, record, fresh=True, password=state.passwords.carried)
    return Move(replace(state, phase=Phase.ATTACHED, image=record, destination=None), goal)


def _now_or_later(state: VmState, event: PasswordResetEvent | UpdateEvent, *, now: bool, live: bool) -> Move:
    if not (now and live):
        return Move(state, None, Note.PENDING)
    if isinstance(event, PasswordResetEvent):
        return _attach_fresh(state, event)
    return _rebuild(state, event)


def _after_stop(passwords: Passwords, *, booted: bool) -> Passwords:
    if booted or passwords.pending is not None:
        return Passwords(pending=passwords.pending)
    return Passwords(pending=passwords.carried)


def _migrate(state: VmState, event: MigrateEvent) -> Move:
    destination = HostName(event.data.destination)
    drive = DriveGoal.ATTACHED if state.phase is Phase.ATTACHED else DriveGoal.AS_IT_IS
    goal = None if state.image is None else Goal(drive, state.image, password=_password_of(state))
    if event.data.phase is MigratePhase.PREPARE:
        prepared = replace(state, destination=destination)
        if goal is not None:
            goal = replace(goal, drive=DriveGoal.AS_IT_IS, others_go=False)
        return Move(prepared, goal)
    state = replace(state, destination=None)
    if event.data.phase is MigratePhase.ROLLBACK or state.vm is None:
        return Move(state, goal)
    return Move(replace(state, vm=replace(state.vm, host=destination)), goal)


def _password_of(state: VmState) -> SecretStr | None:
    """Return what the present image carries: a rebuild while a boot lasts must not lose it."""
    return state.passwords.carried if state.phase is Phase.ATTACHED else state.passwords.pending


def vm_of(known: Vm | None, event: LifecycleEvent) -> Vm:
    """Return the VM as the event places it, with what is known already where the event is silent.

    Raises:
        PermanentError: `INVALID_EVENT` when the host is neither in the event nor known.
    """
    data = event.data
    host = data.host or (known.host if known else None)
    if host is None:
        detail = "data.host: is not given, and nothing is known of this VM"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, "give the host on which the VM lies")
    storage = data.primary_storage or (known.primary_storage if known else None)
    return Vm(
        uuid=VmUuid(data.vm.uuid),
        instance_name=InstanceName(data.vm.instance_name),
        hypervisor=HypervisorName(data.hypervisor),
        host=HostName(host),
        primary_storage=None if storage is None else StorageName(storage),
        zone=data.zone or (known.zone if known else None),
        attach_by=data.attach or (known.attach_by if known else AttachBy.FLEET),
        presentation=data.presentation or (known.presentation if known else Presentation.CDROM),
    )
