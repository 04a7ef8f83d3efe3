"""The one use case: take a VM's next event, look at the hypervisor, do what is missing, and say what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from configdrive.contract.events import (
    DeployEvent,
    DestroyEvent,
    LifecycleEvent,
    MigrateEvent,
    MigratePhase,
    StartEvent,
    StopEvent,
    short_type,
)
from configdrive.contract.guest_data import GuestData
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import guest_of
from configdrive.errors import Code, FleetError, PermanentCode, PermanentError, StaleCode, TransientCode, TransientError
from configdrive.lifecycle import leftovers, state
from configdrive.lifecycle.adoption import adopted
from configdrive.lifecycle.execute import LIVE, Content, Done, Work
from configdrive.lifecycle.plan import Step, Upload, distrust, plan
from configdrive.lifecycle.state import Phase, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal, Move, Note, absorb, move, vm_of
from configdrive.model import HostName, HypervisorName, Vm, VmUuid
from configdrive.ports import (
    Clock,
    Drivers,
    HypervisorDriver,
    Lease,
    Observation,
    Observer,
    Sealer,
)

NONE, PENDING, ON_DRIVE = "none", "pending", "on_drive"
"""What an outcome says of the VM's password."""

LEAVE_AFTER = 3
"""How often a stop or destroy is tried on a host that is away, before it leaves there what is there."""

_STOP, _DESTROY = "stop", "destroy"
_NO_FACTS: Mapping[str, str] = MappingProxyType({})


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
    """The end of a turn.

    Args:
        outcome: what became of the event.
        state: to remember; `None`: as it was.
        gone: the state is a tombstone, and may be forgotten after a while.
        left_on: the hosts on which something of the VM was left behind.
    """

    outcome: Outcome
    state: str | None = None
    gone: bool = False
    left_on: tuple[HostName, ...] = ()


class Reconciler:
    """Makes one event true on the hypervisor that it names.

    Args:
        drivers, sealer, clock, observer: see `configdrive.ports`.
        label: of drives whose VM names none.
        leave_after: attempts after which a stop or destroy no longer waits for a host that is away; one that has an
            event behind it waits for none but its first.
    """

    def __init__(  # noqa: PLR0913 - all by name but the four doors
        self,
        drivers: Drivers,
        sealer: Sealer,
        clock: Clock,
        observer: Observer,
        *,
        label: str,
        leave_after: int = LEAVE_AFTER,
    ) -> None:
        self._drivers = drivers
        self._sealer = sealer
        self._clock = clock
        self._observer = observer
        self._label = label
        self._leave_after = leave_after

    def handle(self, turn: Turn) -> Settled:
        """Take one event's turn.

        Raises:
            FleetError: nothing is to be remembered; its kind says what the queue does next (`tasks.policy`).
        """
        event = turn.event
        known = self._remembered(turn)
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

    def _remembered(self, turn: Turn) -> VmState:
        """Read the state. A destroy needs no box of it, and goes through with lost keys, whatever waits before it."""
        uuid = VmUuid(turn.event.data.vm.uuid)
        destroy = isinstance(turn.event, DestroyEvent)
        try:
            return state.load(turn.state, self._sealer, uuid, sealed_too=not destroy)
        except PermanentError:
            if _DESTROY not in turn.waiting:
                raise
        return state.load(turn.state, self._sealer, uuid, sealed_too=False)

    def _superseded(self, turn: Turn, known: VmState, successor: str) -> Settled:
        """Keep what the event tells (a password survives power events), do nothing of it.

        An event that is not done anyway must not hold up the one that supersedes it, even if it cannot be read.
        """
        settled = self._ended(turn, Status.DROPPED, f"a {successor} event waits behind it", StaleCode.SUPERSEDED)
        try:
            guest = guest_of(turn.event, self._sealer)
        except FleetError:
            guest = GuestData()
        try:
            absorbed = absorb(known, turn.event, guest)
        except FleetError:
            return settled
        return self._remembering(settled, turn, absorbed)

    def _make_true(self, turn: Turn, known: VmState, guest: GuestData) -> Settled:
        event = turn.event
        ahead = move(known, event, guest, live=True)
        if ahead.goal is None and not (known.vm is None and ahead.state.wanted):
            return self._finish(turn, ahead)
        vm = ahead.state.vm or vm_of(known.vm, event)
        owing = tuple(host for host in known.left_on if host != vm.host)
        work = Work(event, self._driver(HypervisorName(event.data.hypervisor)), turn.lease, self._observer, owing)
        try:
            vm, seen = work.look(vm, known.places)
        except TransientError as error:
            if not self._may_leave_behind(turn, error):
                raise
            return self._leave_behind(turn, known, ahead, vm)
        if known.vm is None:
            known = adopted(known, event, seen)
        ahead = move(known, event, guest, live=seen.power in LIVE)
        goal = ahead.goal
        if goal is None:
            return self._finish(turn, ahead)
        steps = _steps(turn, known, ahead, goal, (vm, seen))
        done = work.execute(vm, goal, steps, seen.storage, Content(ahead.state.data, self._label))
        left_on = leftovers.hosts_left(known, vm, goal, seen, done)
        reached = leftovers.owing(ahead.state, vm, leftovers.places_left(seen, goal, steps, done), left_on)
        return self._finish(turn, replace(ahead, state=reached), _facts(goal, seen, done))

    def _may_leave_behind(self, turn: Turn, error: TransientError) -> bool:
        """Whether an event that only takes away may end although its host is away; not at the first hiccup."""
        if not isinstance(turn.event, StopEvent | DestroyEvent) or error.code is not TransientCode.HOST_UNREACHABLE:
            return False
        return turn.attempt >= self._leave_after or bool(turn.waiting)

    def _leave_behind(self, turn: Turn, known: VmState, ahead: Move, vm: Vm) -> Settled:
        """Settle a stop or destroy on a host that is away: what it still has goes when it answers again."""
        reached = leftovers.owing(ahead.state, vm, known.places, {*known.left_on, vm.host})
        facts = {"attach": "left", "left_behind": leftovers.named(known.places, (vm.host,))}
        settled = self._finish(turn, replace(ahead, state=reached), facts)
        detail = f"host {vm.host} cannot be reached: what it has of this VM goes when it answers again"
        remedy = "nothing to do; of a host that is no more, take it out of the inventory and run `configdrive sweep`"
        outcome = replace(settled.outcome, code=TransientCode.HOST_UNREACHABLE, detail=detail, remedy=remedy)
        return replace(settled, outcome=outcome)

    def _driver(self, name: HypervisorName) -> HypervisorDriver:
        driver = self._drivers.get(name)
        if driver is None:
            detail = f"data.hypervisor: this worker has no driver {name!r}"
            remedy = f"it has: {', '.join(sorted(self._drivers)) or 'none'}; add it to the setting 'hypervisors'"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        return driver

    def _finish(self, turn: Turn, reached: Move, facts: Mapping[str, str] = _NO_FACTS) -> Settled:
        status = Status.APPLIED
        if reached.note in {Note.NO_CONFIG_DRIVE, Note.PASSWORD_NOT_ENABLED}:
            status = Status.NOT_APPLICABLE
        elif reached.state.passwords.pending is not None and facts.get("password") != ON_DRIVE:
            facts = {**facts, "password": PENDING}
        settled = self._ended(turn, status, reached.note.value)
        settled = replace(settled, outcome=replace(settled.outcome, facts=dict(facts)))
        return self._remembering(settled, turn, reached.state)

    def _remembering(self, settled: Settled, turn: Turn, known: VmState) -> Settled:
        text = state.dump(known, self._sealer, VmUuid(turn.event.data.vm.uuid))
        gone = known.phase is Phase.GONE and not known.left_on
        return replace(settled, state=text, gone=gone, left_on=known.left_on)

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
    if _DESTROY in waiting:
        return _DESTROY
    if isinstance(event, StartEvent | DeployEvent) and _STOP in waiting:
        return _STOP
    return None


def _steps(turn: Turn, known: VmState, ahead: Move, goal: Goal, seen: tuple[Vm, Observation]) -> tuple[Step, ...]:
    """Plan from what is seen to the goal.

    Raises:
        PermanentError: as `plan`, and `IMAGE_LOST` when an image would have to be built whose content is not known.
    """
    vm, observation = seen
    if _may_be_half_done(turn, known, goal):
        observation = distrust(vm, observation, goal)
    steps = plan(vm, observation, goal)
    if ahead.state.adopted and any(isinstance(step, Upload) for step in steps):
        detail = f"the drive of VM {vm.instance_name} is not the fleet's own work: its content is not known"
        raise PermanentError(PermanentCode.IMAGE_LOST, detail, "send a start event that carries the VM's data")
    return steps


def _may_be_half_done(turn: Turn, known: VmState, goal: Goal) -> bool:
    """Whether the goal's image, where it is found in its place, may be what an interrupted attempt has left.

    An image that only this event can have made is never trusted: a person's word sets the attempts back to one. The
    copy for a migration was verified when `prepare` was applied, and what a rollback goes back to is the original.
    """
    event = turn.event
    if not isinstance(event, MigrateEvent):
        return goal.fresh
    prepared = known.destination == event.data.destination and turn.attempt == 1
    return event.data.phase is MigratePhase.PREPARE or (event.data.phase is MigratePhase.COMPLETE and not prepared)


def _facts(goal: Goal, seen: Observation, done: Done) -> dict[str, str]:
    """What the outcome tells the orchestrator, beside its status."""
    facts: dict[str, str] = {}
    attachment = done.attachment
    if goal.image is not None and seen.storage is not None:
        facts |= {"generation": str(goal.image.generation), "storage": seen.storage.storage}
        facts["password"] = NONE if goal.password is None else ON_DRIVE
    if attachment is not None:
        facts |= {"attach": attachment.how, "device": attachment.device, "path": attachment.path}
        if attachment.xml is not None:
            facts["xml"] = attachment.xml
    elif goal.drive is DriveGoal.EMPTY:
        facts["attach"] = "removed"
    places = leftovers.in_order([*seen.unreachable, *(stored.place for stored in done.kept)])
    left = leftovers.named(places, () if done.away is None else (done.away,))
    return facts | ({"left_behind": left} if left else {})
