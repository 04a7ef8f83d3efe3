"""The topology of a vCenter or ESXi host: its datastores, hosts and clusters, read in one go and kept for a while.

Names repeat, in another datacenter if not in the same one. What decides whose drive or file is touched goes by
identity: the server's own, and the managed object id of a datastore, host, cluster or VM on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim

from workers.driverkit.shared import Shared
from workers.hypervisors.vmware.session import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workers.hypervisors.vmware.session import Found, Session

FRESH_SECONDS: Final = 60.0
"""How long what was seen is trusted. What would be refused because of it is looked at again before."""

REFUSAL_SECONDS: Final = 1.0
"""How long it is trusted even then: a broken datastore with many VMs must not have all of it read for each of them."""

DATASTORE_PROPERTIES: Final = (
    "name",
    "parent",
    "browser",
    "summary.accessible",
    "summary.maintenanceMode",
    "summary.multipleHostAccess",
    "summary.url",
    "summary.freeSpace",
    "capability.topLevelDirectoryCreateSupported",
    "host",
)


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore.

    Args:
        identity: the server's and its own; the same for datastores with the same files, such as one NFS export in two
            datacenters.
        ref: pyvmomi's object.
        browser: its browser.
        datacenter: the object in which it lies.
        dc_path: that one's path, as the HTTPS folder wants it.
        pod: the datastore cluster that it is a member of.
        accessible: whether any host reaches it.
        maintenance: `normal`, `enteringMaintenance` or `inMaintenance`.
        free: bytes.
        url: under which hosts have mounted it, `ds:///vmfs/volumes/<uuid>/`.
        shared: whether several hosts see the same files.
        holds_files: whether any folder can be made at the top of it: vSAN and vVols take objects of their own there,
            which their namespace manager makes.
        hosts: managed object ids of the hosts that reach it.
    """

    identity: str
    name: str
    ref: Any
    browser: Any
    datacenter: Any
    dc_path: str
    pod: str | None
    accessible: bool
    maintenance: str
    free: int
    url: str
    shared: bool
    holds_files: bool
    hosts: frozenset[str]

    @property
    def usable(self) -> bool:
        """Whether files can be read and written there now."""
        return self.accessible and self.maintenance != "inMaintenance"


@dataclass(frozen=True, slots=True)
class Host:
    """An ESXi host: its name, its cluster's name and managed object id, and whether it is connected."""

    name: str
    cluster: str
    cluster_key: str
    connected: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, by managed object id.

    Args:
        server: the identity of the vCenter, or of the host where there is none.
        datastores, hosts: of it.
        refused: those that the user may see, and not read: the id as well as the name -> why.
    """

    server: str
    datastores: Mapping[str, Datastore]
    hosts: Mapping[str, Host]
    refused: Mapping[str, vim.fault.NoPermission]

    def require_readable(self, *known_as: str) -> None:
        """Return unless one that is known by this id or name is not to be read.

        Raises:
            vim.fault.NoPermission: as the server said it.
        """
        for one in known_as:
            if one in self.refused:
                raise self.refused[one]

    def known(self, identity: str) -> list[Datastore]:
        """Return the datastores with these files: one, or several that are the same storage."""
        return [one for one in self.datastores.values() if one.identity == identity]

    def seen(self, stores: Iterable[Found]) -> Topology:
        """Return it with the state of datastores that were just seen with a VM."""
        known = dict(self.datastores)
        for one in stores:
            if one.key in known:
                known[one.key] = replace(known[one.key], **_state(one))
        return replace(self, datastores=known)


def read_topology(session: Session) -> Topology:
    """Read all of it."""
    wanted: dict[Any, tuple[str, ...]] = {
        vim.Datastore: DATASTORE_PROPERTIES,
        vim.HostSystem: ("name", "parent", "runtime.connectionState", "summary.hardware.uuid"),
        vim.ComputeResource: ("name", "parent"),
        vim.StoragePod: ("name", "parent"),
        vim.Folder: ("name", "parent"),
        vim.Datacenter: ("name", "parent"),
    }
    found = {one.key: one for one in session.all_of(wanted, dispensable=wanted)}
    refused = [one for one in found.values() if one.refused is not None]
    stores = [one for one in found.values() if isinstance(one.ref, vim.Datastore) and one not in refused]
    hosts = [one for one in found.values() if isinstance(one.ref, vim.HostSystem) and one not in refused]
    server = str(session.content.about.instanceUuid or hosts[0].get("summary.hardware.uuid"))
    first: dict[str, str] = {}  # the oldest of those with one URL, which is that of the storage itself
    for one in sorted(stores, key=lambda one: (len(one.key), one.key)):
        first.setdefault(one.get("summary.url") or one.key, one.key)
    return Topology(
        server=server,
        datastores={
            one.key: _datastore(one, found, f"{server}/{first[one.get('summary.url') or one.key]}") for one in stores
        },
        hosts={one.key: _host(one, found) for one in hosts},
        refused={known: one.refused for one in refused for known in (one.key, str(one.get("name")))},
    )


def _host(found: Found, others: Mapping[str, Found]) -> Host:
    parent = others.get(key_of(found.get("parent")))
    return Host(
        name=str(found.get("name")),
        cluster="" if parent is None else str(parent.get("name")),
        cluster_key="" if parent is None else parent.key,
        connected=found.get("runtime.connectionState") == "connected",
    )


def _datastore(found: Found, others: Mapping[str, Found], identity: str) -> Datastore:
    pod, datacenter, names = None, None, list[str]()
    above = found.get("parent")
    while above is not None:
        ancestor = others.get(key_of(above))
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
        identity=identity,
        ref=found.ref,
        browser=found.get("browser"),
        datacenter=datacenter,
        dc_path="/".join(reversed(names)),
        pod=pod,
        free=int(found.get("summary.freeSpace") or 0),
        url=str(found.get("summary.url") or ""),
        shared=len(mounts) > 1 if shared is None else bool(shared),
        holds_files=found.get("capability.topLevelDirectoryCreateSupported") is not False,
        hosts=mounts,
        **_state(found),
    )


def _state(found: Found) -> dict[str, Any]:
    """What changes of a datastore from one moment to the next."""
    return {
        "name": str(found.get("name")),
        "accessible": bool(found.get("summary.accessible")),
        "maintenance": str(found.get("summary.maintenanceMode") or "normal"),
    }


def _mounts(found: Found) -> frozenset[str]:
    return frozenset(
        key_of(mount.key)
        for mount in found.get("host") or ()
        if mount.mountInfo.accessible is not False and mount.mountInfo.mounted is not False
    )


def topology_of(session: Session) -> Shared[Topology]:
    """Keep the topology of a server as this process saw it last."""
    return Shared(lambda: read_topology(session), FRESH_SECONDS, REFUSAL_SECONDS)
