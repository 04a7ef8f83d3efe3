"""One host of the inventory: its connections, and a visit to it while a verb lasts."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configdrive.errors import TransientCode, TransientError
from workers.driverkit.ssh import Sftp
from workers.driverkit.tables import unknown_host
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.sessions import HostLinks
from workers.hypervisors.kvm.storages import Storages
from workers.hypervisors.kvm.uris import is_plain_tcp
from workers.hypervisors.kvm.vms import find_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.model import HostName, ImageName
    from configdrive.ports import Connections
    from workers.hypervisors.kvm.image_folder import ImageFolder
    from workers.hypervisors.kvm.inventory import HostTable
    from workers.hypervisors.kvm.sessions import Link

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """A connection to a host for the length of a verb, with the host's storages as they are now."""

    host: HostName
    table: HostTable
    link: Link
    storages: Storages

    def require_unused(self, folder: ImageFolder, name: ImageName) -> None:
        """Return when no VM of this host has the image in a drive, running, saved or defined.

        Raises:
            TransientError: `IMAGE_IN_USE`.
        """
        user = find_user(self.link, folder.directory, folder.pool, name)
        if user is not None:
            detail = f"VM {user} on host {self.host} has the image {name} in a drive"
            raise TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")


class Host:
    """One host: holds its connections of this process, opens none before they are needed.

    Args:
        name: in the inventory.
        table: its part of the inventory.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, name: HostName, table: HostTable, timeout: float) -> None:
        if is_plain_tcp(table.uri):
            _log.warning("kvm host %s: %s is neither encrypted nor authenticated; use qemu+tls://", name, table.uri)
        self.name = name
        self.table = table
        self.sftp = None if table.ssh is None else Sftp("kvm", name, table.ssh, timeout, translated)
        self._links = HostLinks(name, table.libvirt_uri, timeout, table.connections)

    @contextmanager
    def connect(self) -> Iterator[Link]:
        """Give a working connection to libvirt for a while.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`.
        """
        with self._links.borrow() as link:
            yield link

    @contextmanager
    def visit(self) -> Iterator[Visit]:
        """Give a connection and the host's storages for the length of a verb.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`.
        """
        with self.connect() as link:
            yield Visit(self.name, self.table, link, Storages(self.name, self.table, link, self.sftp))

    def connections(self) -> list[Connections]:
        """Count the connections of this process."""
        return [self._links.tally.now, *([] if self.sftp is None else [self.sftp.tally.now])]

    def close(self) -> None:
        """Close the connections of this process."""
        self._links.close()
        if self.sftp is not None:
            self.sftp.close()


def find_host(hosts: Mapping[HostName, Host], name: HostName) -> Host:
    """Look a host up.

    Raises:
        PermanentError: `UNKNOWN_HOST`.
    """
    host = hosts.get(name)
    if host is None:
        raise unknown_host("kvm", name)
    return host
