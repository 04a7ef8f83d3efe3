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
    from collections.abc import Iterable, Mapping, Sequence

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
class Part:
    """A part of the inventory: its name, its path from the root folder, and its managed object id; or nothing."""

    name: str = ""
    path: str = ""
    key: str = ""

    def is_called(self, wanted: str) -> bool:
        """Say whether this is its name, or its path."""
        return wanted == self.name or (wanted.startswith("/") and wanted.rstrip("/") == self.path)


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore.

    Args:
        identity: the server's and its own; the same for datastores with the same files, such as one NFS export in two
            datacenters.
        ref: pyvmomi's object.
        browser: its browser.
        path: in the inventory, `/datacenter/datastore/name`.
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
    path: str
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

    def is_called(self, wanted: str) -> bool:
        """Say whether this is its name, or its path."""
        return Part(self.name, self.path).is_called(wanted)

    @property
    def usable(self) -> bool:
        """Whether files can be read and written there now."""
        return self.accessible and self.maintenance != "inMaintenance"


@dataclass(frozen=True, slots=True)
class Host:
    """An ESXi host.

    Args:
        part: itself.
        cluster: or, of a host in none, what stands for it.
        datacenter: in which it is.
        connected: whether its vCenter reaches it.
    """

    part: Part
    cluster: Part
    datacenter: Part
    connected: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, by managed object id.

    Args:
        server: the identity of the vCenter, or of the host where there is none.
        datastores, hosts: of it.
        is_vcenter: whether it is one, and no ESXi host of its own.
        refused: those that the user may see, and not read: the id as well as the name -> why.
    """

    server: str
    datastores: Mapping[str, Datastore]
    hosts: Mapping[str, Host]
    is_vcenter: bool
    refused: Mapping[str, vim.fault.NoPermission]

    def require_readable(self, *known_as: str) -> None:
        """Return unless one that is known by this id or name is not to be read.

        Raises:
            vim.fault.NoPermission: as the server said it.
        """
        for one in known_as:
            if one in self.refused:
                raise self.refused[one]

    def address_of(self, store: Datastore) -> str | None:
        """Return the address of a host that has a datastore mounted and is connected, the same one each time."""
        hosts = (self.hosts[key] for key in sorted(store.hosts) if key in self.hosts)
        return next((one.part.name for one in hosts if one.connected), None)

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
        is_vcenter=session.content.about.apiType == "VirtualCenter",
        refused={known: one.refused for one in refused for known in (one.key, str(one.get("name")))},
    )


def _host(found: Found, others: Mapping[str, Found]) -> Host:
    above = _above(found, others)
    return Host(
        part=_part(found, above),
        cluster=next((_part(one, above[number + 1 :]) for number, one in enumerate(above[:1])), Part()),
        datacenter=_datacenter(above),
        connected=found.get("runtime.connectionState") == "connected",
    )


def _above(found: Found, others: Mapping[str, Found]) -> list[Found]:
    """Return what an object is in, the nearest first, up to the root folder, which is left out."""
    above: list[Found] = []
    parent = found.get("parent")
    while parent is not None and (one := others.get(key_of(parent))) is not None:
        above.append(one)
        parent = one.get("parent")
    return above


def _part(found: Found, above: Sequence[Found]) -> Part:
    names = [str(one.get("name")) for one in (found, *above)]
    return Part(names[0], "/" + "/".join(reversed(names)), found.key)


def _datacenter(above: Sequence[Found]) -> Part:
    places = (number for number, one in enumerate(above) if isinstance(one.ref, vim.Datacenter))
    return next((_part(above[number], above[number + 1 :]) for number in places), Part())


def _datastore(found: Found, others: Mapping[str, Found], identity: str) -> Datastore:
    above = _above(found, others)
    datacenter = _datacenter(above)
    pods = (str(one.get("name")) for one in above if isinstance(one.ref, vim.StoragePod))
    mounts = _mounts(found)
    shared = found.get("summary.multipleHostAccess")
    return Datastore(
        identity=identity,
        path=_part(found, above).path,
        ref=found.ref,
        browser=found.get("browser"),
        datacenter=next((one.ref for one in above if isinstance(one.ref, vim.Datacenter)), None),
        dc_path=datacenter.path.removeprefix("/"),
        pod=next(pods, None),
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
