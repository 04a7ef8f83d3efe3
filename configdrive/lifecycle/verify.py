"""The verification of a VM whose worker may have left it half-done: it lost its lease, or its event was given up.

What the state does not name goes, and what it names is there again. No event is at work meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle import leftovers, state
from configdrive.lifecycle.execute import Executor, Job
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.plan import Observed, media_of
from configdrive.lifecycle.settled import Verified
from configdrive.lifecycle.state import Leftover, Phase, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal, password_of
from configdrive.lifecycle.whereabouts import remember, whereabouts
from configdrive.model import DriveSettings, HypervisorName, InstanceName, Intent, Vm, VmUuid
from configdrive.ports import Drivers, HypervisorDriver, ImageNamer, Lease, Observation, Observer, Sealer


@dataclass(frozen=True, slots=True)
class Verifier:
    """Looks after VMs; see `configdrive.ports` for the parts, and `Reconciler` for the settings."""

    drivers: Drivers
    sealer: Sealer
    namer: ImageNamer
    observer: Observer
    drives: DriveSettings

    def verify(self, uuid: VmUuid, text: str | None, intents: tuple[Intent, ...], lease: Lease) -> Verified:
        """Make true what the state says.

        Args:
            uuid: the VM.
            text: its state at rest; `None` when nothing is remembered.
            intents: what attempts were about to do that never ended.
            lease: the right to work on the VM.

        Raises:
            FleetError: it cannot be done now; nothing is to be remembered.
        """
        known = state.load(text, self.sealer, uuid)
        first = intents[0] if intents else None
        vm = known.vm or (None if first is None else Vm(uuid, InstanceName(""), first.hypervisor, first.host))
        if vm is None:
            return Verified()
        driver = self._driver(vm.hypervisor)
        if known.is_present:
            there = (one for one in intents if one.hypervisor not in {vm.hypervisor, ""})
            known = replace(known, left=leftovers.merged((*known.left, *leftovers.of_state(VmState(), tuple(there)))))
            known = self._restore(known, vm, intents, driver, lease)
        else:
            here = Leftover(vm.hypervisor, vm.host, vm.zone, known.host_id, drive=True, added=known.added)
            left = leftovers.merged((*known.left, here, *leftovers.of_state(known, intents)))
            known = self._clean(replace(known, vm=vm, left=left), driver, lease)
        gone = known.phase is Phase.GONE and not known.left
        owner = known.vm if known.left or known.phase is not Phase.GONE else None
        after = state.dump(replace(known, vm=owner), self.sealer, uuid)
        return Verified(None if text is None and not known.left else after, gone, known.left, intents)

    def _driver(self, name: HypervisorName) -> HypervisorDriver:
        if name not in self.drivers:
            detail = f"this worker has no driver {name!r}"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, "add it to the setting 'hypervisors'")
        return self.drivers[name]

    def _clean(self, known: VmState, driver: HypervisorDriver, lease: Lease) -> VmState:
        cleaner = Cleaner(driver, lease)
        for one in known.left:
            if one.hypervisor == driver.name:
                known = replace(known, left=cleaner.clean(known, one.host).left)
        return known

    def _restore(
        self, known: VmState, vm: Vm, intents: tuple[Intent, ...], driver: HypervisorDriver, lease: Lease
    ) -> VmState:
        executor = Executor(Job("", "verify", vm.uuid), driver, lease, self.observer, self.namer, self.drives)
        where = whereabouts(known, intents, vm, None, driver)
        seen = executor.look(vm, where.places, where.names, named=False)
        attached = known.phase is Phase.ATTACHED
        late = tuple(name for name in media_of(seen) if name.vm_uuid == vm.uuid and name.file not in known.files)
        if late and not attached:
            lease.check()
            driver.detach(vm, late, known.added)
            seen = executor.look(vm, where.places, where.names, named=False)
        drive = DriveGoal.ATTACHED if attached else DriveGoal.AS_IT_IS
        goal = Goal(drive, known.image, password=password_of(known))
        if known.destination is not None:
            seen = self._without_orphans(known, vm, seen, driver, lease)
            goal = replace(goal, others_go=False)
        observed = Observed(known, vm, seen, where)
        reached, goal, done = executor.carry_out(observed, known, goal, half_done=False)
        known = remember(observed, reached, goal, done)[0]
        if known.destination is None:
            return known
        goal = replace(goal, drive=DriveGoal.AS_IT_IS)  # as the migration's `prepare` has left it
        there, seen = executor.look_ahead(vm, known.destination, where.places, where.names, named=False)
        observed = Observed(known, there, seen, where)
        reached, goal, done = executor.carry_out(observed, known, goal, half_done=False)
        return remember(observed, reached, goal, done)[0]

    def _without_orphans(
        self, known: VmState, vm: Vm, seen: Observation, driver: HypervisorDriver, lease: Lease
    ) -> Observation:
        """Delete what a prepared migration, which has the image in two places, needs in neither."""
        stays = []
        for stored in seen.images:
            if stored.name.file in known.files and stored.place in known.places:
                stays.append(stored)
            else:
                lease.check()
                driver.delete(vm, stored, anyones=False)
        return replace(seen, images=tuple(stays))
