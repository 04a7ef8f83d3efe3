"""The one use case: take a VM's next event, look at the hypervisor, do what is missing, and say what happened."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive import state
from configdrive.errors import Code, FleetError, PermanentCode, PermanentError, StaleCode
from configdrive.events import DeployEvent, DestroyEvent, LifecycleEvent, MigrateEvent, StartEvent, StopEvent, short_type
from configdrive.guest_data import GuestData
from configdrive.lifecycle import DriveGoal, Goal, Move, Note, absorb, move, vm_of
from configdrive.model import HypervisorName, Place, PowerState, Vm, VmUuid
from configdrive.outcome import Outcome, Status
from configdrive.plan import Upload, distrust, plan
from configdrive.ports import Attachment, Clock, Drivers, HypervisorDriver, Inserted, Lease, Observation, Observer, Sealer
from configdrive.sealed import guest_of
from configdrive.state import ImageRecord, Phase, VmState
from configdrive.work import Content, Work

LIVE = frozenset({PowerState.RUNNING, PowerState.PAUSED})
"""The power states in which a guest can notice a new medium."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One event's turn.

    Args:
        state: what was remembered of the VM, at rest; `None` when nothing.
        waiting: the short types of the VM's events behind this one, oldest first.
        attempt: how many times this event was begun, this time included.
        lease: the right to work on this VM.
    """

    event: LifecycleEvent
    state: str | None
    waiting: tuple[str, ...]
    attempt: int
    lease: Lease


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of a turn: the outcome, and the state to remember (`None`: as it was). `gone`: it is a tombstone."""

    outcome: Outcome
    state: str | None = None
    gone: bool = False


class Reconciler:
    """Makes one event true on the hypervisor that it names. `label` is that of drives whose VM names none."""

    def __init__(self, drivers: Drivers, sealer: Sealer, clock: Clock, observer: Observer, *, label: str) -> None:
        self._drivers = drivers
        self._sealer = sealer
        self._clock = clock
        self._observer = observer
        self._label = label

    def handle(self, turn: Turn) -> Settled:
        """Take one event's turn.

        Raises:
            FleetError: nothing is to be remembered; its kind says what the queue does next (`tasks.policy`).
        """
        event, uuid = turn.event, VmUuid(turn.event.data.vm.uuid)
        known = state.load(turn.state, self._sealer, uuid, sealed_too=not isinstance(event, DestroyEvent))
        if known.phase is Phase.GONE:
            return self._ended(turn, Status.DROPPED, "the VM was destroyed", StaleCode.VM_GONE)
        if event.data.sequence <= known.sequence:
            detail = f"sequence {event.data.sequence} is not newer than {known.sequence}, which was applied already"
            return self._ended(turn, Status.DROPPED, detail, StaleCode.STALE_SEQUENCE)
        successor = _successor(event, turn.waiting)
        if successor is not None:
            return self._superseded(turn, known, successor)
        if known.vm is None and event.data.host is None and isinstance(event, StopEvent | DestroyEvent):
            return self._ended(turn, Status.NOT_APPLICABLE, "nothing is known of this VM")
        return self._make_true(turn, known, guest_of(event, self._sealer))

    def _superseded(self, turn: Turn, known: VmState, successor: str) -> Settled:
        """Keep what the event tells (a password survives power events), do nothing of it."""
        settled = self._ended(turn, Status.DROPPED, f"a {successor} event waits behind it", StaleCode.SUPERSEDED)
        try:
            absorbed = absorb(known, turn.event, guest_of(turn.event, self._sealer))
        except FleetError:
            return settled  # an event that is not done anyway must not hold up the one that supersedes it
        return self._remembering(settled, turn, absorbed)

    def _make_true(self, turn: Turn, known: VmState, guest: GuestData) -> Settled:
        event = turn.event
        ahead = move(known, event, guest, live=True)
        if ahead.goal is None and not (known.vm is None and isinstance(event, MigrateEvent)):
            return self._finish(turn, ahead)
        work = Work(event, self._driver(HypervisorName(event.data.hypervisor)), turn.lease, self._observer)
        vm = ahead.state.vm or vm_of(known.vm, event)
        vm, seen = work.look(vm, known.places)
        known = _adopted(known, event, seen)
        ahead = move(known, event, guest, live=seen.power in LIVE)
        if ahead.goal is None:
            return self._finish(turn, ahead)
        return self._reach(turn, known, ahead, ahead.goal, work, vm, seen)

    def _reach(
        self,
        turn: Turn,
        known: VmState,
        ahead: Move,
        goal: Goal,
        work: Work,
        vm: Vm,
        seen: Observation,
    ) -> Settled:
        """Plan from what is seen to the goal, do it, and record it."""
        if turn.attempt > 1 and goal.fresh and goal.image is not None:
            seen = distrust(seen, goal.image.generation)
        steps = plan(vm, seen, goal)
        if ahead.state.adopted and any(isinstance(step, Upload) for step in steps):
            detail = f"the drive of VM {vm.instance_name} is not the fleet's own work: its content is not known"
            raise PermanentError(PermanentCode.IMAGE_LOST, detail, "send a start event that carries the VM's data")
        attachment = work.execute(vm, goal, steps, seen.storage, Content(ahead.state.data, self._label))
        left = _places_left(known.places, seen, goal)
        reached = replace(ahead, state=replace(ahead.state, places=left))
        return self._finish(turn, reached, _facts(goal, reached.state, seen, attachment))

    def _driver(self, name: HypervisorName) -> HypervisorDriver:
        driver = self._drivers.get(name)
        if driver is None:
            detail = f"data.hypervisor: this worker has no driver {name!r}"
            remedy = f"it has: {', '.join(sorted(self._drivers)) or 'none'}; add it to the setting 'hypervisors'"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        return driver

    def _finish(self, turn: Turn, reached: Move, facts: dict[str, str] | None = None) -> Settled:
        status = Status.APPLIED
        if reached.note in {Note.NO_CONFIG_DRIVE, Note.PASSWORD_NOT_ENABLED}:
            status = Status.NOT_APPLICABLE
        settled = self._ended(turn, status, reached.note.value)
        settled = replace(settled, outcome=replace(settled.outcome, facts=facts or {}))
        return self._remembering(settled, turn, reached.state)

    def _remembering(self, settled: Settled, turn: Turn, known: VmState) -> Settled:
        text = state.dump(known, self._sealer, VmUuid(turn.event.data.vm.uuid))
        return replace(settled, state=text, gone=known.phase is Phase.GONE)

    def _ended(self, turn: Turn, status: Status, detail: str, code: Code | None = None) -> Settled:
        return Settled(
            Outcome(
                event_id=turn.event.id,
                event_type=short_type(turn.event.type),
                vm_uuid=turn.event.data.vm.uuid,
                sequence=turn.event.data.sequence,
                status=status,
                at=self._clock.now(),
                code=code,
                detail=detail,
                attempts=turn.attempt,
            ),
        )


def _successor(event: LifecycleEvent, waiting: tuple[str, ...]) -> str | None:
    """Name the waiting event that makes this one pointless: a destroy any, a stop every start."""
    if isinstance(event, DestroyEvent):
        return None
    if "destroy" in waiting:
        return "destroy"
    if isinstance(event, StartEvent | DeployEvent) and "stop" in waiting:
        return "stop"
    return None


def _adopted(known: VmState, event: LifecycleEvent, seen: Observation) -> VmState:
    """Take over a drive that is there although nothing is remembered (Redis was lost): it can be moved and removed."""
    if known.vm is not None:
        return known
    uuid = event.data.vm.uuid
    generations = [stored.name.generation for stored in seen.images]
    inserted = isinstance(seen.drive, Inserted) and seen.drive.name.vm_uuid == uuid
    if isinstance(seen.drive, Inserted) and inserted:
        generations = [seen.drive.name.generation]
    if not generations:
        return known
    record = ImageRecord(max(generations), event.time.timestamp())
    return replace(known, image=record, phase=Phase.ATTACHED if inserted else Phase.STAGED, adopted=True)


def _places_left(before: tuple[Place, ...], seen: Observation, goal: Goal) -> tuple[Place, ...]:
    """Return the storages on which images of the VM may lie once the goal is reached."""
    left = set(seen.unreachable)
    if not goal.others_go:
        left.update(before, (stored.place for stored in seen.images))
    if goal.image is not None and seen.storage is not None:
        left.add(seen.storage)
    return tuple(sorted(left, key=lambda place: (place.storage, place.host or "")))


def _facts(goal: Goal, reached: VmState, seen: Observation, attachment: Attachment | None) -> dict[str, str]:
    """What the outcome tells the orchestrator, beside its status."""
    facts: dict[str, str] = {}
    if goal.image is not None and seen.storage is not None:
        facts |= {"generation": str(goal.image.generation), "storage": seen.storage.storage}
    if attachment is not None:
        facts |= {"attach": attachment.how, "device": attachment.device, "path": attachment.path}
        if attachment.xml is not None:
            facts["xml"] = attachment.xml
    elif goal.drive is DriveGoal.EMPTY:
        facts["attach"] = "removed"
    if goal.image is not None:
        facts["password"] = "none" if goal.password is None else "on_drive"  # noqa: S105 - a word, not a password
    if reached.passwords.pending is not None and goal.password is None:
        facts["password"] = "pending"  # noqa: S105 - a word, not a password
    if seen.unreachable:
        facts["left_behind"] = ", ".join(f"{place.storage}@{place.host or 'shared'}" for place in seen.unreachable)
    return facts
