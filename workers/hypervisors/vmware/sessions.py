"""Sessions with the endpoints of the inventory: one in every process for each, limited in use, with what was seen."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pyVmomi import vim, vmodl

from workers.driverkit.cache import Cache
from workers.driverkit.connections import Limit, Tally
from workers.hypervisors.vmware.namespaces import Namespaces
from workers.hypervisors.vmware.session import Session
from workers.hypervisors.vmware.tls import trusting
from workers.hypervisors.vmware.topology import topology_of
from workers.hypervisors.vmware.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import VmUuid
    from workers.hypervisors.vmware.inventory import EndpointTable
    from workers.hypervisors.vmware.records import SeenVm

_log = logging.getLogger(__name__)


LATELY: Final = 5.0
"""Seconds for which a verb believes what the verb before it saw or did: a VM's drives, a file that is there.

A change goes with the version of the configuration that it was decided on, so that it is refused when that is not
true any more; a file that somebody takes away meanwhile could as well go a moment after any look.
"""

_VMS, _LATELY, _FILES = 20_000, 256, 1024
"""How many are remembered per process and server."""


class Server:
    """One process's session with a server, and what it has seen there.

    Args:
        session: with it.
        limit: how many may use it at once.

    Attributes:
        topology: its datastores, hosts and clusters.
        namespaces: the directories that its vSAN and vVol datastores have at the top.
        usage: what its VMs have in their drives, for those who ask of all.
        vms: a VM's uuid -> the managed object id that it had last time.
        lately: a VM's uuid -> the VM as it was read, or left by a change, lately.
        files: datastore path with the datastore's identity -> whether a whole file was there lately.
    """

    def __init__(self, session: Session, limit: Limit) -> None:
        self.process = os.getpid()
        self.session = session
        self.limit = limit
        self.topology = topology_of(session)
        self.namespaces = Namespaces(session)
        self.usage = Usage(session)
        self.vms: Cache[VmUuid, str] = Cache(most=_VMS)
        self.lately: Cache[VmUuid, SeenVm] = Cache(LATELY, _LATELY)
        self.files: Cache[tuple[str, str], bool] = Cache(LATELY, _FILES)

    @contextmanager
    def naming_refusals(self) -> Iterator[None]:
        """As `Session.naming_refusals`; when a datastore has another name now, the next verb looks at all again."""
        with self.session.naming_refusals():
            try:
                yield
            except vim.fault.InvalidDatastore:
                self.topology.expire()
                raise


class Sessions:
    """The sessions with one endpoint; connects to nothing before it is needed.

    Args:
        name: of the endpoint in the inventory.
        table: its part of the inventory.
        timeout: seconds to wait for an answer.

    Raises:
        PermanentError: `MISCONFIGURED`, when its CA file cannot be read.
    """

    def __init__(self, name: str, table: EndpointTable, timeout: float) -> None:
        self.name = name
        self.table = table
        self.tally = Tally(name, "vsphere")
        self._timeout = timeout
        self._context = trusting(table.ca_file, table.fingerprint, verify=table.verify_tls)
        if not table.verify_tls:
            _log.warning("vmware endpoint %s: verify_tls is off, the password goes to whoever answers there", name)
        self._server: Server | None = None
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Server]:
        """Give this process's session for a while, when it is not in too much use already.

        Raises:
            TransientError: `SATURATED` when all of its connections were busy for too long.
            PermanentError: `ACCESS_DENIED` when the user lacks a privilege; it names that.
        """
        server = self._own()
        with server.limit.one(self._timeout), server.naming_refusals():
            yield server

    def close(self) -> None:
        """Log out, if this process has logged in."""
        server, self._server = self._server, None
        if server is not None and server.process == os.getpid():
            with contextlib.suppress(vmodl.MethodFault, OSError, http.client.HTTPException):
                server.session.close()

    def _own(self) -> Server:
        """Return this process's session; a forked child begins without any, and leaves the parent's alone."""
        server = self._server
        if server is None or server.process != os.getpid():
            if server is not None:
                self._lock = threading.Lock()  # the parent's thread that held it does not exist here
            with self._lock:
                server = self._server
                if server is None or server.process != os.getpid():
                    session = Session(self.table, self._context, self._timeout, self.tally)
                    most = self.table.connections
                    limit = Limit(most, f"endpoint {self.name}: all {most} connections", "connections")
                    server = self._server = Server(session, limit)
        return server
