"""One host of the inventory: its connections, and a visit to it while a verb lasts."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from workers.driverkit.cache import Cache
from workers.driverkit.ssh import Sftp
from workers.driverkit.tables import unknown_host
from workers.hypervisors.kvm.access import capabilities
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.sessions import LISTED_SECONDS, HostLinks
from workers.hypervisors.kvm.storages import Storages
from workers.hypervisors.kvm.uris import is_plain_tcp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import PurePosixPath

    from configdrive.model import HostName
    from configdrive.ports import Connections
    from workers.hypervisors.kvm.inventory import HostTable
    from workers.hypervisors.kvm.sessions import Link

_log = logging.getLogger(__name__)

REPEATED: Final = frozenset(
    {
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
"""Host uuids that makers of boards have given to thousands of them."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A connection to a host for the length of a verb, with the host's storages as they are now.

    Args:
        host, table: its name and part of the inventory.
        host_id: what the host is, whatever it is called: `Observation.host_id`.
    """

    host: HostName
    table: HostTable
    link: Link
    storages: Storages
    host_id: str


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
        self.identity: str | None = table.host_uuid
        self._identities: Cache[PurePosixPath, str] = Cache(LISTED_SECONDS)

    @contextmanager
    def visit(self, *, tried: bool = True) -> Iterator[Visit]:
        """Give a connection and the host's storages for the length of a verb.

        Args:
            tried: see `HostLinks.borrow`.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`.
        """
        with self._links.borrow(tried=tried) as link:
            storages = Storages(self.name, self.table, link, self.sftp, self._identities)
            if self.table.host_uuid is None:
                self.identity = self._identity(link)
            yield Visit(self.name, self.table, link, storages, self.identity or "")

    def connections(self) -> list[Connections]:
        """Count the connections of this process."""
        return [self._links.tally.now, *([] if self.sftp is None else [self.sftp.tally.now])]

    def close(self) -> None:
        """Close the connections of this process."""
        self._links.close()
        if self.sftp is not None:
            self.sftp.close()

    def _identity(self, link: Link) -> str:
        uuid = capabilities(link).uuid
        return f"{uuid}@{urlsplit(self.table.uri).hostname or 'localhost'}" if uuid in REPEATED else uuid


def find_host(hosts: Mapping[HostName, Host], name: HostName) -> Host:
    """Look a host up.

    Raises:
        PermanentError: `UNKNOWN_HOST`.
    """
    host = hosts.get(name)
    if host is None:
        raise unknown_host("kvm", name)
    return host
