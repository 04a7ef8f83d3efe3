"""Sessions with the endpoints of the inventory: one in every process for each, limited in use, with what was seen."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pyVmomi import vmodl

from configdrive.errors import TransientCode, TransientError
from workers.driverkit.connections import Tally
from workers.hypervisors.vmware.session import Session
from workers.hypervisors.vmware.tls import trusting
from workers.hypervisors.vmware.topology import TopologyCache
from workers.hypervisors.vmware.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import VmUuid
    from workers.hypervisors.vmware.inventory import EndpointTable

_log = logging.getLogger(__name__)


_REMEMBERED: Final = 20_000
"""VMs whose managed object is remembered per process and endpoint."""


class Server:
    """One process's session with a server, and what it has seen there: datastores, VMs, what is in their drives.

    Args:
        session: with it.
        limit: so many may use it at once.
    """

    def __init__(self, session: Session, limit: int) -> None:
        self.process = os.getpid()
        self.session = session
        self.free = threading.BoundedSemaphore(limit)
        self.topology = TopologyCache(session)
        self.usage = Usage(session)
        self._known: dict[VmUuid, str] = {}

    def known(self, vm: VmUuid) -> str | None:
        """Return the managed object id that a VM had last time."""
        return self._known.get(vm)

    def remember(self, vm: VmUuid, key: str | None) -> None:
        """Note a VM's managed object id, or that it has none."""
        if key is None:
            self._known.pop(vm, None)
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[vm] = key


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
            TransientError: `HOST_UNREACHABLE` when all of its connections were busy for too long.
        """
        server = self._own()
        if not server.free.acquire(timeout=self._timeout):
            detail = f"endpoint {self.name}: all {self.table.connections} connections of this process were busy"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "raise 'connections' in the inventory")
        try:
            yield server
        finally:
            server.free.release()

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
                    server = self._server = Server(session, self.table.connections)
        return server
