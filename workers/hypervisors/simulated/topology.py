"""The topology: hosts, the storages that they see, and where those lie in the directory. Reads no VM."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import IMAGE_FOLDER, HostName, Place, StorageName
from workers.hypervisors.simulated.image_folder import DOWN, Storage

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A storage as one host's inventory has it: seen by several hosts or not, and its size (`None`: no limit)."""

    shared: bool = False
    capacity_bytes: int | None = None


Hosts = Mapping[HostName, Mapping[StorageName, StorageSpec]]


class Topology:
    """The hosts and storages of one simulated cloud, below the directory `root`.

    A shared storage is `shared/<storage>`, a local one `hosts/<host>/<storage>`; the images lie in its `configdrive`.
    An empty file `.down` in the folder of a host or storage takes it off the network.
    """

    def __init__(self, root: Path, hosts: Hosts) -> None:
        self._root = root
        self._hosts = {
            host: {
                name: Storage(
                    place := Place(name, None if spec.shared else host),
                    self._folder(place),
                    spec.capacity_bytes,
                )
                for name, spec in storages.items()
            }
            for host, storages in hosts.items()
        }

    @property
    def hosts(self) -> Collection[HostName]:
        """The names of all hosts, in the inventory's order."""
        return self._hosts.keys()

    def prepare(self) -> None:
        """Make the folders of all hosts and storages that are not there yet."""
        for host in self._hosts:
            self._host_folder(host).mkdir(parents=True, exist_ok=True)
            for storage in self.of(host):
                storage.folder.mkdir(parents=True, exist_ok=True)

    def of(self, host: HostName) -> Collection[Storage]:
        """All storages of one host.

        Raises:
            PermanentError: `UNKNOWN_HOST`.
        """
        storages = self._hosts.get(host)
        if storages is None:
            raise PermanentError(
                PermanentCode.UNKNOWN_HOST,
                f"the simulated inventory has no host {host!r}",
                f"add [simulated.hosts.{host}] to the inventory, or correct the event",
            )
        return storages.values()

    def find(self, host: HostName, name: StorageName) -> Storage | None:
        """The storage that `host` knows under this name, if any."""
        return self._hosts.get(host, {}).get(name)

    def storage(self, host: HostName, name: StorageName) -> Storage:
        """The storage that `host` knows under this name.

        Raises:
            PermanentError: `UNKNOWN_HOST` or `STORAGE_NOT_FOUND`.
        """
        self.of(host)
        found = self.find(host, name)
        if found is None:
            raise PermanentError(
                PermanentCode.STORAGE_NOT_FOUND,
                f"host {host!r} has no storage {name!r}",
                f"add it to [simulated.hosts.{host}], or correct the event",
            )
        return found

    def reach(self, place: Place, via: HostName) -> Storage:
        """The storage behind `place`, through its own host, or for a shared one through `via` or any host that is up.

        Raises:
            PermanentError: `UNKNOWN_HOST` or `STORAGE_NOT_FOUND`.
            TransientError: `HOST_UNREACHABLE` when no host leads there now, `STORAGE_UNAVAILABLE`.
        """
        if place.host is not None:
            storage = self.storage(place.host, place.storage)
            self.require_up(place.host)
        else:
            storage = self._reach_shared(place, via)
        storage.require_up()
        return storage

    def _reach_shared(self, place: Place, via: HostName) -> Storage:
        known = list(self._sharing(place.storage, via))
        if not known:
            raise PermanentError(
                PermanentCode.STORAGE_NOT_FOUND,
                f"no host of the simulated inventory shares a storage {place.storage!r}",
                "name the host of a storage that is not shared",
            )
        for host, storage in known:
            if self.is_up(host):
                return storage
        raise _unreachable(known[0][0])

    def _sharing(self, name: StorageName, via: HostName) -> Iterator[tuple[HostName, Storage]]:
        for host in (via, *(host for host in self._hosts if host != via)):
            storage = self.find(host, name)
            if storage is not None and storage.place.host is None:
                yield host, storage

    def require_up(self, host: HostName) -> None:
        """Return when the host answers.

        Raises:
            PermanentError: `UNKNOWN_HOST`.
            TransientError: `HOST_UNREACHABLE`.
        """
        self.of(host)
        if not self.is_up(host):
            raise _unreachable(host)

    def is_up(self, host: HostName) -> bool:
        """Say whether a host of the inventory answers now."""
        return not os.path.exists(f"{self._root}/hosts/{host}/{DOWN}")  # noqa: PTH110 - as in `Storage.require_up`

    def set_up(self, host: HostName, *, up: bool) -> None:
        """Take a host off the network, or bring it back."""
        self.of(host)
        _mark(self._host_folder(host) / DOWN, present=not up)

    def set_storage_up(self, place: Place, *, up: bool) -> None:
        """Take a storage off the network of all its hosts, or bring it back."""
        _mark(self._folder(place).parent / DOWN, present=not up)

    def _host_folder(self, host: HostName) -> Path:
        return self._root / "hosts" / host

    def _folder(self, place: Place) -> Path:
        above = self._root / "shared" if place.host is None else self._host_folder(place.host)
        return above / place.storage / IMAGE_FOLDER


def _mark(path: Path, *, present: bool) -> None:
    if present:
        path.touch()
    else:
        path.unlink(missing_ok=True)


def _unreachable(host: HostName) -> TransientError:
    return TransientError(TransientCode.HOST_UNREACHABLE, f"host {host!r} does not answer")
