"""A visit to a pool while a verb lasts: a session, the host that is meant, and what is remembered of the pool."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from configdrive.errors import UNCOUNTED, FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import HostName, ImageName, Place
from configdrive.ports import Inserted, NoDrive
from workers.driverkit.ssh import Sftp
from workers.hypervisors.xenserver.api import Xapi
from workers.hypervisors.xenserver.faults import translated
from workers.hypervisors.xenserver.sessions import PoolSessions
from workers.hypervisors.xenserver.tls import XapiServer
from workers.hypervisors.xenserver.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from configdrive.model import VmUuid
    from configdrive.ports import Connections
    from workers.hypervisors.xenserver.inventory import HostTable, PoolTable
    from workers.hypervisors.xenserver.records import HostRecord, Ref, SrRecord, VdiRecord

TOPOLOGY_SECONDS: Final = 60.0
"""How long what a pool consists of is believed; a thing that is missing, and an error, makes it be read again."""

SCAN_SECONDS: Final = 300.0
"""How long a scan for a survey is good for: an SR that all hosts share is scanned once by a sweep of them all."""

_MOST_KEPT: Final = 20_000

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class Kept:
    """What a process remembers of a pool between two verbs. References keep their meaning; XAPI refuses old ones.

    Args:
        vms: the reference of each VM that was asked for, by the orchestrator's uuid.
        srs: the SR of each VDI that was asked for.
        media: what each VDI is that was asked for: an image of the fleet, or another one.
        uploaded: the images that this process has brought and verified, by SR and location.
        scanned: when each ISO SR was scanned last for a survey.
    """

    topology: Topology | None = None
    read_at: float = 0.0
    vms: dict[VmUuid, Ref] = field(default_factory=dict)
    srs: dict[Ref, Ref] = field(default_factory=dict)
    media: dict[Ref, Inserted | NoDrive] = field(default_factory=dict)
    uploaded: dict[tuple[Ref, str], Ref] = field(default_factory=dict)
    scanned: dict[Ref, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, table: dict[K, V], key: K, value: V | None) -> None:
        """Note something in one of the tables, or forget it."""
        with self.lock:
            if value is None:
                table.pop(key, None)
                return
            if len(table) >= _MOST_KEPT:
                table.clear()
            table[key] = value


def parts_of(place: Place) -> tuple[str, str]:
    """Split a place's identity into the SR's uuid and the host's; each empty when it is not known or says nothing."""
    sr, _, host = (place.identity or "").partition("/")
    return sr, host


class Pool:
    """One pool of the inventory; opens nothing before it is needed."""

    def __init__(self, name: str, table: PoolTable, hosts: Mapping[HostName, HostTable], timeout: float) -> None:
        self.name = name
        self.table = table
        self.hosts = dict(hosts)
        self.timeout = timeout
        servers = [XapiServer.of(host, one, table) for host, one in hosts.items()]
        self.sessions = PoolSessions(name, servers, (table.user, table.password), timeout, table.sessions)
        self.sftp = {
            host: Sftp("xenserver", host, one.ssh, timeout, translated)
            for host, one in hosts.items()
            if one.ssh is not None
        }
        """dom0 of the hosts that the inventory says how to reach by SSH."""
        self.kept = Kept()
        self.making = threading.Lock()

    @contextmanager
    def visit(self, host: HostName) -> Iterator[Visit]:
        """Give a session and the host for the length of a verb.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`, `UNKNOWN_HOST`, and whatever happens meanwhile.
        """
        try:
            with translated(f"host {host}"), self.sessions.borrow() as borrowed:
                yield Visit(self, Xapi(borrowed), host)
        except FleetError as error:
            if error.code not in UNCOUNTED:  # nothing was tried, so nothing was found out
                self.kept.topology = None
            raise

    def connections(self) -> list[Connections]:
        """Count the sessions with the pool, and the SSH connections to its hosts."""
        return [self.sessions.tally.now, *(sftp.tally.now for sftp in self.sftp.values())]

    def close(self) -> None:
        """Log all sessions of this process out, and close its SSH connections."""
        self.sessions.close()
        for sftp in self.sftp.values():
            sftp.close()


class Visit:
    """A session with a pool, looked at from one of its hosts."""

    def __init__(self, pool: Pool, xapi: Xapi, name: HostName) -> None:
        self.pool = pool
        self.xapi = xapi
        self.name = name

    @property
    def topology(self) -> Topology:
        """What the pool consists of, as it was not long ago."""
        kept = self.pool.kept
        known = kept.topology
        if known is not None and time.monotonic() - kept.read_at < TOPOLOGY_SECONDS:
            return known
        return self.refreshed()

    def refreshed(self) -> Topology:
        """Read again what the pool consists of."""
        kept = self.pool.kept
        topology = Topology.read(self.xapi)
        kept.topology, kept.read_at = topology, time.monotonic()
        return topology

    # --- hosts -----------------------------------------------------------------------------------------------------

    @property
    def host(self) -> HostRecord:
        """The host of this visit, alive or not."""
        return self.host_called(self.name)

    def live_host(self) -> HostRecord:
        """Return the host of this visit.

        Raises:
            TransientError: `HOST_UNREACHABLE` when its pool has lost it.
        """
        host = self.host
        self._require_live(host)
        return host

    def host_called(self, name: HostName) -> HostRecord:
        """Return XAPI's record of a host of the inventory.

        Raises:
            PermanentError: `UNKNOWN_HOST`.
        """
        table = self.pool.hosts.get(name)
        label = name if table is None or table.name_label is None else table.name_label
        found = self.topology.host(label) or self.refreshed().host(label)
        if table is None or found is None:
            detail = f"pool {self.pool.name} has no one host called {label!r}"
            remedy = f"give its 'name_label' (or uuid) in [xenserver.hosts.{name}]"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, detail, remedy)
        return found

    def host_with(self, uuid: str) -> HostRecord:
        """Return XAPI's record of the host with this uuid, whatever it is called in the inventory.

        Raises:
            PermanentError: `UNKNOWN_HOST`.
        """
        found = self.topology.host(uuid) or self.refreshed().host(uuid)
        if found is None:
            detail = f"pool {self.pool.name} has no host with the uuid {uuid}"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, detail, "see whether it was taken out of its pool")
        return found

    def name_of_host(self, host: HostRecord) -> HostName | None:
        """Return the inventory's name of a host."""
        for name, table in self.pool.hosts.items():
            if (table.name_label or name) in {host.name_label, host.uuid}:
                return name
        return None

    def sftp(self, host: HostRecord) -> Sftp | None:
        """Return the way to a host's dom0, when the inventory has one."""
        return self.pool.sftp.get(self.name_of_host(host) or self.name)

    def _require_live(self, host: HostRecord) -> None:
        if not (self.topology.is_live(host) or self.refreshed().is_live(host)):
            detail = f"host {host.name_label} is away: its pool {self.pool.name} hears nothing of it"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether it is up")

    # --- storages --------------------------------------------------------------------------------------------------

    def storage(self, name: str, host: HostRecord) -> SrRecord:
        """Return a host's storage.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
        """
        found = self.topology.find(host.ref, name) or self.refreshed().find(host.ref, name)
        if found is None:
            detail = f"host {host.name_label} has no storage (SR) {name!r} for root disks"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "correct the event's primary_storage")
        return found

    def locate(self, place: Place) -> tuple[SrRecord, HostRecord]:
        """Find a place's storage in the pool, with a host that has it attached; by identity where that is known.

        Raises:
            FleetError: `STORAGE_NOT_FOUND`, `STORAGE_UNAVAILABLE`, `UNKNOWN_HOST`.
        """
        sr, at = parts_of(place)
        ways = [partial(self.host_with, at)] if at else [partial(self.host_called, name) for name in self._names(place)]
        first: FleetError | None = None
        for way in ways:
            try:
                host = way()
                storage = self.storage(sr or place.storage, host)
                self.require_attached(storage, host)
            except FleetError as error:
                first = first if isinstance(first, TransientError) else error
            else:
                return storage, host
        assert first is not None  # noqa: S101  # there is a host
        raise first

    def _names(self, place: Place) -> Collection[HostName]:
        return [place.host] if place.host is not None else dict.fromkeys((self.name, *self.pool.hosts))

    def place_of(self, storage: SrRecord, host: HostRecord) -> Place:
        """Return where the images of a storage lie, as the rest of the fleet calls it."""
        return self.topology.place_of(storage, host, self.name_of_host(host))

    def place_of_iso_sr(self, sr: Ref) -> Place | None:
        """Return the place of an ISO SR; `None` when it is not the fleet's."""
        now = self.topology if sr in self.topology.storages else self.refreshed()
        iso_sr = now.storages.get(sr)
        storage = None if iso_sr is None else now.storage_of(iso_sr)
        if iso_sr is None or storage is None:
            return None
        return self.place_of(storage, now.host_of(iso_sr) or self.host)

    def require_attached(self, storage: SrRecord, host: HostRecord) -> None:
        """Return when a host has a storage attached.

        Raises:
            TransientError: `STORAGE_UNAVAILABLE`, `HOST_UNREACHABLE`.
        """
        self._require_live(host)
        if not (self.topology.attached(storage.ref, host.ref) or self.refreshed().attached(storage.ref, host.ref)):
            detail = f"storage {storage.name_label!r} is not attached on host {host.name_label}"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see `xe pbd-list` and plug it")

    def iso_sr(self, storage: SrRecord, host: HostRecord) -> SrRecord | None:
        """Return the ISO SR of a storage; another worker may have made it just now."""
        found = self.topology.iso_sr(storage, host)
        if found is None:
            now = self.refreshed()
            found = now.iso_sr(now.storages.get(storage.ref, storage), host)
        return found

    def sr_of(self, vdi: Ref) -> Ref | None:
        """Return the SR of a VDI, which never changes."""
        kept = self.pool.kept
        found = self.topology.sr_of(vdi) or kept.srs.get(vdi)
        if found is None:
            found = self.xapi.sr_of(vdi)
            kept.keep(kept.srs, vdi, found)
        return found

    def image_of(self, vdi: VdiRecord) -> Inserted | None:
        """Say which image of a fleet a VDI is, if any; that never changes."""
        name = ImageName.parse(vdi.location)
        image = None if name is None else Inserted(name, self.place_of_iso_sr(vdi.sr))
        self.pool.kept.keep(self.pool.kept.media, vdi.ref, image or NoDrive())
        return image

    def medium(self, ref: Ref) -> tuple[Inserted | None, bool]:
        """Say which image of a fleet a drive's VDI is, if any; and whether it is known to be deleted past XAPI."""
        known = self.pool.kept.media.get(ref)
        if known is not None:
            return (known if isinstance(known, Inserted) else None), False
        vdi = self.xapi.vdi(ref)
        return (None, True) if vdi is None else (self.image_of(vdi), False)

    def scan_due(self, iso_sr: Ref) -> bool:
        """Say whether files that came past XAPI are to be looked for; asked, it is taken as done."""
        kept, now = self.pool.kept, time.monotonic()
        if iso_sr in kept.scanned and now - kept.scanned[iso_sr] < SCAN_SECONDS:
            return False
        kept.keep(kept.scanned, iso_sr, now)
        return True

    def scan_missed(self, iso_sr: Ref) -> None:
        """Take back that a scan was done: it is due again."""
        self.pool.kept.keep(self.pool.kept.scanned, iso_sr, None)

    def uploaded(self, iso_sr: Ref, location: str) -> Ref | None:
        """Return the image that this process has brought here and verified, if nothing came in between."""
        return self.pool.kept.uploaded.get((iso_sr, location))

    def note_upload(self, iso_sr: Ref, location: str, vdi: Ref | None) -> None:
        """Remember an image that was verified just now, or forget it."""
        kept = self.pool.kept
        kept.keep(kept.uploaded, (iso_sr, location), vdi)

    def forget_medium(self, ref: Ref) -> None:
        """Believe no more what a VDI is: it is gone."""
        self.pool.kept.keep(self.pool.kept.media, ref, None)
