"""The one ISO SR of a primary storage, and how it is made, whoever and however many try at once.

Decision: the primary storage's own other_config decides. `SR.add_to_other_config` refuses a key that is there, at one
moment for the whole pool: XAPI's only test-and-set. Whoever wants to make the SR adds a claim first, so that the others
wait instead of making another fifty; whoever has made it adds the pointer to it, and only what the pointer names is
ever used. So a claim may be lost or given up at any time without a second SR: at worst one is made in vain, which its
maker forgets again before anything was written into it. A claim of a worker that died ends by its own time.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Final

from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from workers.driverkit.ssh import open_folder
from workers.hypervisors.xenserver.faults import NOT_MOUNTED, code_of, param_of, translated
from workers.hypervisors.xenserver.names import CLAIM, HOST_MARK, POINTER, STORAGE_MARK, iso_sr_label
from workers.hypervisors.xenserver.topology import is_shared, pointer

if TYPE_CHECKING:
    from workers.hypervisors.xenserver.records import HostRecord, Ref, SrRecord
    from workers.hypervisors.xenserver.visit import Visit

CLAIM_SECONDS: Final = 10.0
"""How long a claim holds, and so how long a maker that died holds the others up. An `SR.create` that takes longer is
overtaken, to no harm."""

_PAUSES: Final = (0.1, 0.2, 0.5, 1.0)
"""Between two looks at who makes it; each is one call."""

PRIVATE: Final = 0o700
"""The mode of the images' folder: dom0's root reads it."""

_NOWHERE: Final = (
    "make the directory {directory} in dom0 (of NFS: once, on any host), or give the host a table 'ssh' and run "
    "`configdrive doctor --fix`"
)


def require(visit: Visit, storage: SrRecord, host: HostRecord) -> SrRecord:
    """Return the ISO SR of a storage, made if there is none, attached on the host.

    Raises:
        FleetError: `MISCONFIGURED` when its directory is not there, `STORAGE_UNAVAILABLE`.
        XenAPI.Failure: what XAPI answered.
    """
    known = visit.topology.iso_sr(storage, host)
    if known is None:
        with visit.pool.making:  # one at a time in this process: the others find what the first has made
            known = visit.iso_sr(storage, host) or _make_once(visit, storage.ref, host)
    _attach(visit, known, storage, host)
    return known


def _make_once(visit: Visit, storage: Ref, host: HostRecord) -> SrRecord:
    """Make it, or wait until another worker has."""
    token, pauses = secrets.token_hex(8), iter(_PAUSES)
    first_seen: dict[str, float] = {}
    deadline = time.monotonic() + CLAIM_SECONDS + visit.pool.timeout
    while time.monotonic() < deadline:
        current = visit.xapi.sr(storage)
        if current is None:
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, "the storage is gone")
        key = pointer(current, host)
        found = visit.refreshed().iso_sr(current, host) if key in current.other_config else None
        if found is not None:
            return found
        claim = CLAIM + key.removeprefix(POINTER)
        if _claimed(visit, storage, claim, token):
            try:
                return _make(visit, storage, host)
            finally:
                visit.xapi.remove_from_sr(storage, claim)
        held = current.other_config.get(claim, "")
        since = first_seen.setdefault(held, time.monotonic())
        if _is_over(held) or (held and time.monotonic() - since > CLAIM_SECONDS):  # its clock may be ahead of ours
            visit.xapi.remove_from_sr(storage, claim)
        else:
            time.sleep(next(pauses, _PAUSES[-1]))
    detail = f"somebody makes the ISO SR of a storage on host {visit.name} for too long"
    raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see `xe task-list` and /var/log/SMlog")


def _claimed(visit: Visit, storage: Ref, claim: str, token: str) -> bool:
    """Try to be the one who makes it. A claim whose answer was lost is taken back, lest the others wait for nobody."""
    try:
        return visit.xapi.add_to_sr(storage, claim, f"{token} {time.time() + CLAIM_SECONDS:.0f}")
    except BaseException:
        with suppress(Failure, OSError, HTTPException, FleetError):
            now = visit.xapi.sr(storage)
            if now is not None and now.other_config.get(claim, "").startswith(token):
                visit.xapi.remove_from_sr(storage, claim)
        raise


def _is_over(claim: str) -> bool:
    """Say whether a claim's time is up; one that was not there a moment ago is not."""
    until = claim.rpartition(" ")[2]
    return until.isdecimal() and float(until) < time.time()


def _make(visit: Visit, wanted: Ref, host: HostRecord) -> SrRecord:
    """Make the SR, or adopt what a killed worker has left, and publish it."""
    xapi, topology = visit.xapi, visit.refreshed()  # after the claim: another may just have been at it
    storage = topology.storages[wanted]
    found = topology.iso_sr(storage, host)
    if found is not None:
        return found
    key, label = pointer(storage, host), iso_sr_label(storage.uuid, None if is_shared(storage) else host.uuid)
    stale = storage.other_config.get(key)
    if stale is not None:  # it names an SR that was forgotten or destroyed
        xapi.remove_from_sr(storage.ref, key)
    left = sorted((sr for sr in topology.storages.values() if sr.name_label == label), key=lambda sr: sr.uuid)
    made = left[0].ref if left else _create(visit, storage, host, label)
    xapi.add_to_sr(made, STORAGE_MARK, storage.uuid)
    if not is_shared(storage):
        xapi.add_to_sr(made, HOST_MARK, host.uuid)
    record = xapi.sr(made)
    published = record is not None and xapi.add_to_sr(storage.ref, key, record.uuid)
    now = visit.refreshed()
    storage = now.storages.get(storage.ref, storage)
    winner = now.iso_sr(storage, host)
    if winner is None:
        detail = f"the new ISO SR of storage {storage.name_label!r} is gone again"
        raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail)
    if not published and winner.ref != made:
        _forget(visit, made)
    return winner


def _create(visit: Visit, storage: SrRecord, host: HostRecord, label: str) -> Ref:
    site = visit.topology.site(storage, host.ref, visit.pool.table)
    sftp = visit.sftp(host)
    if sftp is not None:
        directory = site.directory
        parents = directory.parent.parent.name != "sr-mount"  # not the mount point
        sftp.run(lambda client: open_folder(client, directory, PRIVATE, make=True, parents=parents))
    about = f"config drives of the VMs on {storage.name_label}"
    try:
        with translated(f"the ISO SR of storage {storage.name_label!r} on host {visit.name}"):
            try:
                return visit.xapi.create_iso_sr(host.ref, site.config, label, about, shared=site.shared)
            except Failure as failure:
                if code_of(failure) != NOT_MOUNTED:
                    raise
                # The storage itself is attached, so its server answers: the folder is missing.
                raise PermanentError(PermanentCode.MISCONFIGURED, param_of(failure, 2)) from None
    except PermanentError as error:
        if error.code is not PermanentCode.MISCONFIGURED:
            raise
        raise PermanentError(error.code, error.detail, _NOWHERE.format(directory=site.directory)) from None


def _attach(visit: Visit, iso_sr: SrRecord, storage: SrRecord, host: HostRecord) -> None:
    """See that a host which joined the pool later, or came back, has the SR too."""
    if visit.topology.attached(iso_sr.ref, host.ref):
        return
    pbd = visit.refreshed().pbd(iso_sr.ref, host.ref)
    if pbd is not None and pbd.currently_attached:
        return
    site = visit.topology.site(storage, host.ref, visit.pool.table)
    ref = visit.xapi.create_pbd(host.ref, iso_sr.ref, site.config) if pbd is None else pbd.ref
    visit.xapi.plug_pbd(ref)
    visit.refreshed()


def _forget(visit: Visit, made: Ref) -> None:
    """Take an SR back that nobody has used."""
    for pbd in visit.topology.pbds.values():
        if pbd.sr == made:
            visit.xapi.unplug_pbd(pbd.ref)
    visit.xapi.forget_sr(made)
