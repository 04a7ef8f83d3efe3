"""The one use case: take a VM's next event, look at the hypervisor, do what is missing, and say what happened.

Five steps, each of which takes what the one before has found: admit (is it still to be done?), observe, transition
(what must be true), plan and execute, settle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.contract.events import DeployEvent, DestroyEvent, LifecycleEvent, StartEvent, StopEvent, short_type
from configdrive.contract.guest_data import GuestData
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import guest_of
from configdrive.errors import Code, FleetError, PermanentCode, PermanentError, StaleCode, TransientCode, TransientError
from configdrive.lifecycle import leftovers, state
from configdrive.lifecycle.adoption import adopted
from configdrive.lifecycle.execute import LIVE, Content, Executed, Executor
from configdrive.lifecycle.plan import may_be_half_done, steps_for
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import Phase, VmState
from configdrive.lifecycle.transitions import (
    DriveGoal,
    Goal,
    Note,
    Transition,
    absorb,
    at_goal,
    looks,
    transition,
    vm_of,
)
from configdrive.model import HypervisorName, Vm, VmUuid
from configdrive.ports import Clock, Drivers, HypervisorDriver, Lease, Observation, Observer, Sealer

NONE, PENDING, ON_DRIVE = "none", "pending", "on_drive"
"""What an outcome says of the VM's password."""

LEAVE_AFTER = 3
"""How often a stop or destroy is tried on a host that is away, before it leaves there what is there."""

_STOP, _DESTROY = "stop", "destroy"
_AS_IF = {Note.NO_CONFIG_DRIVE: Status.NOT_APPLICABLE, Note.PASSWORD_NOT_ENABLED: Status.NOT_APPLICABLE}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a VM's next event.

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

    @property
    def uuid(self) -> VmUuid:
        """The VM."""
        return VmUuid(self.event.data.vm.uuid)

    @property
    def only_takes_away(self) -> bool:
        """Whether the event brings nothing: what a host that is away keeps can be taken away later."""
        return isinstance(self.event, StopEvent | DestroyEvent)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An event that is to be done: what is remembered of its VM, and what it says of the drive's content."""

    attempt: Attempt
    known: VmState
    guest: GuestData


@dataclass(frozen=True, slots=True)
class _Observed:
    """A VM as its hypervisor shows it. `known` has what was found of a VM of which nothing was remembered."""

    known: VmState
    vm: Vm
    seen: Observation


class Reconciler:
    """Makes one event true on the hypervisor that it names.

    Args:
        drivers, sealer, clock, observer: see `configdrive.ports`.
        label: of drives whose VM names none.
        leave_after: attempts after which a stop or destroy no longer waits for a host that is away; one that has an
            event behind it waits for none but its first.
    """

    def __init__(  # noqa: PLR0913 - all by name but the four ports
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

    def handle(self, attempt: Attempt) -> Settled:
        """Make an attempt at one event.

        Raises:
            FleetError: nothing is to be remembered; its kind says what the queue does next (`tasks.policy`).
        """
        admitted = self._admit(attempt)
        if isinstance(admitted, Settled):
            return admitted
        known, event, guest = admitted.known, attempt.event, admitted.guest
        if not looks(known, event):
            return self._settle(attempt, transition(known, event, guest, live=False))
        vm = at_goal(vm_of(known.vm, event), event)
        executor = self._executor(admitted, vm)
        try:
            observed = self._observe(admitted, executor, vm)
        except TransientError as error:
            if not self._may_leave(attempt, error):
                raise
            return self._leave(attempt, known, transition(known, event, guest, live=False), vm)
        reached = transition(observed.known, event, guest, live=observed.seen.power in LIVE)
        return self._execute(attempt, observed, reached, executor)

    # --- admit ----------------------------------------------------------------------------------------------------

    def _admit(self, attempt: Attempt) -> _Admitted | Settled:
        event = attempt.event
        known = self._remembered(attempt)
        if known.phase is Phase.GONE:
            return self._end(attempt, Status.DROPPED, "the VM was destroyed", code=StaleCode.VM_GONE)
        if event.data.sequence <= known.sequence:
            detail = f"sequence {event.data.sequence} is not newer than {known.sequence}, which was applied already"
            return self._end(attempt, Status.DROPPED, detail, code=StaleCode.STALE_SEQUENCE)
        successor = _successor(event, attempt.waiting)
        if successor is not None:
            detail = f"a {successor} event waits behind it"
            kept = self._absorbed(known, event)
            return self._end(attempt, Status.DROPPED, detail, code=StaleCode.SUPERSEDED, known=kept)
        if known.vm is None and event.data.host is None and attempt.only_takes_away:
            return self._end(attempt, Status.NOT_APPLICABLE, "nothing is known of this VM")
        return _Admitted(attempt, known, guest_of(event, self._sealer))

    def _remembered(self, attempt: Attempt) -> VmState:
        """Read the state. A destroy needs nothing sealed of it, and goes through with lost keys, whatever waits."""
        destroy = isinstance(attempt.event, DestroyEvent)
        try:
            return state.load(attempt.state, self._sealer, attempt.uuid, sealed_too=not destroy)
        except PermanentError:
            if _DESTROY not in attempt.waiting:
                raise
        return state.load(attempt.state, self._sealer, attempt.uuid, sealed_too=False)

    def _absorbed(self, known: VmState, event: LifecycleEvent) -> VmState | None:
        """Keep what a superseded event says (a password survives power events), do nothing of it.

        An event that is not done anyway must not hold up the one that supersedes it, even if it cannot be read.
        """
        try:
            guest = guest_of(event, self._sealer)
        except FleetError:
            guest = GuestData()
        try:
            return absorb(known, event, guest)
        except FleetError:
            return None

    # --- observe --------------------------------------------------------------------------------------------------

    def _executor(self, admitted: _Admitted, vm: Vm) -> Executor:
        attempt = admitted.attempt
        leftover = tuple(host for host in admitted.known.left_on if host != vm.host)
        driver = self._driver(HypervisorName(attempt.event.data.hypervisor))
        return Executor(attempt.event, driver, attempt.lease, self._observer, leftover)

    def _driver(self, name: HypervisorName) -> HypervisorDriver:
        driver = self._drivers.get(name)
        if driver is None:
            detail = f"data.hypervisor: this worker has no driver {name!r}"
            remedy = f"it has: {', '.join(sorted(self._drivers)) or 'none'}; add it to the setting 'hypervisors'"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        return driver

    def _observe(self, admitted: _Admitted, executor: Executor, vm: Vm) -> _Observed:
        known, event = admitted.known, admitted.attempt.event
        vm, seen = executor.look(vm, known.places)
        return _Observed(adopted(known, event, seen) if known.vm is None else known, vm, seen)

    def _may_leave(self, attempt: Attempt, error: TransientError) -> bool:
        """Whether an event that only takes away may end although its host is away; not at the first hiccup."""
        if not attempt.only_takes_away or error.code is not TransientCode.HOST_UNREACHABLE:
            return False
        return attempt.attempt >= self._leave_after or bool(attempt.waiting)

    def _leave(self, attempt: Attempt, known: VmState, reached: Transition, vm: Vm) -> Settled:
        """Settle a stop or destroy on a host that is away: what it still has goes when it answers again."""
        left = leftovers.remembering(reached.state, vm, known.places, {*known.left_on, vm.host})
        return self._settle(
            attempt,
            replace(reached, state=left),
            {"attach": "left", "left_behind": leftovers.named(known.places, (vm.host,))},
            code=TransientCode.HOST_UNREACHABLE,
            detail=f"host {vm.host} cannot be reached: what it has of this VM goes when it answers again",
            remedy="nothing to do; of a host that is no more, take it out of the inventory and run `configdrive sweep`",
        )

    # --- plan and execute -----------------------------------------------------------------------------------------

    def _execute(self, attempt: Attempt, observed: _Observed, reached: Transition, executor: Executor) -> Settled:
        goal, known, vm, seen = reached.goal, observed.known, observed.vm, observed.seen
        if goal is None:
            return self._settle(attempt, reached)
        half_done = may_be_half_done(known, attempt.event, goal, again=attempt.attempt > 1)
        steps = steps_for(vm, seen, goal, half_done=half_done, adopted=reached.state.adopted)
        executed = executor.execute(vm, goal, steps, seen.storage, Content(reached.state.data, self._label))
        hosts = leftovers.hosts_left(known, vm, goal, seen, executed)
        places = leftovers.places_left(seen, goal, steps, executed)
        left = leftovers.remembering(reached.state, vm, places, hosts)
        return self._settle(attempt, replace(reached, state=left), _facts(goal, seen, executed))

    # --- settle ---------------------------------------------------------------------------------------------------

    def _settle(  # noqa: PLR0913 - the parts of an outcome
        self,
        attempt: Attempt,
        reached: Transition,
        facts: dict[str, str] | None = None,
        *,
        code: Code | None = None,
        detail: str | None = None,
        remedy: str = "",
    ) -> Settled:
        """Settle an event that was done, as far as it could be."""
        status, found = _AS_IF.get(reached.note, Status.APPLIED), facts or {}
        pending = status is Status.APPLIED and reached.state.passwords.pending is not None
        if pending and found.get("password") != ON_DRIVE:
            found = {**found, "password": PENDING}
        words = reached.note.value if detail is None else detail
        return self._end(attempt, status, words, code=code, remedy=remedy, facts=found, known=reached.state)

    def _end(  # noqa: PLR0913 - the parts of an outcome
        self,
        attempt: Attempt,
        status: Status,
        detail: str,
        *,
        code: Code | None = None,
        remedy: str = "",
        facts: dict[str, str] | None = None,
        known: VmState | None = None,
    ) -> Settled:
        """Settle an event; `known` is to be remembered, without it all stays as it was."""
        outcome = Outcome(
            event_id=attempt.event.id,
            event_type=short_type(attempt.event.type),
            vm_uuid=attempt.uuid,
            sequence=attempt.event.data.sequence,
            status=status,
            at=self._clock.now(),
            code=code,
            detail=detail,
            remedy=remedy,
            attempts=attempt.attempt,
            facts=facts or {},
        )
        if known is None:
            return Settled(outcome)
        gone = known.phase is Phase.GONE and not known.left_on
        return Settled(outcome, state.dump(known, self._sealer, attempt.uuid), gone, known.left_on)


def _successor(event: LifecycleEvent, waiting: tuple[str, ...]) -> str | None:
    """Name the waiting event that makes this one pointless: a destroy any, a stop every start."""
    if isinstance(event, DestroyEvent):
        return None
    if _DESTROY in waiting:
        return _DESTROY
    if isinstance(event, StartEvent | DeployEvent) and _STOP in waiting:
        return _STOP
    return None


def _facts(goal: Goal, seen: Observation, executed: Executed) -> dict[str, str]:
    """What the outcome says to the orchestrator, beside its status."""
    facts: dict[str, str] = {}
    attachment = executed.attachment
    if goal.image is not None and seen.storage is not None:
        facts |= {"generation": str(goal.image.generation), "storage": seen.storage.storage}
        facts["password"] = NONE if goal.password is None else ON_DRIVE
    if attachment is not None:
        facts |= {"attach": attachment.how, "device": attachment.device, "path": attachment.path}
        if attachment.xml is not None:
            facts["xml"] = attachment.xml
    elif goal.drive is DriveGoal.EMPTY:
        facts["attach"] = "removed"
    places = leftovers.in_order([*seen.unreachable, *(stored.place for stored in executed.kept)])
    left = leftovers.named(places, () if executed.away is None else (executed.away,))
    return facts | ({"left_behind": left} if left else {})
