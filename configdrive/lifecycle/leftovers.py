"""Leftovers: what a host that was away still has of a VM, how it is noted, and taken away when the host is back.

A stop or destroy must not wait for a host that may never come back, and neither must a start on another host. So the
event ends, its outcome says what was left behind, the VM's state remembers the host (`VmState.left_on`), and `Cleaner`
finishes the work when that host answers again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from configdrive.errors import TransientCode, TransientError
from configdrive.lifecycle.execute import LIVE, Executed
from configdrive.lifecycle.plan import Delete, Step
from configdrive.lifecycle.state import Phase, VmRecord, VmState
from configdrive.lifecycle.transitions import Goal
from configdrive.model import HostName, Place, StoredImage, Vm
from configdrive.ports import HypervisorDriver, Inserted, Lease, Observation

_PRESENT = frozenset({Phase.STAGED, Phase.ATTACHED})


def places_left(seen: Observation, goal: Goal, steps: tuple[Step, ...], executed: Executed) -> tuple[Place, ...]:
    """Return the storages on which images of the VM may lie once the goal is reached."""
    deleted = {step.image for step in steps if isinstance(step, Delete)} - {*executed.kept}
    left = {*seen.unreachable, *(stored.place for stored in seen.images if stored not in deleted)}
    if goal.image is not None and seen.storage is not None:
        left.add(seen.storage)
    return in_order(left)


def hosts_left(known: VmState, vm: Vm, goal: Goal, seen: Observation, executed: Executed) -> tuple[HostName, ...]:
    """Return the hosts on which something was left behind: earlier and not taken away now, or by this plan."""
    cleaned = {vm.host, goal.left} if goal.others_go else set()
    left = {place.host or vm.host for place in seen.unreachable}
    if executed.away is not None:
        left.add(executed.away)
    return tuple(sorted({*known.left_on} - cleaned | left))


def remembering(reached: VmState, vm: Vm, places: tuple[Place, ...], left_on: Iterable[HostName]) -> VmState:
    """Return the state with what was left behind; of a VM that is gone, who it was is kept until nothing is."""
    hosts = tuple(sorted(set(left_on)))
    owner = vm if reached.phase is Phase.GONE and hosts else reached.vm
    return replace(reached, vm=owner, places=places, left_on=hosts)


def named(places: Iterable[Place], drives: Iterable[HostName] = ()) -> str:
    """Name what was left behind: `drive@<host>`, and images as `<storage>@<host>` or `<storage>@shared`."""
    left = [f"drive@{host}" for host in drives]
    return ", ".join(left + [f"{place.storage}@{place.host or 'shared'}" for place in places])


def in_order(places: Iterable[Place]) -> tuple[Place, ...]:
    """Return places in an order that does not depend on chance."""
    return tuple(sorted(set(places), key=lambda place: (place.storage, place.host or "")))


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Takes away what one VM has left on hosts that answer again.

    Args:
        driver: the VM's hypervisor.
        lease: the right to work on the VM, checked before each change.
    """

    driver: HypervisorDriver
    lease: Lease

    def clean(self, record: VmRecord, host: HostName) -> VmRecord:
        """Take away what a VM has left on one host; returns what is to be remembered.

        What the VM needs now stays. A host that is no longer in the inventory is given up.

        Raises:
            FleetError: the host is away still, or the VM runs on it; nothing is to be remembered.
        """
        if host not in record.left_on or record.vm is None:
            return record
        if host not in self.driver.hosts():
            kept = tuple(place for place in record.places if place.host != host)
            return _without(record, host, kept)
        there = replace(record.vm, host=host, primary_storage=None)
        seen = self.driver.observe(there, record.places)
        at_home = record.phase in _PRESENT and record.vm.host == host
        if not at_home:
            self._empty_drive(there, seen, record)
        wanted = [stored for stored in seen.images if _is_wanted(record, stored)]
        for stored in seen.images:
            if stored not in wanted:
                self.lease.check()
                self.driver.delete(there, stored)
        down = self._down(seen, host)
        elsewhere = (place for place in seen.unreachable if _is_elsewhere(place, host, record))
        left = in_order([*down, *elsewhere, *(stored.place for stored in wanted)])
        return replace(record, places=left) if down else _without(record, host, left)

    def _empty_drive(self, there: Vm, seen: Observation, record: VmRecord) -> None:
        """Empty the drive. A VM that was stopped or destroyed is not spared because it runs: the event said so.

        Raises:
            TransientError: `VM_BUSY`, when it runs here but is remembered elsewhere: a migration may have brought it.
        """
        if not isinstance(seen.drive, Inserted):
            return
        if record.phase in _PRESENT and seen.power in LIVE:
            detail = f"VM {there.instance_name} ({there.uuid}) runs on host {there.host}, not where it is meant to be"
            raise TransientError(TransientCode.VM_BUSY, detail, "send the event that says where it runs")
        self.lease.check()
        self.driver.detach(there)

    def _down(self, seen: Observation, host: HostName) -> tuple[Place, ...]:
        """Return what could not be listed on this host, without the storages that it does not have any more."""
        missed = [place for place in seen.unreachable if place.host in {None, host}]
        down = self.driver.survey(host).unreachable if missed else ()
        return tuple(place for place in missed if place in down)


def _is_wanted(record: VmRecord, stored: StoredImage) -> bool:
    """Whether it is the VM's present image, on a storage of the host it is on, or is prepared to go to."""
    if record.phase not in _PRESENT or record.vm is None or record.image is None:
        return False
    here = {None, record.vm.host, record.destination}
    # By its generation, not its name: the VM may have been renamed since.
    return stored.name.generation == record.image.generation and stored.place.host in here


def _is_elsewhere(place: Place, host: HostName, record: VmRecord) -> bool:
    """Whether a storage that cannot be listed from a host is other hosts' concern, and stays known."""
    if place.host is None:
        return record.phase in _PRESENT and record.vm is not None and record.vm.host != host
    return place.host != host


def _without(record: VmRecord, host: HostName, places: tuple[Place, ...]) -> VmRecord:
    left_on = tuple(one for one in record.left_on if one != host)
    owner = None if record.phase is Phase.GONE and not left_on else record.vm
    return replace(record, vm=owner, places=places, left_on=left_on)
