"""The questions of `configdrive doctor` to a XenServer host: findings with remedies; nothing is raised or changed."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Final

from configdrive.errors import FleetError
from configdrive.ports import Check
from workers.hypervisors.xenserver.faults import translated
from workers.hypervisors.xenserver.iso_sr import require
from workers.hypervisors.xenserver.topology import is_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import asyncssh

    from configdrive.model import HostName
    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.xenserver.records import SrRecord
    from workers.hypervisors.xenserver.visit import Pool, Visit

OLDEST: Final = (8, 2)
"""The oldest XenServer (and XCP-ng) version whose answers the driver's table of errors was made for."""


def diagnose(pool: Pool, host: HostName, pools: Iterable[Pool]) -> Iterator[Check]:
    """Try the connection, the version, every storage, and SFTP when the inventory has it.

    No other entry of the inventory's `pools` may be this host.
    """
    subject = f"xenserver host {host}"
    server = next(one for one in pool.sessions.servers if one.name == host)
    if not server.verified:
        remedy = "give the pool's ca_file, or the host's fingerprint, instead of verify_tls = false"
        yield Check(subject, ok=False, detail="its certificate is not verified", remedy=remedy)
    try:
        with pool.visit(host) as visit:
            findings = [_version(subject, visit), *_namesakes(subject, visit, pools), *_storages(subject, visit)]
    except FleetError as error:
        yield _bad(subject, error, "see whether its toolstack runs")
    else:
        yield from findings
    sftp = pool.sftp.get(host)
    if sftp is not None:
        yield _ssh(f"{subject}, ssh", sftp)


def _version(subject: str, visit: Visit) -> Check:
    visit.refreshed()
    software = visit.host.software_version
    text = software.get("product_version", "")
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    what = f"{software.get('product_brand', 'XenServer')} {text or 'of an unknown version'} answers"
    if version < OLDEST:
        return Check(subject, ok=False, detail=f"{what}: too old", remedy="upgrade it to 8.2 or newer")
    return Check(subject, ok=True, detail=what)


def _namesakes(subject: str, visit: Visit, pools: Iterable[Pool]) -> Iterator[Check]:
    """Find other names of this host: a VM that moves between them would be emptied where it has just been served."""
    for pool in pools:
        for name in pool.hosts:
            own = pool is visit.pool
            if own and name == visit.name:
                continue
            with suppress(FleetError), nullcontext(visit) if own else pool.visit(name) as there:
                if there.host_called(name).uuid == visit.host.uuid:
                    remedy = "leave one of the two in the inventory, and send events for that one"
                    yield Check(subject, ok=False, detail=f"host {name} is the same host", remedy=remedy)


def _storages(subject: str, visit: Visit) -> Iterator[Check]:
    wanted = visit.pool.table.fallback_sr
    fallback = None if wanted is None else visit.topology.find(visit.host.ref, wanted)
    if wanted is not None and (fallback is None or not is_shared(fallback)):
        detail, remedy = f"does not see its fallback_sr {wanted!r}, or that is no NFS SR", "name one that all hosts see"
        yield Check(subject, ok=False, detail=detail, remedy=remedy)
    for storage in visit.topology.primary(visit.host.ref):
        try:
            yield _storage(f"{subject}, storage {storage.name_label}", visit, storage)
        except FleetError as error:
            yield _bad(f"{subject}, storage {storage.name_label}", error, "see `xe sr-list` and `xe pbd-list`")


def _storage(subject: str, visit: Visit, storage: SrRecord) -> Check:
    host = visit.host
    if not visit.topology.attached(storage.ref, host.ref):
        remedy = "plug its PBD (`xe pbd-plug`), or forget the SR"
        return Check(subject, ok=False, detail="is not attached: VMs on it get no config drive", remedy=remedy)
    site = visit.topology.site(storage, host.ref, visit.pool.table)
    iso_sr = visit.topology.iso_sr(storage, host)
    if iso_sr is None:
        made = "is made by SFTP" if visit.sftp(host) else "must be there then (`configdrive doctor --fix` tries)"
        detail = f"has no ISO SR yet; it is made with the first image, and its directory {site.directory} {made}"
        return Check(subject, ok=True, detail=detail)
    if not visit.topology.attached(iso_sr.ref, host.ref):
        return Check(subject, ok=True, detail=f"its ISO SR {iso_sr.uuid} is attached here with the first image")
    images = len(visit.xapi.vdis_in(iso_sr.ref))
    seen = "shared" if site.shared else "this host's"
    return Check(subject, ok=True, detail=f"attached; ISO SR {iso_sr.uuid}, {seen}, {images} images")


def fix(pool: Pool, host: HostName) -> Iterator[Check]:
    """Make the ISO SR of every storage that has none on this host, and its folder where the host has a table `ssh`."""
    subject = f"xenserver host {host}"
    try:
        with pool.visit(host) as visit:
            findings = list(_fixed(subject, visit))
    except FleetError as error:
        yield _bad(subject, error, "see whether its toolstack runs")
    else:
        yield from findings


def _fixed(subject: str, visit: Visit) -> Iterator[Check]:
    host = visit.live_host()
    for storage in visit.refreshed().primary(host.ref):
        known = visit.topology.iso_sr(storage, host)
        if not visit.topology.attached(storage.ref, host.ref):
            continue
        if known is not None and visit.topology.attached(known.ref, host.ref):
            continue
        what = f"{subject}, storage {storage.name_label}"
        try:
            with translated(what):
                made = require(visit, storage, host)
        except FleetError as error:
            yield _bad(what, error, "see `xe sr-list` and `xe pbd-list`")
        else:
            yield Check(what, ok=True, detail=f"has the ISO SR {made.uuid} now")


def _ssh(subject: str, sftp: Sftp) -> Check:
    async def work(client: asyncssh.SFTPClient) -> None:
        await client.listdir("/")

    try:
        with translated(subject):
            sftp.run(work)
    except FleetError as error:
        return _bad(subject, error, "see whether sshd runs in dom0 and knows the key")
    return Check(subject, ok=True, detail="SFTP works")


def _bad(subject: str, error: FleetError, remedy: str) -> Check:
    return Check(subject, ok=False, detail=error.detail, remedy=error.remedy or remedy)
