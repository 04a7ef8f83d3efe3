"""What a vCenter or ESXi host has: its datastores, hosts, clusters and datastore clusters, read in one go and kept."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workers.hypervisors.vmware.session import Found, Session

FRESH_SECONDS: Final = 60.0
"""How long what was seen is trusted. What would be refused because of it is looked at again before."""

DATASTORE_PROPERTIES: Final = (
    "name",
    "parent",
    "browser",
    "summary.accessible",
    "summary.maintenanceMode",
    "summary.multipleHostAccess",
    "summary.freeSpace",
    "capability.topLevelDirectoryCreateSupported",
    "host",
)


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore.

    Args:
        ref: pyvmomi's object.
        browser: its browser.
        datacenter: the object in which it lies.
        dc_path: that one's path, as the HTTPS folder wants it.
        pod: the datastore cluster that it is a member of.
        accessible: whether any host reaches it.
        maintenance: `normal`, `enteringMaintenance` or `inMaintenance`.
        free: bytes.
        shared: whether several hosts see the same files.
        holds_files: whether a folder can be made on it: vSAN and vVols allow none at the top.
        hosts: managed object ids of the hosts that reach it.
    """

    name: str
    ref: Any
    browser: Any
    datacenter: Any
    dc_path: str
    pod: str | None
    accessible: bool
    maintenance: str
    free: int
    shared: bool
    holds_files: bool
    hosts: frozenset[str]

    @property
    def key(self) -> str:
        """Its managed object id."""
        return str(self.ref._moId)  # noqa: SLF001

    @property
    def usable(self) -> bool:
        """Whether files can be read and written there now."""
        return self.accessible and self.maintenance != "inMaintenance"


@dataclass(frozen=True, slots=True)
class Host:
    """An ESXi host: its name, the cluster's name, and whether it is connected."""

    name: str
    cluster: str
    connected: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, by managed object id."""

    datastores: Mapping[str, Datastore]
    hosts: Mapping[str, Host]
    seen_at: float

    @property
    def fresh(self) -> bool:
        """Whether it was seen lately."""
        return time.monotonic() - self.seen_at < FRESH_SECONDS


def read_topology(session: Session) -> Topology:
    """Read all of it."""
    wanted: dict[Any, tuple[str, ...]] = {
        vim.Datastore: DATASTORE_PROPERTIES,
        vim.HostSystem: ("name", "parent", "runtime.connectionState"),
        vim.ComputeResource: ("name", "parent"),
        vim.StoragePod: ("name", "parent"),
        vim.Folder: ("name", "parent"),
        vim.Datacenter: ("name", "parent"),
    }
    found = {one.key: one for one in session.all_of(wanted)}
    stores = [one for one in found.values() if isinstance(one.ref, vim.Datastore)]
    hosts = [one for one in found.values() if isinstance(one.ref, vim.HostSystem)]
    return Topology(
        datastores={one.key: _datastore(one, found) for one in stores},
        hosts={one.key: _host(one, found) for one in hosts},
        seen_at=time.monotonic(),
    )


def _host(found: Found, others: Mapping[str, Found]) -> Host:
    parent = others.get(found.get("parent")._moId) if found.get("parent") else None  # noqa: SLF001
    return Host(
        name=str(found.get("name")),
        cluster=str(parent.get("name")) if parent is not None else "",
        connected=found.get("runtime.connectionState") == "connected",
    )


def _datastore(found: Found, others: Mapping[str, Found]) -> Datastore:
    pod, datacenter, names = None, None, list[str]()
    above = found.get("parent")
    while above is not None:
        ancestor = others.get(above._moId)  # noqa: SLF001
        if isinstance(above, vim.StoragePod) and ancestor is not None:
            pod = str(ancestor.get("name"))
        if isinstance(above, vim.Datacenter):
            datacenter = above
        if datacenter is not None and ancestor is not None:
            names.append(str(ancestor.get("name")))
        above = None if ancestor is None else ancestor.get("parent")
    mounts = _mounts(found)
    shared = found.get("summary.multipleHostAccess")
    return Datastore(
        name=str(found.get("name")),
        ref=found.ref,
        browser=found.get("browser"),
        datacenter=datacenter,
        dc_path="/".join(reversed(names)),
        pod=pod,
        accessible=bool(found.get("summary.accessible")),
        maintenance=str(found.get("summary.maintenanceMode") or "normal"),
        free=int(found.get("summary.freeSpace") or 0),
        shared=len(mounts) > 1 if shared is None else bool(shared),
        holds_files=found.get("capability.topLevelDirectoryCreateSupported") is not False,
        hosts=mounts,
    )


def _mounts(found: Found) -> frozenset[str]:
    return frozenset(
        str(mount.key._moId)  # noqa: SLF001
        for mount in found.get("host") or ()
        if mount.mountInfo.accessible is not False and mount.mountInfo.mounted is not False
    )


class TopologyCache:
    """The topology as this process saw it last; what a look at a VM shows of its datastores is taken in as well."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._topology: Topology | None = None
        self._lock = threading.Lock()

    def get(self, *, again: bool = False) -> Topology:
        """Return it, read now when it is old or `again` is asked for."""
        topology = self._topology
        if topology is None or again or not topology.fresh:
            topology = read_topology(self._session)
            with self._lock:
                self._topology = topology
        return topology

    def take_in(self, stores: Iterable[Found]) -> None:
        """Note the state of datastores that were just seen with a VM."""
        with self._lock:
            if self._topology is None:
                return
            known = dict(self._topology.datastores)
            for one in stores:
                if one.key in known:
                    known[one.key] = replace(
                        known[one.key],
                        name=str(one.get("name")),
                        accessible=bool(one.get("summary.accessible")),
                        maintenance=str(one.get("summary.maintenanceMode") or "normal"),
                        hosts=_mounts(one),
                    )
            self._topology = replace(self._topology, datastores=known)
