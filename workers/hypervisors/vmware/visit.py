"""A visit to a host of the inventory: a session for the length of a verb, with what that host sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.driverkit.storage_routes import not_on_host
from workers.hypervisors.vmware.vms import find_vm

if TYPE_CHECKING:
    from configdrive.model import Vm
    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.storages import Storages
    from workers.hypervisors.vmware.vms import VmRecord


@dataclass(frozen=True, slots=True)
class Visit:
    """A session with a host's endpoint, the host's part of the inventory, and its datastores."""

    table: HostTable
    server: Server
    storages: Storages

    def find(self, vm: Vm) -> VmRecord | None:
        """Read a VM; `None` when it is not on this host."""
        return find_vm(self.server, vm, self.table.identify_by, self.storages.scope)

    def find_anywhere(self, vm: Vm) -> VmRecord | None:
        """Read a VM, on whichever host of the endpoint it is."""
        return find_vm(self.server, vm, self.table.identify_by, self.server.topology.get().hosts.keys())

    def require(self, vm: Vm) -> VmRecord:
        """Read a VM.

        Raises:
            PermanentError: `VM_NOT_FOUND`.
        """
        record = self.find(vm)
        if record is None:
            raise not_on_host(vm)
        return record
