"""The datastores on which images lie: the root disk's, or the inventory's fallback; and which hosts are meant.

On a datastore they lie in the fleet's folder, or each in its VM's directory. The identity of a place says which:
`<server>/<datastore>`, or `<server>/<datastore>#<directory>`.

An event names a datastore as people do, and a name counts among those that its host sees. A place that the driver has
made itself says which one it is, and is found by that on the whole server, whatever it is called and whoever sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import IMAGE_FOLDER, AttachBy, HostName, Place, StorageName
from workers.hypervisors.vmware.image_folder import ImageFolder
from workers.hypervisors.vmware.inventory import Placement
from workers.hypervisors.vmware.paths import directory_of, split
from workers.hypervisors.vmware.topology import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import Vm
    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.records import Drive, SeenVm
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.topology import Datastore, Host, Topology

_IN: Final = "#"
"""Between the identity of a datastore and the VM's directory on it."""


def in_directory(place: Place) -> bool:
    """Say whether a place is a VM's directory, which no listing of folders shows."""
    return _IN in (place.identity or "")


class Storages:
    """The datastores of one host of the inventory: an ESXi host, a cluster, or all that an endpoint knows.

    Args:
        host: its name in the inventory.
        table: its part of the inventory.
        server: to its endpoint.
    """

    def __init__(self, host: HostName, table: HostTable, server: Server) -> None:
        self._host = host
        self._table = table
        self._server = server

    @property
    def host_id(self) -> str:
        """What the host says of itself: the server's identity and the ESXi host's, the cluster's, or no more."""
        hosts, table = self._server.topology.get().hosts, self._table
        meant = [hosts[key] for key in self.scope]
        if table.esxi:
            keys = {one.part.key for one in meant}
        elif table.cluster:
            keys = {one.cluster.key for one in meant}
        else:
            keys = {one.datacenter.key for one in meant} if table.datacenter else set()
        return "/".join((self._server.topology.get().server, *sorted(keys)))

    @property
    def scope(self) -> frozenset[str]:
        """Managed object ids of the ESXi hosts that are meant.

        Raises:
            PermanentError: `UNKNOWN_HOST` when the endpoint has none of that name, `MISCONFIGURED` when several.
        """
        found = self._hosts(self._server.topology.get()) or self._hosts(self._server.topology.get(again=True))
        topology, table = self._server.topology.get(), self._table
        if not found:
            topology.require_readable(table.esxi or "", table.cluster or "")
            wanted = table.esxi or table.cluster or table.datacenter or "any host"
            detail = f"endpoint {table.endpoint} has no host, cluster or datacenter {wanted!r}"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, detail, f"correct [vmware.hosts.{self._host}]")
        called = {self._meant(topology.hosts[key]).path for key in found}
        if len(called) > 1:
            detail = f"host {self._host}: endpoint {table.endpoint} has {len(called)} of that name: {sorted(called)}"
            remedy = f"say which datacenter, or give one of these paths, in [vmware.hosts.{self._host}]"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
        return found

    def has(self, seen: SeenVm) -> bool:
        """Say whether a VM is on these hosts; before it is not, they are looked at anew: one may just have come."""
        if seen.host not in self.scope:
            self._server.topology.get(again=True).require_readable(seen.host)
        return seen.host in self.scope

    @property
    def of_files(self) -> Iterator[Place]:
        """The fleet's folder on every datastore of these hosts, also on one that is not accessible now."""
        self._server.topology.get(again=True)
        yield from dict.fromkeys(self._place(store) for store in self._stores())

    @property
    def seen(self) -> list[Datastore]:
        """The datastores of these hosts, as they were seen last."""
        return self._stores()

    def place_of(self, drive: Drive) -> Place | None:
        """Return the place of the file in a drive; `None` when it is not known which datastore that is."""
        path = drive.path or ""
        store = self._server.topology.get().datastores.get(drive.store) or self._find(split(path)[0])
        return None if store is None else self.place_at(store, directory_of(path))

    def place_at(self, store: Datastore, directory: str) -> Place:
        """Return the place that is a directory of a datastore."""
        shown = directory.lower() == IMAGE_FOLDER
        if shown or (not store.holds_files and self._is_folder(store, directory)):
            return self._place(store)
        return self._place(store, directory)

    def own(self, vm: Vm, seen: SeenVm | None) -> Place | None:
        """Where images of a VM belong; `None` when that is not known.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`, `MISCONFIGURED`.
        """
        beside = None if vm.attach_by is AttachBy.ORCHESTRATOR else seen
        try:
            return self._chosen(vm, seen, beside)
        except PermanentError:  # before it is refused, all is looked at anew: it may just have been mounted
            self._server.topology.get(again=True)
            return self._chosen(vm, seen, beside)

    def home(self, seen: SeenVm) -> Place | None:
        """The directory with a VM's configuration; `None` when that is not known."""
        store = None if seen.home is None else self._called(seen.home[0], seen)
        return None if store is None or seen.home is None else self._place(store, seen.home[1])

    def sees_wherever(self, one: Place, other: Place) -> bool:
        """Say whether each of these hosts that reaches the other storage reaches this one too."""
        here = frozenset[str]().union(*(store.hosts for store in self._at(one)))
        there = frozenset[str]().union(*(store.hosts for store in self._at(other, near=True)))
        return bool(here & self.scope) and (there & self.scope) <= here

    def folder(self, place: Place, *, near: bool = False) -> ImageFolder:
        """Give the images of a place.

        Args:
            place: whichever hosts of the server see it.
            near: only when these hosts see it.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
            TransientError: `STORAGE_UNAVAILABLE` when no host reaches it, or it is in maintenance.
        """
        if place.identity is not None and not place.identity.startswith(f"{self._server.topology.get().server}/"):
            raise self._unknown(place)
        stores = self._at(place, near=near)
        if not any(store.usable for store in stores):
            self._server.topology.get(again=True)
            stores = self._at(place, near=near)
        if not stores:
            raise self._unknown(place)
        scope = self.scope
        store = max(stores, key=lambda one: (one.usable, bool(one.hosts & scope)))
        if not store.usable:
            state = "in maintenance" if store.accessible else "not accessible"
            detail = f"datastore {store.name!r} is {state}"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see it in the vSphere client")
        _, inside, directory = (place.identity or "").partition(_IN)
        return ImageFolder(self._server, store, directory if inside else None)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _chosen(self, vm: Vm, seen: SeenVm | None, beside: SeenVm | None) -> Place | None:
        if vm.primary_storage is not None:
            return self._named(vm.primary_storage, seen, beside)
        if seen is None or seen.root is None:
            return None
        return self._settled(self._of_root_disk(seen), seen.root, beside)

    def _is_folder(self, store: Datastore, directory: str) -> bool:
        return directory == self._server.namespaces.find(store, IMAGE_FOLDER, lately=True)

    def _of_root_disk(self, seen: SeenVm) -> Datastore | None:
        root = seen.root or ""
        known = self._server.topology.get().datastores
        if root not in known and not any(one.name == root for one in known.values()):
            known = self._server.topology.get(again=True).datastores
        return known[root] if root in known else self._called(root, seen)

    def _called(self, name: str, seen: SeenVm) -> Datastore | None:
        """The datastore that a VM calls so: names are unique among those of one datacenter."""
        known = self._server.topology.get().datastores
        used = [known[key] for key in seen.stores if key in known and known[key].name == name]
        return used[0] if len(used) == 1 else self._find(name)

    def _named(self, name: StorageName, seen: SeenVm | None, beside: SeenVm | None) -> Place:
        """Where images of a VM on this datastore, or on a member of this datastore cluster, lie.

        Of a datastore that only other hosts see, which a VM is about to leave: on one with room here.
        """
        root = None if seen is None or seen.root is None else self._of_root_disk(seen)
        if root is not None and (root.is_called(name) or name == root.pod):
            return self._settled(root, name, beside)
        store = self._find(name) or self._member(name)
        if store is None and self._table.fallback_datastore is None and self._is_elsewhere(name):
            store = max(
                (one for one in self._stores() if one.usable),
                key=lambda one: (one.holds_files, one.shared, one.free, one.name),
                default=None,
            )
        return self._settled(store, name, None)

    def _hosts(self, topology: Topology) -> frozenset[str]:
        table = self._table
        return frozenset(
            key
            for key, one in topology.hosts.items()
            if (table.datacenter is None or one.datacenter.is_called(table.datacenter))
            and (table.esxi is None or one.part.is_called(table.esxi))
            and (table.cluster is None or one.cluster.is_called(table.cluster))
        )

    def _meant(self, host: Host) -> Part:
        """The part of the inventory that a name in the table is that of."""
        table = self._table
        if table.esxi is not None:
            return host.part
        if table.cluster is not None:
            return host.cluster
        return Part() if table.datacenter is None else host.datacenter

    def _stores(self) -> list[Datastore]:
        scope = self.scope
        return [one for one in self._server.topology.get().datastores.values() if one.hosts & scope]

    def _at(self, place: Place, *, near: bool = False) -> list[Datastore]:
        """The datastores that are this storage; by its name, which these hosts know, only where nobody says more."""
        if place.identity is None:
            store = self._find(place.storage)
            return [] if store is None else [store]
        known = self._server.topology.get().known(place.identity.partition(_IN)[0])
        return [one for one in known if one.hosts & self.scope] if near else known

    def _unknown(self, place: Place) -> PermanentError:
        key = (place.identity or "").partition(_IN)[0].partition("/")[2]
        self._server.topology.get().require_readable(key or place.storage)
        detail = f"host {self._host}: endpoint {self._table.endpoint} has no datastore {place.storage!r} like that one"
        return PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "look for it in the vSphere client")

    def _find(self, name: str) -> Datastore | None:
        """Find a datastore that these hosts see.

        Raises:
            PermanentError: `MISCONFIGURED` when there are several of that name, in several datacenters.
        """
        found = [one for one in self._stores() if one.is_called(name)]
        if len(found) > 1:
            detail = f"host {self._host} has {len(found)} datastores called {name!r}"
            remedy = f"say which datacenter in [vmware.hosts.{self._host}]: names are unique in one only"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
        return found[0] if found else None

    def _member(self, pod: str) -> Datastore | None:
        """The member of a datastore cluster with the most room, for a VM that is not there yet."""
        members = [one for one in self._stores() if one.pod == pod and one.usable]
        return max(members, key=lambda one: (one.free, one.name), default=None)

    def _is_elsewhere(self, name: str) -> bool:
        return any(one.is_called(name) or name == one.pod for one in self._server.topology.get().datastores.values())

    def _settled(self, store: Datastore | None, name: str, beside: SeenVm | None) -> Place:
        """The place on this datastore, or on the fallback when the inventory says so.

        Args:
            store: the datastore.
            name: by which it was asked for.
            beside: the VM in whose directory the image may lie.
        """
        fallback = self._table.fallback_datastore
        if store is not None and store.hosts & self.scope and (store.shared or fallback is None):
            usual = Placement.FOLDER if store.holds_files else Placement.VM_DIRECTORY
            home = None
            if beside is not None and (self._table.placement or usual) is Placement.VM_DIRECTORY:
                home = self.home(beside)
            if home is not None or store.holds_files or fallback is None or self._table.placement is Placement.FOLDER:
                return home or self._place(store)
        instead = None if fallback is None else self._find(fallback)
        if instead is not None:
            return self._place(instead)
        self._server.topology.get().require_readable(name)
        detail = f"host {self._host}: {name!r} is not one of its datastores"
        remedy = f"name a datastore that all hosts see: fallback_datastore in [vmware.hosts.{self._host}]"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, remedy)

    def _place(self, store: Datastore, directory: str | None = None) -> Place:
        identity = store.identity if directory is None else f"{store.identity}{_IN}{directory}"
        return Place(StorageName(store.name), None if store.shared else self._host, identity)
