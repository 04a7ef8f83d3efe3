"""Findings of `configdrive doctor` about a vSphere host, each with its remedy. Raises nothing, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import FleetError
from configdrive.ports import Check
from workers.hypervisors.vmware.faults import translated
from workers.hypervisors.vmware.storages import Storages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from configdrive.model import HostName, Place
    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.sessions import Server, Sessions


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
        yield Check(f"{subject}, ESXi {one.name}", ok=one.connected, detail=f"is {state}", remedy=remedy)


def _datastore(subject: str, storages: Storages, place: Place) -> Check:
    subject = f"{subject}, datastore {place.storage}"
    try:
        with translated(subject):
            images = len(storages.folder(place).names())
    except FleetError as error:
        return _bad(subject, error, "look at it in the vSphere client")
    seen = "shared" if place.host is None else "local"
    return Check(subject, ok=True, detail=f"accessible, {seen}, {images} images of the fleet")


def _fallback(subject: str, table: HostTable, storages: Storages) -> Iterator[Check]:
    wanted = table.fallback_datastore
    if wanted is not None and all(place.storage != wanted for place in storages.of_files):
        detail = f"does not see its fallback_datastore {wanted!r}, or that takes no files"
        yield Check(subject, ok=False, detail=detail, remedy="correct the inventory, or mount it")


def _bad(subject: str, error: FleetError, remedy: str) -> Check:
    return Check(subject, ok=False, detail=error.detail, remedy=error.remedy or remedy)
