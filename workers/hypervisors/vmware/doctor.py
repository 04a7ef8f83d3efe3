"""Findings of `configdrive doctor` about a vSphere host, each with its remedy. Raises nothing, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim

from configdrive.errors import FleetError
from configdrive.ports import Check
from workers.hypervisors.vmware.faults import translated
from workers.hypervisors.vmware.privileges import ON_DATASTORES, ON_OBJECT_STORES, ON_VMS
from workers.hypervisors.vmware.storages import Storages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from configdrive.model import HostName, Place
    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.session import Session
    from workers.hypervisors.vmware.sessions import Server, Sessions

MOST_VMS: Final = 500
"""VMs of a host whose privileges are looked at; permissions are given to folders, not to each VM."""


def diagnose(
    host: HostName, table: HostTable, sessions: Sessions, twins: Callable[[HostName, str], Iterable[HostName]]
) -> Iterator[Check]:
    """Try the session, the version, the hosts that are meant, and every datastore.

    Args:
        host: its name in the inventory.
        table: its part of the inventory.
        sessions: with its endpoint.
        twins: names the other hosts of the inventory that say the same of themselves as this one.
    """
    subject = f"vmware host {host}"
    try:
        with translated(f"endpoint {sessions.name}"), sessions.borrow() as server:
            storages = Storages(host, table, server)
            findings = [_version(subject, server), *_hosts(subject, storages, server)]
            findings += [_datastore(subject, storages, place) for place in storages.of_files]
            findings += _fallback(subject, table, storages)
            findings += [_running(subject, table), *_drs(subject, table, storages, server)]
            findings += _privileges(f"{subject}, privileges", storages, server.session)
            host_id = storages.host_id
    except FleetError as error:
        yield _bad(subject, error, "see whether the vCenter or host runs")
    else:
        yield from findings
        for twin in twins(host, host_id):
            detail = f"is the same host as {twin!r}: what one of them leaves, the other takes for its own"
            yield Check(subject, ok=False, detail=detail, remedy="keep one of them in the inventory")


def _version(subject: str, server: Server) -> Check:
    name = server.session.content.about.fullName
    return Check(subject, ok=True, detail=f"{name} answers; version {server.session.version} of its API is spoken")


def _hosts(subject: str, storages: Storages, server: Server) -> Iterator[Check]:
    scope, known = storages.scope, server.topology.get().hosts
    for key in sorted(scope):
        one = known[key]
        remedy = "" if one.connected else "reconnect it in the vSphere client"
        state = "connected" if one.connected else "not connected"
        yield Check(f"{subject}, ESXi {one.part.name}", ok=one.connected, detail=f"is {state}", remedy=remedy)


def _datastore(subject: str, storages: Storages, place: Place) -> Check:
    subject = f"{subject}, datastore {place.storage}"
    try:
        with translated(subject):
            images = len(storages.folder(place).names())
    except FleetError as error:
        return _bad(subject, error, "look at it in the vSphere client")
    seen = "shared" if place.host is None else "local"
    return Check(subject, ok=True, detail=f"accessible, {seen}, {images} images of the fleet")


def _privileges(subject: str, storages: Storages, session: Session) -> Iterator[Check]:
    """Ask for all that the fleet's verbs need, on every datastore and on VMs, so that no event has to find it out."""
    hosts = [session.reference(vim.HostSystem, key) for key in sorted(storages.scope)]
    vms = session.retrieve({vim.VirtualMachine: ["name"]}, hosts, [(vim.HostSystem, "vm")])
    wanted: dict[Any, Collection[str]] = {one.ref: ON_VMS.keys() for one in vms[:MOST_VMS]}
    stores = storages.seen
    wanted |= {one.ref: ON_DATASTORES.keys() | (set() if one.holds_files else ON_OBJECT_STORES) for one in stores}
    asked = ""
    try:
        missing = session.lacking(wanted)
    except vim.fault.NoPermission:
        missing, asked = session.lacking_by_role(wanted), ", by their roles: it may not ask for privileges"
    objects: dict[str, list[Any]] = {}
    for ref, ids in missing:
        for one in ids:
            objects.setdefault(one, []).append(ref)
    for one, refs in sorted(objects.items()):
        more = f" and {len(refs) - 1} more" if len(refs) > 1 else ""
        detail = f"{one} is missing on {session.named(refs[0])}{more}{asked}"
        yield Check(
            subject, ok=False, detail=detail, remedy="add it to the user's role; the vSphere guide has the table"
        )
    if not vms:
        yield Check(subject, ok=True, detail="those on VMs were not looked at: there is no VM")
    if not objects:
        counted = f"{len(stores)} datastores and {min(len(vms), MOST_VMS)} VMs"
        yield Check(subject, ok=True, detail=f"all that is needed is there, on {counted}{asked}")


def _running(subject: str, table: HostTable) -> Check:
    if any(slot.startswith("sata") for slot in table.cd_slots):
        detail = (
            "a running VM without a CD drive gets one on SATA, hot-added (not proven on a vSphere); a halted one on IDE"
        )
    else:
        detail = "a running VM without a CD drive gets none before it is off: cd_slots name no SATA"
    return Check(subject, ok=True, detail=detail)


def _drs(subject: str, table: HostTable, storages: Storages, server: Server) -> Iterator[Check]:
    """Say where DRS moves VMs away from the one host that events name."""
    if table.esxi is None:
        return
    hosts = [server.session.reference(vim.HostSystem, key) for key in storages.scope]
    wanted = {vim.ClusterComputeResource: ["name", "configurationEx"]}
    for found in server.session.retrieve(wanted, hosts, [(vim.HostSystem, "parent")]):
        drs = getattr(found.get("configurationEx"), "drsConfig", None)
        if drs is not None and drs.enabled:
            detail = f"DRS moves VMs of cluster {found.get('name')!r}, and they are not on this host then"
            yield Check(subject, ok=True, detail=detail, remedy="let the inventory's host be the cluster")


def _fallback(subject: str, table: HostTable, storages: Storages) -> Iterator[Check]:
    wanted = table.fallback_datastore
    if wanted is not None and not any(one.is_called(wanted) for one in storages.seen):
        detail = f"does not see its fallback_datastore {wanted!r}"
        yield Check(subject, ok=False, detail=detail, remedy="correct the inventory, or mount it")


def _bad(subject: str, error: FleetError, remedy: str) -> Check:
    return Check(subject, ok=False, detail=error.detail, remedy=error.remedy or remedy)
