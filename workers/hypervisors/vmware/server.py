"""A vCenter or ESXi host as one process knows it: its session, and what was seen there."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from workers.hypervisors.vmware.topology import TopologyCache
from workers.hypervisors.vmware.usage import Usage

if TYPE_CHECKING:
    from configdrive.model import VmUuid
    from workers.hypervisors.vmware.session import Session

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
