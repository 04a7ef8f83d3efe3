"""The driver port on XenServer and XCP-ng: what each verb does, in the order in which it does it.

A VM of a pool is known to all its hosts. It is on the host where it runs; a halted one is on every host that has the
storage of its root disk, but while the config drive's medium was inserted for another host, it is that one's.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Self

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import AttachBy, HostName, HypervisorName, ImageName, Place, PowerState, StoredImage, Vm
from configdrive.ports import AttachedHow, Attachment, Check, Genuine, NoDrive, Observation, Survey, trusted
from workers.hypervisors.xenserver.doctor import diagnose
from workers.hypervisors.xenserver.drives import Drives, content
from workers.hypervisors.xenserver.faults import code_of, param_of
from workers.hypervisors.xenserver.inventory import parse
from workers.hypervisors.xenserver.lookup import images_in, images_of, is_another_s, locate, look
from workers.hypervisors.xenserver.names import device_name, location_of
from workers.hypervisors.xenserver.repositories import require
from workers.hypervisors.xenserver.survey import survey
from workers.hypervisors.xenserver.visit import Pool

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from configdrive.model import Image
    from configdrive.ports import Connections
    from workers.hypervisors.xenserver.records import HostRecord, SrRecord
    from workers.hypervisors.xenserver.visit import Visit

POWER: Final = {
    "Halted": PowerState.HALTED,
    "Running": PowerState.RUNNING,
    "Paused": PowerState.PAUSED,
    "Suspended": PowerState.SUSPENDED,
}

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

    def observe(
        self,
        vm: Vm,
        also: Collection[Place] = (),
        names: Collection[ImageName] | None = None,  # noqa: ARG002 - lists
    ) -> Observation:
        """Look at the VM and list its images.

        The power of a halted VM whose medium was inserted for another host is `UNDEFINED`: it is not this host's to
        empty. Its storage and its drive are told all the same.
        """
        with self._visit(vm.host) as visit:
            host = visit.live_host()
            record, drives, root = look(visit, vm, host)
            power = PowerState.UNDEFINED if record is None else POWER[record.power_state]
            if record is not None and is_another_s(visit, record, drives):
                power = PowerState.UNDEFINED
            if vm.primary_storage is not None:
                root = visit.storage(vm.primary_storage, host)
            storage = None if root is None else visit.place_of(root, host)
            if root is not None:
                visit.require_attached(root, host)
            wanted = {} if storage is None else {storage: visit.pool}
            unreachable: list[Place] = []
            for place in dict.fromkeys(also):
                try:
                    with self._reach(place, vm.host, visit) as (there, _, _):
                        wanted.setdefault(place, there.pool)
                except FleetError:
                    unreachable.append(place)
            drive = NoDrive() if record is None else content(drives, vm.uuid)
            images = images_of(visit, vm, [place for place, pool in wanted.items() if pool is visit.pool])
        for pool in {pool for pool in wanted.values() if pool is not visit.pool}:
            with pool.visit(next(iter(pool.hosts))) as there:
                images += images_of(there, vm, [place for place, its in wanted.items() if its is pool])
        return Observation(power, storage, drive, tuple(images), tuple(unreachable))

    def upload(self, vm: Vm, image: Image, place: Place) -> None:
        """Make `place` hold exactly these bytes under the image's name."""
        _require_own(vm, image.name)
        self._store(vm, image.name, image.content, place)

    def copy(
        self,
        vm: Vm,
        name: ImageName,
        source: Place,
        target: Place,
        genuine: Genuine = trusted,  # noqa: ARG002 - trusts
    ) -> None:
        """Make `target` hold the same bytes as `source` under the same name.

        XAPI migrates no VM that has a medium from one host's own ISO SR in a drive (`VM_REQUIRES_SR`). So the image's
        copy to another host's, which prepares a migration, ends with the original being ejected; `attach` inserts the
        copy once the VM is there, or the original again when it stays.
        """
        _require_own(vm, name)
        with self._reach(source, vm.host) as (visit, storage, host):
            repository = visit.repository(storage, host)
            there = None if repository is None else images_in(visit, storage, host, repository).read(name)
        if there is None:
            detail = f"storage {source.storage!r} does not hold the image {name}"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail)
        if source != target:
            self._store(vm, name, there, target)
        if None not in {source.host, target.host} and source.host != target.host:
            self._eject_for_migration(vm, name, source)

    def attach(self, vm: Vm, name: ImageName, place: Place) -> Attachment:
        """Make this image the read-only medium of the VM's config drive, now and after the next power-on.

        The path is the ISO SR's uuid and the VDI's name label.
        """
        _require_own(vm, name)
        with self._visit(vm.host) as visit:
            host = visit.live_host()
            storage = _readable(visit, vm, host, place)
            record, drives, _ = look(visit, vm, host)
            if record is None and vm.attach_by is AttachBy.FLEET:
                detail = f"host {vm.host} knows no VM {vm.instance_name} ({vm.uuid})"
                raise PermanentError(PermanentCode.VM_NOT_FOUND, detail, "correct the event's host, or make the VM")
            repository = visit.repository(storage, host)
            if repository is None:
                raise _missing(name, place)
            path = f"{repository.uuid}/{name}"
            changes = None if record is None else Drives(visit.xapi, vm.uuid, record, drives, vm.host)
            if changes is None or vm.attach_by is AttachBy.ORCHESTRATOR:
                slot = _UNSET if changes is None else changes.device(vm.presentation)
                return Attachment(AttachedHow.ORCHESTRATOR, device_name(slot), path)
            vdi = visit.uploaded(repository.ref, location_of(name))
            if vdi is None:
                found = images_in(visit, storage, host, repository).find(name)
                vdi = None if found is None else found.ref
            if vdi is None:
                raise _missing(name, place)
            require(visit, storage, host, None)  # attached on this host too
            try:
                done = changes.insert(vdi, vm.presentation)
            except Failure as failure:
                if (code_of(failure), param_of(failure, 1)) != ("HANDLE_INVALID", "VDI"):
                    raise
                visit.note_upload(repository.ref, location_of(name), None)
                raise _missing(name, place) from None
        return Attachment(done.how, device_name(done.userdevice), path)

    def detach(
        self,
        vm: Vm,
        media: Collection[ImageName] | None = None,  # noqa: ARG002 - takes all
        added: str | None = None,  # noqa: ARG002 - asks nobody
    ) -> None:
        """Leave no image of the fleet in any drive of the VM, now and in its persistent definition."""
        with self._visit(vm.host) as visit:
            record, drives, _ = look(visit, vm, visit.live_host())
            if record is not None:
                Drives(visit.xapi, vm.uuid, record, drives, vm.host).remove_all()

    def delete(self, vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:  # noqa: ARG002 - always
        """Delete one image; gone already is success."""
        with self._reach(image.place, vm.host) as (visit, storage, host):
            repository = visit.repository(storage, host)
            if repository is not None:
                images_in(visit, storage, host, repository).remove(image.name)

    def host_of(self, host_id: str) -> HostName | None:  # noqa: ARG002 - none is known
        """Return the inventory's name of the host that says this of itself."""
        return None

    def survey(self, host: HostName) -> Survey:
        """Look at all that one host has of the fleet."""
        with self._visit(host) as visit:
            visit.live_host()
            return survey(visit, POWER)

    def hosts(self) -> Collection[HostName]:
        """Name the hosts of the inventory."""
        return self._pools.keys()

    def check(self, host: HostName) -> Iterator[Check]:
        """Try one host from connection to storage."""
        try:
            pool = self._pool_of(host)
        except PermanentError as error:
            return iter([Check(f"xenserver host {host}", ok=False, detail=error.detail, remedy=error.remedy)])
        return diagnose(pool, host)

    def connections(self) -> Collection[Connections]:
        """Count the sessions of this process with each pool."""
        return [pool.sessions.tally.now for pool in dict.fromkeys(self._pools.values())]

    def close(self) -> None:
        """Log all sessions of this process out."""
        for pool in set(self._pools.values()):
            pool.sessions.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _pool_of(self, host: HostName) -> Pool:
        pool = self._pools.get(host)
        if pool is None:
            remedy = f"add [xenserver.hosts.{host}] to the inventory, or correct the event"
            detail = f"the xenserver inventory has no host {host!r}"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, detail, remedy)
        return pool

    @contextmanager
    def _visit(self, host: HostName) -> Iterator[Visit]:
        with self._pool_of(host).visit(host) as visit:
            yield visit

    @contextmanager
    def _reach(
        self, place: Place, via: HostName, visit: Visit | None = None
    ) -> Iterator[tuple[Visit, SrRecord, HostRecord]]:
        """Give a place's storage through its own host; that of a shared one through whichever host has it.

        The VM's pool goes first. One that does not answer is not passed by: the VM may have the image there.
        """
        first: PermanentError | None = None
        own = self._pool_of(via)
        pools = [self._pool_of(place.host)] if place.host else dict.fromkeys((own, *self._pools.values()))
        for pool in pools:
            with ExitStack() as stack:
                there = visit if visit is not None and visit.pool is pool else None
                there = there or stack.enter_context(pool.visit(via if pool is own else next(iter(pool.hosts))))
                try:
                    storage, host = locate(there, place)
                except PermanentError as error:
                    first = first or error
                    continue
                yield there, storage, host
                return
        assert first is not None  # noqa: S101  # there is a pool
        raise first

    def _store(self, vm: Vm, name: ImageName, data: bytes, place: Place) -> None:
        with self._reach(place, vm.host) as (visit, storage, host):
            dom0 = visit.pool.dom0(visit.name_of_host(host) or visit.name)
            repository = require(visit, storage, host, dom0)
            images_in(visit, storage, host, repository).store(name, data)

    def _eject_for_migration(self, vm: Vm, name: ImageName, source: Place) -> None:
        assert source.host is not None  # noqa: S101  # looked at above
        with self._visit(source.host) as visit:
            record, drives, _ = look(visit, vm, visit.host)
            if record is not None and record.is_live:
                mine = tuple(drive for drive in drives if drive.place == source)
                Drives(visit.xapi, vm.uuid, record, mine, vm.host).remove(name)


def _require_own(vm: Vm, name: ImageName) -> None:
    if name.vm_uuid != vm.uuid:
        detail = f"the image {name} is not VM {vm.uuid}'s"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "a VM gets its own images only")


def _readable(visit: Visit, vm: Vm, host: HostRecord, place: Place) -> SrRecord:
    if place.host not in {None, vm.host}:
        detail = f"host {vm.host} cannot read the storage {place.storage!r} of host {place.host}"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail)
    return visit.storage(place.storage, host)


def _missing(name: ImageName, place: Place) -> TransientError:
    return TransientError(TransientCode.UPLOAD_CORRUPT, f"storage {place.storage!r} does not hold the image {name}")
