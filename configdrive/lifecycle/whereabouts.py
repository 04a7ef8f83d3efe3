"""The whereabouts of a VM's images and drives: where to look for them, and what to remember of it afterwards. Pure.

An event looks where the state, the intents of attempts that never ended, and the leftovers on its host say that
something may be, and asks for exact file names. Only of a VM of which nothing is remembered are folders listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from configdrive.contract.events import LifecycleEvent, MigrateEvent, MigratePhase
from configdrive.lifecycle import leftovers
from configdrive.lifecycle.execute import Executed
from configdrive.lifecycle.plan import Observed, Whereabouts, may_be_one_folder
from configdrive.lifecycle.state import Leftover, Phase, VmState, name_of
from configdrive.lifecycle.transitions import DriveGoal, Goal
from configdrive.model import AttachBy, HostName, Intent, StoredImage, Vm
from configdrive.ports import HypervisorDriver


def whereabouts(
    known: VmState, intents: tuple[Intent, ...], vm: Vm, event: LifecycleEvent | None, driver: HypervisorDriver
) -> Whereabouts:
    """Return where an event has to look.

    Args:
        known: what is remembered of the VM.
        intents: what attempts were about to do that never ended.
        vm: the VM where the event's goal lies.
        event: the event, if there is one.
        driver: of the VM's hypervisor.
    """
    intents = tuple(one for one in intents if one.hypervisor in {vm.hypervisor, ""})
    here = [one for one in known.left if one.hypervisor == vm.hypervisor and one.host == vm.host]
    intended = [StoredImage(name_of(one.file), one.place) for one in intents]
    left = [StoredImage(name_of(file), place) for one in here for place in one.places for file in one.files]
    places = leftovers.in_order((*known.places, *(one.place for one in (*intended, *left))))
    files = dict.fromkeys((*known.files, *(one.name.file for one in (*intended, *left))))
    names = None if known.vm is None and known.image is None else tuple(name_of(file) for file in files if file)
    hosts = dict.fromkeys(
        host for name, host_id in _other_hosts(known, intents, event) if (host := _present(name, host_id, driver))
    )
    others = () if vm.attach_by is AttachBy.ORCHESTRATOR else tuple(host for host in hosts if host != vm.host)
    stale = tuple(name_of(file) for one in here if one.drive for file in one.files)
    return Whereabouts(places, names, (*intended, *left), others, stale)


def _other_hosts(
    known: VmState, intents: tuple[Intent, ...], event: LifecycleEvent | None
) -> Iterator[tuple[str | None, str]]:
    """Yield hosts that may have a drive of the VM, with what they say of themselves, if that is known."""
    if known.vm is not None and known.is_present:  # a deploy leaves the drive as it is
        yield known.vm.host, known.host_id
    yield known.destination, ""
    for former in known.former:
        yield former.host, former.host_id
    for one in intents:
        yield one.host, one.host_id
    if isinstance(event, MigrateEvent) and event.data.phase is MigratePhase.ROLLBACK:
        yield event.data.destination, ""
    if isinstance(event, MigrateEvent) and known.vm is None:
        yield event.data.host, ""


def _present(name: str | None, host_id: str, driver: HypervisorDriver) -> HostName | None:
    """Return the name by which the inventory has a host now; `None` when it is no more."""
    if name is None:
        return None
    host = HostName(name)
    if host in driver.hosts():
        return host
    return driver.host_of(host_id) if host_id else None


def remember(observed: Observed, reached: VmState, goal: Goal, done: Executed) -> tuple[VmState, tuple[Leftover, ...]]:
    """Return the state once the goal is reached, and what the plan has left behind."""
    known, vm, seen = observed.known, observed.vm, observed.seen
    stays = [one for one in seen.images if one not in done.deleted and one not in done.kept]
    places, files = {one.place for one in stays}, {one.name.file for one in stays}
    left: tuple[Leftover, ...] = ()
    if goal.others_go:
        every = {
            *known.files,
            *(name.file for name in observed.where.names or ()),
            *(one.name.file for one in seen.images),
        }
        left = leftovers.merged(
            (
                *leftovers.of_images(vm, done.kept),
                *leftovers.of_places(vm, seen.unreachable, every),
                *leftovers.of_drives(vm, done.away, every, known.added),
            )
        )
        reached = replace(reached, former=())
    else:
        places, files = places | {*known.places}, files | {*known.files}
    if goal.image is not None:
        files.discard(goal.image.file)
        if seen.storage is not None and not may_be_one_folder(observed, goal):
            places.add(seen.storage)
    mark = None if done.attachment is None else done.attachment.added
    kept_mark = None if goal.drive is DriveGoal.EMPTY else known.added
    here = (vm.hypervisor, vm.host) if goal.others_go else None
    elsewhere = (one for one in reached.left if (one.hypervisor, one.host) != here)
    all_left = leftovers.merged((*elsewhere, *left))
    owner = vm if reached.phase is Phase.GONE and all_left else reached.vm
    host_id = seen.host_id if owner is not None and owner.host == vm.host else known.host_id
    return (
        replace(
            reached,
            vm=owner,
            host_id="" if owner is None else host_id,
            places=leftovers.in_order(places),
            others=tuple(sorted(files)),
            added=mark or kept_mark,
            copied=not goal.others_go and not done.arrived,
            left=all_left,
        ),
        left,
    )
