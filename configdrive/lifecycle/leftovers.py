"""Leftovers: what hosts still have of a VM, how it is noted, and taken away when they can give it up.

A stop or destroy must not wait for a host or storage that may never come back, and neither must a start on another
host. So the event ends, its outcome says what was left behind, the VM's state remembers it (`VmRecord.left`), and
`Cleaner` finishes the work when the host can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from configdrive.errors import FleetError, StaleError, TransientCode, TransientError
from configdrive.lifecycle.plan import media_of
from configdrive.lifecycle.state import Leftover, Phase, VmRecord, name_of
from configdrive.lifecycle.transitions import LIVE
from configdrive.model import HostName, HypervisorName, Intent, Place, StoredImage, Vm
from configdrive.ports import HypervisorDriver, Lease, Observation


def merged(found: Iterable[Leftover]) -> tuple[Leftover, ...]:
    """Return leftovers with one entry for each host, in a steady order."""
    hosts: dict[tuple[HypervisorName, HostName], Leftover] = {}
    for one in found:
        key = one.hypervisor, one.host
        known = hosts.setdefault(key, one)
        hosts[key] = replace(
            known,
            zone=known.zone or one.zone,
            host_id=known.host_id or one.host_id,
            places=in_order((*known.places, *one.places)),
            files=tuple(sorted({*known.files, *one.files})),
            drive=known.drive or one.drive,
            added=known.added or one.added,
        )
    return tuple(hosts[key] for key in sorted(hosts))


def of_drives(vm: Vm, hosts: Collection[HostName], files: Collection[str], added: str | None) -> tuple[Leftover, ...]:
    """Note hosts on which the VM's drive may hold one of these files."""
    return tuple(
        Leftover(vm.hypervisor, host, vm.zone, files=tuple(sorted(files)), drive=True, added=added) for host in hosts
    )


def of_images(vm: Vm, images: Iterable[StoredImage]) -> tuple[Leftover, ...]:
    """Note images that could not be deleted."""
    return merged(
        Leftover(vm.hypervisor, one.place.host or vm.host, vm.zone, places=(one.place,), files=(one.name.file,))
        for one in images
    )


def of_places(vm: Vm, places: Iterable[Place], files: Collection[str]) -> tuple[Leftover, ...]:
    """Note storages that could not be reached, and may hold one of these files."""
    return merged(
        Leftover(vm.hypervisor, place.host or vm.host, vm.zone, places=(place,), files=tuple(files)) for place in places
    )


def of_state(known: VmRecord, intents: Collection[Intent]) -> tuple[Leftover, ...]:
    """Note all that the present state and the intents say of where something of the VM may be."""
    found = [
        Leftover(one.hypervisor, one.host, None, one.host_id, (one.place,), (one.file,), drive=True) for one in intents
    ]
    somewhere = known.is_present or known.places or known.former or known.destination is not None
    if known.vm is not None and somewhere:
        found += _of_drives_and_places(known, known.vm)
    return merged(found)


def _of_drives_and_places(known: VmRecord, vm: Vm) -> Iterator[Leftover]:
    """Yield each host that may have a drive, with what every host sees of the storages, and what only it does."""
    hosts = {vm.host: known.host_id, **{one.host: one.host_id for one in known.former}}
    if known.destination is not None:
        hosts.setdefault(known.destination, "")
    shared = tuple(place for place in known.places if place.host is None)
    for host, host_id in hosts.items():
        yield Leftover(vm.hypervisor, host, vm.zone, host_id, shared, known.files, drive=True, added=known.added)
    for place in known.places:
        if place.host is not None:
            yield Leftover(vm.hypervisor, place.host, vm.zone, places=(place,), files=known.files)


def named(left: Iterable[Leftover]) -> str:
    """Name what was left behind: `drive@<host>`, and images as `<storage>@<host>` or `<storage>@shared`."""
    drives = [f"drive@{one.host}" for one in left if one.drive]
    places = in_order(place for one in left for place in one.places)
    return ", ".join(drives + [f"{place.storage}@{place.host or 'shared'}" for place in places])


def in_order(places: Iterable[Place]) -> tuple[Place, ...]:
    """Return places in an order that does not depend on chance."""
    return tuple(sorted(set(places), key=lambda place: (place.storage, place.host or "")))


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Takes away what one VM has left on a host.

    Args:
        driver: of the host's hypervisor.
        lease: the right to work on the VM, checked before each change.
    """

    driver: HypervisorDriver
    lease: Lease

    def clean(self, record: VmRecord, host: HostName) -> VmRecord:
        """Take away what a VM has left on one host; returns what is to be remembered.

        What the VM needs now stays. A host that is no longer in the inventory is given up, unless it is there under
        another name; what it shared with others is looked for through one of them.

        Raises:
            FleetError: nothing could be done now; nothing is to be remembered.
        """
        left = next((one for one in record.left if (one.hypervisor, one.host) == (self.driver.name, host)), None)
        if left is None or record.vm is None:
            return record
        remains = self.remains(record, record.vm, left)
        others = (one for one in record.left if one is not left)
        all_left = merged((*others, *(() if remains is None else (remains,))))
        owner = None if record.phase is Phase.GONE and not all_left else record.vm
        return replace(record, vm=owner, host_id="" if owner is None else record.host_id, left=all_left)

    def remains(self, record: VmRecord, vm: Vm, left: Leftover) -> Leftover | None:
        """Take away what can be; returns what could not.

        Raises:
            FleetError: as `clean`.
        """
        known_as = self._present_name(left)
        host = known_as or self._stand_in(vm)
        if known_as is None:
            left = replace(left, places=tuple(place for place in left.places if place.host != left.host), drive=False)
        if host is None or (known_as is None and not left.places):
            return None
        there = replace(vm, hypervisor=self.driver.name, host=host, primary_storage=None)
        names = [name_of(file) for file in left.files] or None
        seen = self.driver.observe(there, left.places, names)
        if known_as is not None and not self._is_home(record, host, seen):
            self._empty_drive(there, seen, record, left.added)
        kept = [stored for stored in self._unwanted(record, left, seen) if not self._deleted(there, stored)]
        down = self._down(seen, left, host)
        if not kept and not down:
            return None
        files = {*(one.name.file for one in kept), *(left.files if down else ())}
        places = in_order((*down, *(one.place for one in kept)))
        return replace(left, host=known_as or left.host, places=places, files=tuple(sorted(files)), drive=False)

    def _present_name(self, left: Leftover) -> HostName | None:
        if left.host in self.driver.hosts():
            return left.host
        return self.driver.host_of(left.host_id) if left.host_id else None

    def _stand_in(self, vm: Vm) -> HostName | None:
        """Return a host that may see the storages which a host shared that is no more."""
        hosts = self.driver.hosts()
        return vm.host if vm.host in hosts else min(hosts, default=None)

    def _is_home(self, record: VmRecord, host: HostName, seen: Observation) -> bool:
        if not record.is_present or record.vm is None or record.vm.hypervisor != self.driver.name:
            return False
        return record.vm.host == host or (bool(seen.host_id) and seen.host_id == record.host_id)

    def _unwanted(self, record: VmRecord, left: Leftover, seen: Observation) -> list[StoredImage]:
        """Return what is to be deleted: what is seen, and what may be there though it is not seen."""
        here = record.is_present and record.vm is not None and record.vm.hypervisor == self.driver.name
        unseen = (
            StoredImage(name_of(file), place)
            for place in left.places
            if place not in seen.unreachable
            for file in left.files
        )
        return [
            stored
            for stored in dict.fromkeys((*seen.images, *unseen))
            if not (here and stored.name.file in record.files and stored.place in record.places)
        ]

    def _down(self, seen: Observation, left: Leftover, host: HostName) -> tuple[Place, ...]:
        """Return what could not be looked at, without the storages that the host does not have any more."""
        missed = [place for place in seen.unreachable if place in left.places]
        down = self.driver.survey(host).unreachable if missed else ()
        there = {(place.storage, place.host) for place in down}  # what is down may not say who it is
        return tuple(place for place in missed if (place.storage, place.host) in there)

    def _deleted(self, there: Vm, stored: StoredImage) -> bool:
        self.lease.check()
        try:
            self.driver.delete(there, stored, anyones=False)
        except StaleError:
            raise
        except FleetError:
            return False
        return True

    def _empty_drive(self, there: Vm, seen: Observation, record: VmRecord, added: str | None) -> None:
        """Empty the drive. A VM that was stopped or destroyed is not spared because it runs: the event said so.

        Raises:
            TransientError: `VM_BUSY`, when it runs here but is remembered elsewhere: a migration may have brought it.
        """
        media = media_of(seen)
        if not media:
            return
        if record.is_present and seen.power in LIVE:
            detail = f"VM {there.instance_name} ({there.uuid}) runs on host {there.host}, not where it is meant to be"
            raise TransientError(TransientCode.VM_BUSY, detail, "send the event that says where it runs")
        self.lease.check()
        self.driver.detach(there, media, added)
