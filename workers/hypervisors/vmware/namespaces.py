"""Top-level directories of datastores that let nobody make folders there: vSAN and vVols make an object for each.

The object's directory is called by a uuid, and has a name for display that leads there. Paths are made with the uuid,
which the namespace manager answers when it makes the directory, and says again of one that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyVmomi import vim, vmodl

from workers.driverkit.cache import Cache

if TYPE_CHECKING:
    from workers.hypervisors.vmware.session import Session
    from workers.hypervisors.vmware.topology import Datastore

MISSING_SECONDS: Final = 5.0
"""How long it is believed that a directory is not there, by those for whom that is good enough."""


class Namespaces:
    """The directories of one server's datastores, as far as they were asked for.

    Args:
        session: with the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: Cache[tuple[str, str], str] = Cache()
        self._missing: Cache[tuple[str, str], bool] = Cache(MISSING_SECONDS)

    def find(self, store: Datastore, shown: str, *, lately: bool = False) -> str | None:
        """Return the directory that is shown by this name; `None` when there is none.

        Args:
            store: where.
            shown: the name for display.
            lately: that there was none a moment ago is good enough.

        Raises:
            vmodl.MethodFault: what the server answered.
        """
        key = store.identity, shown
        known = self._found.get(key)
        if known is not None or (lately and self._missing.get(key)):
            return known
        url = f"{store.url.rstrip('/')}/{shown}"
        try:
            path = self._manager.ConvertNamespacePathToUuidPath(datacenter=store.datacenter, namespaceUrl=url)
        except (vim.fault.InvalidDatastorePath, vim.fault.FileNotFound):
            self._missing.keep(key, value=True)
            return None
        except (vmodl.fault.NotSupported, vmodl.fault.MethodNotFound):  # before 6.5; the other name leads there too
            path = shown
        return self._found.keep(key, _last(path))

    def make(self, store: Datastore, shown: str) -> None:
        """Make the directory, unless it is there.

        Raises:
            vim.fault.CannotCreateFile: the datastore takes none.
            vmodl.MethodFault: what else the server answered.
        """
        key = store.identity, shown
        try:
            path = self._manager.CreateDirectory(datastore=store.ref, displayName=shown)
        except vim.fault.FileAlreadyExists:
            self._found.forget(key)
            if self.find(store, shown) is None:
                self._found.keep(key, shown)
        else:
            self._found.keep(key, _last(path))

    def remove(self, store: Datastore, directory: str) -> None:
        """Delete a directory, which must be empty.

        Raises:
            vmodl.MethodFault: what the server answered.
        """
        path = f"{store.url.removeprefix('ds://').rstrip('/')}/{directory}"
        self._manager.DeleteDirectory(datacenter=store.datacenter, datastorePath=path)

    @property
    def _manager(self) -> vim.DatastoreNamespaceManager:
        return self._session.content.datastoreNamespaceManager


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
