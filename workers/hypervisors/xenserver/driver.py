"""The driver port on XenServer and XCP-ng: what each verb does, in the order in which it does it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode
from configdrive.model import AttachBy, HostName, HypervisorName, ImageName, Place, Vm
from configdrive.places import at, line_up
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, Inserted, Observation, Survey, trusted
from workers.driverkit.storage_routes import (
    first_way,
    not_on_host,
    nothing_to_attach,
    nothing_to_copy,
    require_own,
)
from workers.driverkit.tables import unknown_host
from workers.hypervisors.xenserver.doctor import diagnose, fix
from workers.hypervisors.xenserver.drives import Drives
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.image_folder import ImageFolder, clear, find_images, line_at, stored_on
from workers.hypervisors.xenserver.inventory import parse
from workers.hypervisors.xenserver.slots import content, device_name
from workers.hypervisors.xenserver.survey import survey
from workers.hypervisors.xenserver.visit import Pool, parts_of
from workers.hypervisors.xenserver.vms import look, power_here, storage_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from configdrive.model import Image, StoredImage
    from configdrive.ports import Connections
    from workers.hypervisors.xenserver.records import HostRecord, SrRecord
    from workers.hypervisors.xenserver.visit import Visit

_UNSET: Final = "autodetect"
"""The slot of a VM that does not exist yet: XAPI's own word for it."""


class XenServerDriver:
    """XenServer and XCP-ng: see `configdrive.ports.HypervisorDriver` for what each verb promises.

    Args:
        pools: of the inventory.
    """

    name = HypervisorName("xenserver")

    def __init__(self, pools: Collection[Pool]) -> None:
        self._pools = {host: pool for pool in pools for host in pool.hosts}

    @classmethod
    def from_inventory(
        cls, section: Mapping[str, object], *, force_eject: bool = True, call_timeout: float = 30.0
    ) -> Self:
        """Build the driver from the inventory's `[xenserver]` table; connects to nothing yet.

        Args:
            section: the table.
            force_eject: has no effect: XAPI takes a medium out whether or not the guest holds the tray.
            call_timeout: seconds to wait for an answer; 90 at least for what mounts or waits for a guest.

        Raises:
            PermanentError: `MISCONFIGURED`.
        """
        _ = force_eject
        table = parse(section)
        pools = []
        for name, pool in table.pools.items():
            hosts = {HostName(host): one for host, one in table.hosts.items() if one.pool == name}
            if hosts:
                pools.append(Pool(name, pool, hosts, call_timeout))
        return cls(pools)

    def observe(self, vm: Vm, also: Collection[Place] = (), names: Collection[ImageName] | None = None) -> Observation:
        """Look at the VM and at its images.

        The power of a halted VM whose medium was inserted for another host is `UNDEFINED`: it is not this host's to
        empty. Its storage and its drive are reported all the same.

        Where many change images, the VM's turn is waited for before anything is asked: with neither call nor session.
        """
        for place in also:
            if place.identity is not None:
                line_up(line_at(place))
        pools: dict[Place, Pool] = {}
        unreachable: list[Place] = []
        with self._visit(vm.host) as visit:
            host = visit.live_host()
            own = find_images(visit, vm, names)
            found = look(visit, vm, host)
            root = None if found is None else storage_for(visit, found, host)
            if vm.primary_storage is not None:
                root = visit.storage(vm.primary_storage, host)
            storage = None if root is None else visit.place_of(root, host)
            for place in dict.fromkeys((*(() if storage is None else (storage,)), *also)):
                try:
                    with at(place), self._reach(place, vm.host, visit) as (there, _):
                        pools.setdefault(place, there.pool)
                except FleetError as error:
                    if place == storage and error.code is TransientCode.DEFERRED:
                        raise
                    unreachable.append(place)
            drives = () if found is None else found.drives
            places = [place for place, pool in pools.items() if pool is visit.pool]
            if names is None:
                clear(visit, vm, places)
            images = stored_on(places, own)
            seen = Observation(
                power=power_here(visit, host, found),
                storage=storage,
                drive=content(drives, vm.uuid),
                media=tuple(dict.fromkeys(drive.image.name for drive in drives if drive.image is not None)),
                host_id=host.uuid,
                vm_ref=None if found is None else found.record.uuid,
            )
        for pool in {pool for pool in pools.values() if pool is not visit.pool}:
            with pool.visit(next(iter(pool.hosts))) as there:
                places = [place for place, its in pools.items() if its is pool]
                images += stored_on(places, find_images(there, vm, names))
        return replace(seen, images=tuple(images), unreachable=tuple(unreachable))

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        require_own(vm, image.name)
        with self._folder(place, vm.host) as folder:
            folder.store(image.name, image.content, vm)

    def copy(self, vm: Vm, name: ImageName, source: Place, target: Place, genuine: Genuine = trusted) -> None:
        """Make `target` hold the same bytes as `source` under the same name, if they are what the name promises.

        XAPI migrates no VM that has a medium from one host's own ISO SR in a drive (`VM_REQUIRES_SR`). So the image's
        copy to another host's, which prepares a migration, ends with the original being ejected; `attach` inserts the
        copy once the VM is there, or the original again when it stays.
        """
        require_own(vm, name)
        with self._folder(source, vm.host) as folder:
            there = folder.read(name)
        if there is None or not genuine(hashlib.sha256(there).hexdigest()):
            raise nothing_to_copy(name, source)
        if source != target:
            with self._folder(target, vm.host) as folder:
                folder.store(name, there, vm)
        if source.host is not None and target.host not in {None, source.host}:
            self._eject_for_migration(vm, Inserted(name, source), source.host)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on.

        The path is the ISO SR's uuid and the VDI's name label.
        """
        require_own(vm, name)
        with self._visit(vm.host) as visit:
            host = visit.live_host()
            storage = _readable(visit, vm, host, place)
            found = look(visit, vm, host)
            if found is None and vm.attach_by is AttachBy.FLEET:
                raise not_on_host(vm)
            folder = ImageFolder(visit, storage, host)
            if folder.iso_sr is None:
                raise nothing_to_attach(name, place)
            path = f"{folder.iso_sr.uuid}/{name}"
            drives = None if found is None else Drives(visit, vm, found)
            if drives is None or vm.attach_by is AttachBy.ORCHESTRATOR:
                slot = _UNSET if drives is None else drives.device(vm.presentation)
                return Attachment(AttachedHow.ORCHESTRATOR, device_name(slot), path)
            vdi = folder.known(name)
            if vdi is None:
                raise nothing_to_attach(name, place)
            folder.attach()
            try:
                attached = drives.insert(vdi, vm.presentation)
            except Failure as failure:
                if (code_of(failure), param_of(failure, 1)) != ("HANDLE_INVALID", "VDI"):
                    raise
                folder.forget(name)
                raise nothing_to_attach(name, place) from None
        return Attachment(attached.how, device_name(attached.userdevice), path, facts=attached.facts)

    def detach(self, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None) -> None:
        """Take images out of the VM's drives, now and in its persistent definition; all of them without `media`.

        `added` is not needed: a drive that the fleet has added bears its mark.
        """
        _ = added
        with self._visit(vm.host) as visit:
            found = look(visit, vm, visit.live_host())
            if found is not None:
                Drives(visit, vm, found).remove(media)

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        """Delete one image; gone already is success."""
        with self._folder(image.place, vm.host) as folder:
            folder.remove(image.name, None if anyones else vm)

    def host_of(self, host_id: str) -> HostName | None:
        """Return the inventory's name of the host with this uuid."""
        for pool in dict.fromkeys(self._pools.values()):
            with suppress(FleetError), pool.visit(next(iter(pool.hosts))) as visit:
                name = visit.name_of_host(visit.host_with(host_id))
                if name is not None:
                    return name
        return None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet."""
        with self._visit(host) as visit:
            visit.live_host()
            return survey(visit)

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._pools.keys()

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage."""
        try:
            pool = self._pool_of(host)
        except PermanentError as error:
            return iter([Check(f"xenserver host {host}", ok=False, detail=error.detail, remedy=error.remedy)])
        return diagnose(pool, host, dict.fromkeys(self._pools.values()))

    def fix(self, host: HostName) -> Iterator[Check]:
        """Make the ISO SR of each storage of a host, and with SSH its folder, as its first image would."""
        try:
            pool = self._pool_of(host)
        except PermanentError:  # `check` says so
            return iter(())
        return fix(pool, host)

    def connections(self) -> Collection[Connections]:
        """Count the connections of this process: sessions with each pool, and SSH to its hosts."""
        return [one for pool in dict.fromkeys(self._pools.values()) for one in pool.connections()]

    def close(self) -> None:
        """Log all sessions of this process out, and close its connections."""
        for pool in set(self._pools.values()):
            pool.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _pool_of(self, host: HostName) -> Pool:
        pool = self._pools.get(host)
        if pool is None:
            raise unknown_host(self.name, host)
        return pool

    def _visit(self, host: HostName) -> AbstractContextManager[Visit]:
        return self._pool_of(host).visit(host)

    def _reach(
        self, place: Place, via: HostName, visit: Visit | None = None
    ) -> AbstractContextManager[tuple[Visit, tuple[SrRecord, HostRecord]]]:
        """Give a place's storage through its own host; that of a shared one through whichever host has it.

        The VM's pool goes first. One that does not answer is not passed by: the VM may have the image there.

        Args:
            place: which.
            via: the VM's host.
            visit: one that is going on.
        """
        own = self._pool_of(via)
        theirs = None if place.host is None else self._pools.get(place.host)
        if place.host is not None and theirs is None and place.identity is None:
            raise unknown_host(self.name, place.host)
        pools = dict.fromkeys((own, *self._pools.values())) if theirs is None else [theirs]
        hosts = (via if pool is own else next(iter(pool.hosts)) for pool in pools)
        ways = (self._visit(host) if visit is None or visit.name != host else nullcontext(visit) for host in hosts)
        return first_way(ways, lambda visit: visit.locate(place))

    @contextmanager
    def _folder(self, place: Place, via: HostName) -> Iterator[ImageFolder]:
        with self._reach(place, via) as (visit, where):
            yield ImageFolder(visit, *where)

    def _eject_for_migration(self, vm: Vm, image: Inserted, host: HostName) -> None:
        with self._visit(host) as visit:
            found = look(visit, vm, visit.host)
            if found is not None and found.record.is_live:
                Drives(visit, vm, found).give_up(image)


def _readable(visit: Visit, vm: Vm, host: HostRecord, place: Place) -> SrRecord:
    sr, at = parts_of(place)
    if at not in {"", host.uuid} or (not sr and place.host not in {None, vm.host}):
        detail = f"host {vm.host} cannot read the storage {place.storage!r} of host {place.host}"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail)
    return visit.storage(sr or place.storage, host)
