"""The one use case: take a VM's next event, look at the hypervisor, do what is missing, and say what happened.

Five steps, each of which takes what the one before has found: admit (is it still to be done?), observe, transition
(what must be true), plan and execute, settle. One long file, so that an event is followed through
all five in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.contract.events import (
    ContentEvent,
    DeployEvent,
    DestroyEvent,
    LifecycleEvent,
    MigrateEvent,
    MigratePhase,
    StopEvent,
    short_type,
)
from configdrive.contract.guest_data import GuestData
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import guest_of
from configdrive.drive_data import VmData
from configdrive.errors import (
    Code,
    FleetError,
    PermanentCode,
    PermanentError,
    StaleCode,
    StaleError,
    TransientCode,
)
from configdrive.lifecycle import leftovers, state
from configdrive.lifecycle.adoption import adopted
from configdrive.lifecycle.execute import Executed, Executor, Job
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.plan import Observed, Whereabouts, may_be_half_done
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import Leftover, Passwords, Phase, Sealed, VmRecord, VmState
from configdrive.lifecycle.transitions import (
    LIVE,
    DriveGoal,
    Goal,
    Note,
    Transition,
    at_goal,
    late,
    looks,
    may_be_late,
    superseded,
    transition,
    vm_of,
)
from configdrive.lifecycle.whereabouts import remember, whereabouts
from configdrive.model import DriveSettings, HostName, HypervisorName, InstanceName, Intent, Vm, VmUuid
from configdrive.ports import Clock, Drivers, HypervisorDriver, ImageNamer, Lease, Observation, Observer, Sealer

NONE, PENDING, ON_DRIVE = "none", "pending", "on_drive"
"""What an outcome says of the VM's password."""

LEAVE_AFTER = 3
"""How often a stop or destroy is tried where something is broken, before it leaves there what is there."""

LEAVE_SECONDS = 60.0
"""The same in seconds since it was posted."""

_STOP, _DESTROY = "stop", "destroy"
_AWAY = frozenset({TransientCode.HOST_UNREACHABLE, TransientCode.STORAGE_UNAVAILABLE, TransientCode.DEFERRED})
_AS_IF = {
    Note.NO_CONFIG_DRIVE: Status.NOT_APPLICABLE,
    Note.PASSWORD_NOT_ENABLED: Status.NOT_APPLICABLE,
    Note.LATE: Status.NOT_APPLICABLE,
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits behind the one in work: its short type and its sequence number."""

    event_type: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a VM's next event.

    Args:
        state: what was remembered of the VM, at rest; `None` when nothing.
        waiting: the VM's events behind this one, oldest first.
        attempt: how many times this event was begun, this time included.
        lease: the right to work on this VM.
        intents: what earlier attempts were about to do, and nobody has looked at since.
        waited: seconds since the event was posted.
    """

    event: LifecycleEvent
    state: str | None
    waiting: tuple[Waiting, ...]
    attempt: int
    lease: Lease
    intents: tuple[Intent, ...] = ()
    waited: float = 0.0

    @property
    def uuid(self) -> VmUuid:
        """The VM."""
        return VmUuid(self.event.data.vm.uuid)

    @property
    def only_takes_away(self) -> bool:
        """Whether the event brings nothing: what cannot be taken away now can be taken away later."""
        return isinstance(self.event, StopEvent | DestroyEvent)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An event that is to be done: what is remembered of its VM, and what it says of the drive's content."""

    attempt: Attempt
    known: VmState
    guest: GuestData


class Reconciler:
    """Makes one event true on the hypervisor that it names.

    Args:
        drivers, sealer, namer, clock, observer: see `configdrive.ports`.
        drives: the fleet's settings.
        leave_after: attempts after which a stop or destroy ends whatever is broken. One that has an event behind it
            waits only once for what is away.
        leave_seconds: the same in seconds since it was posted.
    """

    def __init__(  # noqa: PLR0913 - all by name but the ports
        self,
        drivers: Drivers,
        sealer: Sealer,
        namer: ImageNamer,
        clock: Clock,
        observer: Observer,
        *,
        drives: DriveSettings,
        leave_after: int = LEAVE_AFTER,
        leave_seconds: float = LEAVE_SECONDS,
    ) -> None:
        self._drivers = drivers
        self._sealer = sealer
        self._namer = namer
        self._clock = clock
        self._observer = observer
        self._settings = drives
        self._leave_after = leave_after
        self._leave_seconds = leave_seconds

    def handle(self, attempt: Attempt) -> Settled:
        """Make an attempt at one event.

        Raises:
            FleetError: nothing is to be remembered; its kind says what the queue does next (`tasks.policy`).
        """
        admitted = self._admit(attempt)
        if isinstance(admitted, Settled):
            return admitted
        try:
            return _telling(self._make_true(admitted), admitted)
        except StaleError:
            raise
        except FleetError as error:
            if self._may_leave(attempt, error):
                return self._leave(attempt, admitted.known, error)
            if _is_no_way(attempt.event, error):
                return self._reject(attempt, admitted.known, error)
            raise

    def leave(self, attempt: Attempt, error: FleetError) -> Settled:
        """End a stop or destroy whatever is broken: what it could not take away, the leftover pass does.

        One that is stale or superseded is dropped, as by `handle`.

        Raises:
            PermanentError: the VM's state cannot be read.
        """
        admitted = self._admit(attempt)
        return admitted if isinstance(admitted, Settled) else self._leave(attempt, admitted.known, error)

    # --- admit ----------------------------------------------------------------------------------------------------

    def _admit(self, attempt: Attempt) -> _Admitted | Settled:
        event = attempt.event
        known = self._remembered(attempt)
        destroy = isinstance(event, DestroyEvent)
        if known.phase is Phase.GONE and not (destroy and attempt.intents):
            return self._end(attempt, Status.DROPPED, "the VM was destroyed", code=StaleCode.VM_GONE)
        if event.data.sequence <= known.sequence and not destroy:
            detail = f"sequence {event.data.sequence} is not newer than {known.sequence}, which was applied already"
            return self._end(attempt, Status.DROPPED, detail, code=StaleCode.STALE_SEQUENCE)
        successor = _successor(event, attempt.waiting)
        if successor is not None:
            return self._supersede(attempt, known, successor)
        if known.vm is None and event.data.host is None and attempt.only_takes_away and not attempt.intents:
            return self._end(attempt, Status.NOT_APPLICABLE, "nothing is known of this VM")
        if known.vm is None and event.data.host is None:
            known = replace(known, vm=_of_intents(attempt))
        return _Admitted(attempt, known, guest_of(event, self._sealer))

    def _remembered(self, attempt: Attempt) -> VmState:
        """Read the state. What takes away goes through with lost keys, and so does what begins anew."""
        event = attempt.event
        try:
            return state.load(attempt.state, self._sealer, attempt.uuid)
        except PermanentError:
            needs = not isinstance(event, DestroyEvent | StopEvent | DeployEvent)
            if needs and _successor(event, attempt.waiting) is None:
                raise
        return state.load_closed(attempt.state)

    def _supersede(self, attempt: Attempt, known: VmState, successor: str) -> Settled:
        """Keep what a superseded event says (a password survives power events), do nothing of it.

        An event that is not done anyway must not hold up the one that supersedes it, even if it cannot be read.
        """
        detail = f"a {successor} event waits behind it"
        try:
            guest = guest_of(attempt.event, self._sealer)
        except FleetError:
            guest, detail = GuestData(), f"{detail}; what it says of the drive's content cannot be opened, and is lost"
        try:
            kept = superseded(known, attempt.event, guest)
            if known.sealed != Sealed():  # nobody can add to what is closed
                kept = replace(kept, data=VmData(), passwords=Passwords(), sealed=known.sealed)
        except FleetError:
            kept = None
        return self._end(attempt, Status.DROPPED, detail, code=StaleCode.SUPERSEDED, known=kept)

    # --- observe --------------------------------------------------------------------------------------------------

    def _make_true(self, admitted: _Admitted) -> Settled:
        attempt, event, guest = admitted.attempt, admitted.attempt.event, admitted.guest
        if not looks(admitted.known, event):
            return self._settle(attempt, transition(admitted.known, event, guest, live=False))
        executor = self._executor(attempt)
        if self._is_late(admitted.known, event, executor):
            return self._settle(attempt, late(admitted.known, event))
        known = self._leave_hypervisor(admitted)
        observed = self._observe(attempt, known, executor)
        reached = transition(observed.known, event, guest, live=observed.seen.power in LIVE)
        reached = _located(reached, event, observed)
        left = tuple(one for one in known.left if one not in admitted.known.left)
        return self._carry_out(attempt, observed, reached, executor, left)

    def _executor(self, attempt: Attempt) -> Executor:
        driver = self._driver(HypervisorName(attempt.event.data.hypervisor))
        job = Job(attempt.event.id, short_type(attempt.event.type), attempt.uuid)
        return Executor(job, driver, attempt.lease, self._observer, self._namer, self._settings)

    def _driver(self, name: HypervisorName) -> HypervisorDriver:
        driver = self._drivers.get(name)
        if driver is None:
            detail = f"data.hypervisor: this worker has no driver {name!r}"
            remedy = f"it has: {', '.join(sorted(self._drivers)) or 'none'}; add it to the setting 'hypervisors'"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        return driver

    def _is_late(self, known: VmState, event: LifecycleEvent, executor: Executor) -> bool:
        if not may_be_late(known, event) or known.vm is None:
            return False
        return executor.is_defined(known.vm)

    def _leave_hypervisor(self, admitted: _Admitted) -> VmState:
        """Take out of another hypervisor what the VM has there, if it has changed it; what cannot be now is left."""
        attempt, known = admitted.attempt, admitted.known
        name = HypervisorName(attempt.event.data.hypervisor)
        there = leftovers.of_state(known, attempt.intents)
        found = [one for one in there if one.hypervisor not in {name, ""}]
        if known.vm is None:  # its very first attempts were there
            return replace(known, left=leftovers.merged((*known.left, *found)))
        if found and known.vm.hypervisor != name:
            known = replace(
                known,
                host_id="",
                phase=Phase.ABSENT,
                image=None,
                others=(),
                places=(),
                added=None,
                destination=None,
                former=(),
            )
        for one in found:
            known = self._clean(replace(known, left=leftovers.merged((*known.left, one))), one, attempt.lease)
        return known

    def _clean(self, known: VmState, left: Leftover, lease: Lease) -> VmState:
        driver = self._drivers.get(left.hypervisor)
        if driver is None:
            return known
        try:
            return replace(known, left=Cleaner(driver, lease).clean(known, left.host).left)
        except StaleError:
            raise
        except FleetError:
            return known

    def _observe(self, attempt: Attempt, known: VmState, executor: Executor) -> Observed:
        event = attempt.event
        vm = _present_vm(at_goal(vm_of(known.vm, event), event), known, attempt, executor.driver)
        where = whereabouts(known, attempt.intents, vm, event, executor.driver)
        named = event.data.primary_storage is not None
        if isinstance(event, MigrateEvent) and event.data.phase is MigratePhase.PREPARE:
            destination = HostName(event.data.destination)
            vm, seen = executor.look_ahead(vm, destination, where.places, where.names, named=named)
        else:
            vm, seen = self._look(attempt, vm, where, executor, named=named)
        if known.vm is None:
            known = adopted(known, event, seen)
            where = replace(where, places=leftovers.in_order((*where.places, *known.places)))
        return Observed(known, vm, seen, where)

    def _look(
        self, attempt: Attempt, vm: Vm, where: Whereabouts, executor: Executor, *, named: bool
    ) -> tuple[Vm, Observation]:
        """Look at the VM. Nothing has to be removed from a storage that is no more."""
        try:
            return vm, executor.look(vm, where.places, where.names, named=named)
        except PermanentError as error:
            if error.code is not PermanentCode.STORAGE_NOT_FOUND or not attempt.only_takes_away:
                raise
        vm = replace(vm, primary_storage=None)
        return vm, executor.look(vm, where.places, where.names, named=False)

    # --- plan and execute -----------------------------------------------------------------------------------------

    def _carry_out(
        self,
        attempt: Attempt,
        observed: Observed,
        reached: Transition,
        executor: Executor,
        left: tuple[Leftover, ...],
    ) -> Settled:
        if reached.goal is None:
            return self._settle(attempt, reached)
        half_done = may_be_half_done(observed.known, attempt.event, reached.goal, again=attempt.attempt > 1)
        state_, goal, executed = executor.carry_out(observed, reached.state, reached.goal, half_done=half_done)
        after, found = remember(observed, state_, goal, executed)
        # Whoever reads only what became of a stop or destroy must learn of all that is left, whichever event left it.
        every = after.left if attempt.only_takes_away else (*left, *found)
        facts = _facts(goal, observed.seen, executed, every)
        return self._settle(
            attempt, replace(reached, state=after), facts, intents=(*attempt.intents, *executed.intents)
        )

    # --- settle ---------------------------------------------------------------------------------------------------

    def _may_leave(self, attempt: Attempt, error: FleetError) -> bool:
        """Whether an event that only takes away may end although something is broken; not at the first hiccup."""
        if not attempt.only_takes_away:
            return False
        if isinstance(error, PermanentError) or attempt.attempt >= self._leave_after:
            return True
        return attempt.waited >= self._leave_seconds or (bool(attempt.waiting) and error.code in _AWAY)

    def _leave(self, attempt: Attempt, known: VmState, error: FleetError) -> Settled:
        """Settle a stop or destroy that could not do all: what is left goes when it can."""
        event = attempt.event
        vm = vm_of(known.vm or _of_intents(attempt), event)
        here = Leftover(vm.hypervisor, vm.host, vm.zone, drive=True)
        found = leftovers.merged((here, *leftovers.of_state(known, attempt.intents)))
        reached = transition(known, event, GuestData(), live=False)
        after = replace(
            reached.state,
            vm=vm if reached.state.phase is Phase.GONE else reached.state.vm,
            places=(),
            others=(),
            former=(),
            left=leftovers.merged((*reached.state.left, *found)),
        )
        return self._settle(
            attempt,
            replace(reached, state=after),
            {"attach": "left", "left_behind": leftovers.named(after.left)},
            intents=attempt.intents,
            code=error.code,
            detail=f"{error.detail}: what is left of this VM goes when it can",
            remedy="nothing to do; of a host that is no more, take it out of the inventory and run `configdrive sweep`",
        )

    def _reject(self, attempt: Attempt, known: VmState, error: FleetError) -> Settled:
        """Settle a migration that there is no way for: the VM is where it was, and what comes after must not wait."""
        kept = replace(known, sequence=max(known.sequence, attempt.event.data.sequence))
        return self._end(attempt, Status.REJECTED, error.detail, code=error.code, remedy=error.remedy, known=kept)

    def _settle(  # noqa: PLR0913 - the parts of an outcome
        self,
        attempt: Attempt,
        reached: Transition,
        facts: dict[str, str] | None = None,
        *,
        intents: tuple[Intent, ...] = (),
        code: Code | None = None,
        detail: str | None = None,
        remedy: str = "",
    ) -> Settled:
        """Settle an event that was done, as far as it could be."""
        status, found = _AS_IF.get(reached.note, Status.APPLIED), facts or {}
        waits = reached.state.passwords.pending or reached.state.sealed.pending
        pending = status is Status.APPLIED and waits is not None
        if pending and found.get("password") != ON_DRIVE:
            found = {**found, "password": PENDING}
        words = reached.note.value if detail is None else detail
        settled = self._end(attempt, status, words, code=code, remedy=remedy, facts=found, known=reached.state)
        return replace(settled, intents=intents)

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
            source=attempt.event.source,
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
        text = state.dump(known, self._sealer, attempt.uuid)
        return Settled(outcome, text, _is_gone(known), known.left)


def _telling(settled: Settled, admitted: _Admitted) -> Settled:
    """Have the outcome say what was left out of the event."""
    event = admitted.attempt.event
    said = event.data.left_out if isinstance(event, ContentEvent) else ()
    left = "; ".join((*said, *admitted.guest.left_out))
    if not left:
        return settled
    outcome = settled.outcome
    return replace(settled, outcome=replace(outcome, facts=outcome.facts | {"left_out": left}))


def _successor(event: LifecycleEvent, waiting: tuple[Waiting, ...]) -> str | None:
    """Name the waiting event that makes this one pointless: one with a higher number that only takes away."""
    if isinstance(event, DestroyEvent):
        return None
    newer = {one.event_type for one in waiting if one.sequence > event.data.sequence}
    if _DESTROY in newer:
        return _DESTROY
    return _STOP if _STOP in newer and not isinstance(event, StopEvent) else None


def _of_intents(attempt: Attempt) -> Vm | None:
    """Return where a VM is of which only intents are known."""
    if not attempt.intents:
        return None
    first = attempt.intents[0]
    name = InstanceName(attempt.event.data.vm.instance_name)
    return Vm(attempt.uuid, name, HypervisorName(attempt.event.data.hypervisor), first.host)


def _present_vm(vm: Vm, known: VmState, attempt: Attempt, driver: HypervisorDriver) -> Vm:
    """Return the VM on a host of the inventory: the one that it names has another name now, or never was."""
    if vm.host in driver.hosts() or known.vm is None:
        return vm
    if vm.host == known.vm.host and known.host_id:
        return replace(vm, host=driver.host_of(known.host_id) or vm.host)
    return replace(vm, host=known.vm.host) if attempt.only_takes_away else vm


def _located(reached: Transition, event: LifecycleEvent, observed: Observed) -> Transition:
    """Say that the VM is where it was found, if not where it was named."""
    vm = reached.state.vm
    prepares = isinstance(event, MigrateEvent) and event.data.phase is MigratePhase.PREPARE
    if vm is None or prepares or vm.host == observed.vm.host:
        return reached
    return replace(reached, state=replace(reached.state, vm=replace(vm, host=observed.vm.host)))


def _is_no_way(event: LifecycleEvent, error: FleetError) -> bool:
    """Whether a migration names a host that is not there, or is one that the hypervisor cannot do."""
    if not isinstance(event, MigrateEvent):
        return False
    cannot = error.code is PermanentCode.NOT_SUPPORTED and event.data.phase is MigratePhase.PREPARE
    return cannot or error.code is PermanentCode.UNKNOWN_HOST


def _is_gone(known: VmRecord) -> bool:
    return known.phase is Phase.GONE and not known.left


def _facts(goal: Goal, seen: Observation, executed: Executed, left: tuple[Leftover, ...]) -> dict[str, str]:
    """What the outcome says to the orchestrator, beside its status."""
    facts: dict[str, str] = {}
    attachment = executed.attachment
    if goal.image is not None and seen.storage is not None:
        facts |= {"generation": str(goal.image.generation), "storage": seen.storage.storage}
        facts["password"] = NONE if goal.password is None else ON_DRIVE
    if attachment is not None:
        facts |= {"attach": attachment.how, "device": attachment.device, "path": attachment.path}
        facts |= attachment.facts
        if attachment.xml is not None:
            facts["xml"] = attachment.xml
    elif goal.drive is DriveGoal.EMPTY:
        facts["attach"] = "removed"
    if executed.remarks:
        facts["remarks"] = "; ".join(executed.remarks)
    return facts | ({"left_behind": leftovers.named(left)} if left else {})
