"""The state machine of one VM's drive: what an event means, and what must be true for it. Pure: data in, data out.

| event                      | goal                                           | password                | phase    |
|----------------------------|------------------------------------------------|-------------------------|----------|
| deploy                     | fresh image on the storage, drive as it is     | given one is pending    | STAGED   |
| deploy, `start`            | as start                                       | as start                | ATTACHED |
| start                      | fresh image attached, no other image anywhere  | pending one is carried  | ATTACHED |
| start, `ensure`            | the image of that start attached, no other     | unchanged               | ATTACHED |
| stop                       | drive empty, no image anywhere                 | carried one is consumed | ABSENT   |
| stop, `booted: false`      | as stop                                        | carried one is pending  | ABSENT   |
| migrate, prepare           | the image also on the destination              | unchanged               | as it is |
| migrate, complete          | attached on the destination, nowhere else      | unchanged               | as it is |
| migrate, rollback          | attached on the source, nowhere else           | unchanged               | as it is |
| password_reset             | nothing now                                    | given one is pending    | as it is |
| password_reset, now, live  | fresh image attached, no other image anywhere  | given one is carried    | ATTACHED |
| update                     | nothing now                                    | unchanged               | as it is |
| update, now, live          | fresh image attached, no other image anywhere  | unchanged               | ATTACHED |
| update, password_delivered | when live, as `now`                            | carried one is consumed | as `now` |
| destroy                    | drive empty, no image anywhere                 | forgotten               | GONE     |

Migrations move what is there: what was staged stays staged, and where no image is, there is nothing to do; nor is there
for the rollback of a migration that was completed. A VM whose network offering does not name ConfigDrive has no goal;
what an earlier offering has left behind goes with its next deploy, start or stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from pydantic import SecretStr

from configdrive.contract.events import (
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
from configdrive.contract.guest_data import GuestData
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle.state import ImageRecord, Passwords, Phase, Sealed, VmState
from configdrive.model import (
    AttachBy,
    Generation,
    HostName,
    HypervisorName,
    InstanceName,
    PowerState,
    Presentation,
    StorageName,
    Vm,
    VmUuid,
)

LIVE = frozenset({PowerState.RUNNING, PowerState.PAUSED})
"""The power states in which a guest can notice a new medium."""


_Passwords = TypeVar("_Passwords", Passwords, Sealed)
"""The two passwords of a VM, open or in their boxes."""


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
        image: the image that shall exist; with `others_go` the only one. It has no name before it is built.
        fresh: build it from the newest data. Otherwise, where it lies elsewhere, it is copied.
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
    LATE = "the migration was completed before: nothing is to be rolled back"


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of the state machine: the state once the goal is reached, the goal (none: nothing to do), and a note."""

    state: VmState
    goal: Goal | None
    note: Note = Note.NONE


def absorb(known: VmState, event: LifecycleEvent, guest: GuestData) -> VmState:
    """Take in what an event says, without acting on it.

    Raises:
        PermanentError: `INVALID_EVENT` when the VM's host is neither in the event nor known.
    """
    sequence = max(event.data.sequence, known.sequence)
    state = replace(known.moved(vm_of(known.vm, event)), sequence=sequence)
    if not isinstance(event, ContentEvent):
        return state
    if isinstance(event, DeployEvent):
        kept = {name: getattr(state, name) for name in _OF_THE_DRIVE}
        state = VmState(**kept)
    elif isinstance(event, StartEvent) and guest.model_fields_set - {"password"}:
        state = replace(state, adopted=False)  # it brings the content that was not known
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


_OF_THE_DRIVE = (
    *("vm", "host_id", "sequence", "phase", "image", "others", "places", "added", "destination", "copied", "former"),
    "left",
)
"""What a deploy finds of the VM's drive, and does not begin anew."""


def superseded(known: VmState, event: LifecycleEvent, guest: GuestData) -> VmState:
    """Take in what an event says that a stop or destroy behind it supersedes: its data, and where the VM is.

    Raises:
        PermanentError: as `absorb`.
    """
    state = absorb(known, event, guest)
    match event:
        case MigrateEvent() if event.data.phase is MigratePhase.COMPLETE and state.vm is not None:
            return state.moved(at_goal(state.vm, event))
        case MigrateEvent() if event.data.phase is MigratePhase.PREPARE:
            return replace(state.also_on(state.destination), destination=HostName(event.data.destination))
        case MigrateEvent() if event.data.phase is MigratePhase.ROLLBACK:
            return state.also_on(HostName(event.data.destination))
        case UpdateEvent() if event.data.password_delivered:
            return replace(state, passwords=replace(state.passwords, carried=None))
        case _:
            return state


def looks(known: VmState, event: LifecycleEvent) -> bool:
    """Whether an event is about what is on the hypervisor, and not only about what is to be remembered."""
    offering = event.data.network_offering if isinstance(event, ContentEvent) else None
    wanted = known.wanted if offering is None else offering.names_config_drive
    match event:
        case DestroyEvent():
            return True
        case MigrateEvent():
            return known.vm is None or known.image is not None
        case _ if not wanted:
            return _unwanted_goes(known, event)
        case PasswordResetEvent() | UpdateEvent():
            return known.vm is None or _is_now(event)
        case _:
            return True


def may_be_late(known: VmState, event: LifecycleEvent) -> bool:
    """Whether a rollback comes after its migration was completed; it is late if the VM is on the destination."""
    if not isinstance(event, MigrateEvent) or event.data.phase is not MigratePhase.ROLLBACK or known.vm is None:
        return False
    return known.vm.host == event.data.destination != event.data.host and known.destination is None


def late(known: VmState, event: LifecycleEvent) -> Transition:
    """Say what comes of such a rollback: nothing."""
    return Transition(replace(known, sequence=max(known.sequence, event.data.sequence)), None, Note.LATE)


def transition(known: VmState, event: LifecycleEvent, guest: GuestData, *, live: bool) -> Transition:
    """Say what an event makes of a VM's state, and what must be true for it.

    Args:
        known: what is remembered of the VM.
        event: the event.
        guest: what it says of the drive's content.
        live: whether the VM runs (or is paused) now.

    Raises:
        PermanentError: as `absorb`.
    """
    state = absorb(known, event, guest)
    match event:
        case DestroyEvent():
            gone = VmState(sequence=state.sequence, phase=Phase.GONE, left=state.left)
            reached = Transition(gone, _nothing_left())
        case MigrateEvent():
            reached = _migrate(state, event)
        case _ if not state.wanted:
            reached = _unwanted(state, event)
        case StopEvent():
            passwords = _after_stop(state.passwords, booted=event.data.booted)
            closed = _after_stop(state.sealed, booted=event.data.booted)  # with lost keys
            reached = Transition(replace(_emptied(state), passwords=passwords, sealed=closed), _nothing_left())
        case StartEvent() if _is_made(state, event):
            reached = Transition(state, Goal(DriveGoal.ATTACHED, state.image, password=state.passwords.carried))
        case StartEvent():
            reached = _attach_fresh(state, event)
        case DeployEvent():
            reached = _attach_fresh(state, event) if event.data.start else _stage(state, event)
        case PasswordResetEvent():
            reached = _reset(state, event, live=live)
        case _:
            reached = _update(state, event, live=live)
    return reached


def _nothing_left() -> Goal:
    return Goal(DriveGoal.EMPTY)


def _record(event: LifecycleEvent) -> ImageRecord:
    return ImageRecord("", Generation(event.data.sequence), event.time.timestamp())


def _emptied(state: VmState) -> VmState:
    return replace(state, phase=Phase.ABSENT, image=None, destination=None, added=None)


def _unwanted(state: VmState, event: LifecycleEvent) -> Transition:
    """A VM without config drive: what an earlier offering left behind goes with its next deploy, start or stop."""
    if _unwanted_goes(state, event):
        return Transition(_emptied(state), _nothing_left(), Note.NO_CONFIG_DRIVE)
    return Transition(state, None, Note.NO_CONFIG_DRIVE)


def _unwanted_goes(state: VmState, event: LifecycleEvent) -> bool:
    leftover = state.image is not None or bool(state.places or state.left)
    return leftover and isinstance(event, DeployEvent | StartEvent | StopEvent)


def _stage(state: VmState, event: LifecycleEvent) -> Transition:
    record = _record(event)
    goal = Goal(DriveGoal.AS_IT_IS, record, fresh=True, password=state.passwords.pending)
    return Transition(replace(state, phase=Phase.STAGED, image=record, destination=None), goal)


def _attach_fresh(state: VmState, event: LifecycleEvent) -> Transition:
    """The next image for a start carries the pending password; one that is carried already stays (second start, HA)."""
    if state.passwords.pending is not None:
        state = replace(state, passwords=Passwords(pending=None, carried=state.passwords.pending))
    return _rebuild(state, event)


def _is_made(state: VmState, event: StartEvent) -> bool:
    """Whether the drive that this start only makes sure of is there, and says all that is to be said."""
    made = state.image if state.phase is Phase.ATTACHED else None
    return made is not None and made.generation == event.data.ensure and state.passwords.pending is None


def _rebuild(state: VmState, event: LifecycleEvent) -> Transition:
    record = _record(event)
    goal = Goal(DriveGoal.ATTACHED, record, fresh=True, password=state.passwords.carried)
    return Transition(replace(state, phase=Phase.ATTACHED, image=record, destination=None), goal)


def _reset(state: VmState, event: PasswordResetEvent, *, live: bool) -> Transition:
    if not state.password_enabled:
        return Transition(state, None, Note.PASSWORD_NOT_ENABLED)
    if live and _is_now(event):
        return _attach_fresh(state, event)
    return Transition(state, None, Note.PENDING)


def _update(state: VmState, event: UpdateEvent, *, live: bool) -> Transition:
    if event.data.password_delivered:
        state = replace(state, passwords=replace(state.passwords, carried=None))
    if live and _is_now(event):
        return _rebuild(state, event)
    return Transition(state, None, Note.PENDING)


def _is_now(event: PasswordResetEvent | UpdateEvent) -> bool:
    return event.data.apply is Apply.NOW or (isinstance(event, UpdateEvent) and event.data.password_delivered)


def _after_stop(passwords: _Passwords, *, booted: bool) -> _Passwords:
    waits = passwords.pending if booted or passwords.pending is not None else passwords.carried
    return replace(passwords, pending=waits, carried=None)


def at_goal(vm: Vm, event: LifecycleEvent) -> Vm:
    """Return the VM where the event's goal lies: after a migration on its destination."""
    if isinstance(event, MigrateEvent) and event.data.phase is MigratePhase.COMPLETE:
        return replace(vm, host=HostName(event.data.destination))
    return vm


def _migrate(state: VmState, event: MigrateEvent) -> Transition:
    destination = HostName(event.data.destination)
    prepare = event.data.phase is MigratePhase.PREPARE
    vm = None if state.vm is None else at_goal(state.vm, event)
    state = replace(state, vm=vm, destination=destination if prepare else None, copied=False)
    if state.image is None:
        return Transition(state, None, Note.NONE if state.wanted else Note.NO_CONFIG_DRIVE)
    attached = state.phase is Phase.ATTACHED and not prepare
    drive = DriveGoal.ATTACHED if attached else DriveGoal.AS_IT_IS
    return Transition(state, Goal(drive, state.image, password=password_of(state), others_go=not prepare))


def password_of(state: VmState) -> SecretStr | None:
    """Return what the present image carries: a rebuild while a boot lasts must not lose it."""
    return state.passwords.carried if state.phase is Phase.ATTACHED else state.passwords.pending


def vm_of(known: Vm | None, event: LifecycleEvent) -> Vm:
    """Return the VM as the event describes it, with what is known already where the event is silent.

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
        presentation=data.presentation or (known.presentation if known else Presentation.AUTO),
        guest_os=data.guest_os or (known.guest_os if known else None),
        definition=data.definition or (known.definition if known else None),
    )
