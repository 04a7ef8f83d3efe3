"""The datastores on which images lie: the root disk's, or the inventory's fallback; and which hosts are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import HostName, Place, StorageName
from workers.hypervisors.vmware.image_folder import ImageFolder
from workers.hypervisors.vmware.paths import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.topology import Datastore, Topology
    from workers.hypervisors.vmware.vms import VmRecord


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
    def scope(self) -> frozenset[str]:
        """Managed object ids of the ESXi hosts that are meant.

        Raises:
            PermanentError: `UNKNOWN_HOST` when the endpoint has none of that name.
        """
        found = self._hosts(self._server.topology.get()) or self._hosts(self._server.topology.get(again=True))
        if not found:
            wanted = self._table.esxi or self._table.cluster or "any host"
            detail = f"endpoint {self._table.endpoint} has no host or cluster {wanted!r}"
            raise PermanentError(PermanentCode.UNKNOWN_HOST, detail, f"correct [vmware.hosts.{self._host}]")
        return found

    @property
    def of_files(self) -> Iterator[Place]:
        """Every datastore of these hosts that can hold images, also one that is not accessible now."""
        self._server.topology.get(again=True)
        yield from dict.fromkeys(self._place(store) for store in self._stores() if store.holds_files)

    def place_of(self, path: str) -> Place | None:
        """Return the place of a file by its datastore path; `None` when none of these hosts has that datastore."""
        store = self._find(split(path)[0])
        return None if store is None else self._place(store)

    def of_root_disk(self, record: VmRecord) -> Place | None:
        """Where images of this VM belong; `None` when that is not known."""
        if record.root is None:
            return None
        known = self._server.topology.get().datastores
        if record.root not in known and not any(one.name == record.root for one in known.values()):
            known = self._server.topology.get(again=True).datastores
        by_key = known.get(record.root)
        store = by_key if by_key is not None else self._find(record.root)
        return self._settled(store, record.root)

    def named(self, name: StorageName) -> Place:
        """Where images of a VM on this datastore, or on a member of this datastore cluster, lie.

        Of a datastore that only other hosts see, which a VM is about to leave: on one with room here.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
        """
        store = self._find(name) or self._member(name)
        if store is None and self._table.fallback_datastore is None and self._is_elsewhere(name):
            store = max(
                (one for one in self._stores() if one.usable and one.holds_files),
                key=lambda one: (one.shared, one.free, one.name),
                default=None,
            )
        return self._settled(store, name)

    def in_cluster(self, name: StorageName, record: VmRecord) -> Place | None:
        """Where images of this VM lie when the name is that of the datastore cluster of its root disk."""
        root = self.of_root_disk(record)
        store = None if root is None else self._find(root.storage)
        return root if store is not None and store.pod == name else None

    def sees(self, place: Place) -> bool:
        """Say whether these hosts reach a datastore of the same endpoint."""
        return self._find(place.storage) is not None

    def folder(self, place: Place) -> ImageFolder:
        """Give the images of a place.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND`.
            TransientError: `STORAGE_UNAVAILABLE` when no host reaches it, or it is in maintenance.
        """
        store = self._find(place.storage)
        if store is None or self._place(store) != place or not store.usable:
            self._server.topology.get(again=True)
            store = self._find(place.storage)
        if store is None or self._place(store) != place:
            detail = (
                f"host {self._host} has no datastore {place.storage!r} that is the one of {place.host or 'all hosts'}"
            )
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, "see its hosts in the vSphere client")
        if not store.usable:
            state = "in maintenance" if store.accessible else "not accessible"
            detail = f"datastore {store.name!r} is {state}"
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, detail, "see it in the vSphere client")
        return ImageFolder(self._server.session, self._server.usage, store)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _hosts(self, topology: Topology) -> frozenset[str]:
        table = self._table
        return frozenset(
            key
            for key, one in topology.hosts.items()
            if (table.esxi is None or one.name == table.esxi)
            and (table.cluster is None or one.cluster == table.cluster)
        )

    def _stores(self) -> list[Datastore]:
        scope = self.scope
        return [one for one in self._server.topology.get().datastores.values() if one.hosts & scope]

    def _find(self, name: str) -> Datastore | None:
        """Find a datastore that these hosts see.

        Raises:
            PermanentError: `MISCONFIGURED` when there are several of that name, in several datacenters.
        """
        found = [one for one in self._stores() if one.name == name]
        if len(found) > 1:
            detail = f"host {self._host} has {len(found)} datastores called {name!r}"
            remedy = "name an ESXi host or a cluster in the inventory: names are unique in one datacenter only"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
        return found[0] if found else None

    def _member(self, pod: str) -> Datastore | None:
        """The member of a datastore cluster with the most room, for a VM that is not there yet."""
        members = [one for one in self._stores() if one.pod == pod and one.usable]
        return max(members, key=lambda one: (one.free, one.name), default=None)

    def _is_elsewhere(self, name: str) -> bool:
        return any(name in {one.name, one.pod} for one in self._server.topology.get().datastores.values())

    def _settled(self, store: Datastore | None, name: str) -> Place:
        """The place on this datastore, or on the fallback when the inventory says so."""
        fallback = self._table.fallback_datastore
        fits = store is not None and store.holds_files and bool(store.hosts & self.scope)
        if store is not None and fits and (store.shared or fallback is None):
            return self._place(store)
        instead = None if fallback is None else self._find(fallback)
        if instead is not None and instead.holds_files:
            return self._place(instead)
        reason = "takes no files" if store is not None and not store.holds_files else "is not one of its datastores"
        detail = f"host {self._host}: {name!r} {reason}"
        remedy = f"name a datastore that all hosts see: fallback_datastore in [vmware.hosts.{self._host}]"
        raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, remedy)

    def _place(self, store: Datastore) -> Place:
        return Place(StorageName(store.name), None if store.shared else self._host)
