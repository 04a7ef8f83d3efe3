"""A visit to a host of the inventory: a session for the length of a verb, with what that host sees."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pyVmomi import vim

from configdrive.errors import PermanentError, TransientCode, TransientError
from workers.driverkit.storage_routes import not_on_host
from workers.hypervisors.vmware.session import key_of
from workers.hypervisors.vmware.vms import find_all, find_vm

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import StoredImage, Vm
    from workers.hypervisors.vmware.inventory import HostTable
    from workers.hypervisors.vmware.records import SeenVm
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.storages import Storages

_Result = TypeVar("_Result")

_TRIES: Final = 3
"""Times that a VM is looked at anew because somebody else has changed it since the last look."""

_OUTDATED: Final[tuple[Any, ...]] = (
    vim.fault.InvalidPowerState,
    vim.fault.InvalidDeviceOperation,
    vim.fault.InvalidDeviceSpec,
)
"""What vSphere answers to a change that fits what the VM was when it was seen last, and does not any more."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A session with a host's server, the host's part of the inventory, and its datastores.

    Attributes:
        outside: VMs that were meant and are on other hosts.
    """

    table: HostTable
    server: Server
    storages: Storages
    outside: list[SeenVm] = field(default_factory=list)

    def find(self, vm: Vm) -> SeenVm | None:
        """Read a VM; `None` when it is not on this host."""
        self.outside.clear()

        def inside(seen: SeenVm) -> bool:
            there = self.storages.has(seen)
            if not there:
                self.outside.append(seen)
            return there

        return self._noted(vm, find_vm(self.server, vm, self.table.identify_by, inside))

    @property
    def elsewhere(self) -> tuple[str, str] | None:
        """On which host the VM is that was not found here, and what to do about it."""
        hosts = self.server.topology.get().hosts
        one = next((hosts[seen.host] for seen in self.outside if seen.host in hosts), None)
        if one is None:
            return None
        remedy = (
            "send the migrate event, or name this host; where DRS moves VMs, let the inventory's host be the cluster"
        )
        return f"it is on ESXi host {one.part.name!r} of {one.cluster.name!r}", remedy

    def find_anywhere(self, vm: Vm) -> SeenVm | None:
        """Read a VM, on whichever host of the server it is."""
        return self._noted(vm, find_vm(self.server, vm, self.table.identify_by, lambda _: True))

    def ref_of(self, seen: SeenVm) -> str:
        """Say which object a VM is, by whatever name of the inventory it was found."""
        return f"{self.server.topology.get().server}/{key_of(seen.ref)}"

    def change(self, vm: Vm, change: Callable[[SeenVm], _Result]) -> _Result:
        """Change a VM as it was seen lately; when that does not hold any more, look and decide again.

        A change that is sent goes with the version that it was decided on. That there is nothing to change is decided
        on a look of now only.

        Raises:
            PermanentError: `VM_NOT_FOUND`; otherwise as `change`.
            TransientError: `VM_BUSY` when it is changed by others again and again.
        """
        lately = self.server.lately.get(vm.uuid)
        if lately is not None and lately.changeable and self.storages.has(lately):
            with suppress(PermanentError, vim.fault.ConcurrentAccess, *_OUTDATED):
                result = change(lately)
                if self.server.lately.get(vm.uuid) is not lately:
                    return result
        for _ in range(_TRIES):
            seen = self.find(vm)
            if seen is None:
                raise not_on_host(vm, self.elsewhere)
            try:
                return change(seen)
            except vim.fault.ConcurrentAccess:
                continue
        detail = f"VM {vm.instance_name} ({vm.uuid}) is being changed by others all the time"
        raise TransientError(TransientCode.VM_BUSY, detail)

    def require_unused(self, vm: Vm, image: StoredImage) -> list[SeenVm]:
        """Return the VMs that may be meant when none has the image in a drive, wherever on the server it is.

        Raises:
            TransientError: `IMAGE_IN_USE`.
        """
        lately = self.server.lately.get(vm.uuid)
        vms = [lately] if lately is not None else find_all(self.server, vm, self.table.identify_by)
        for seen in vms:
            for name, drive in seen.fleet_drives:
                if str(name).lower() == str(image.name).lower() and self.storages.place_of(drive) == image.place:
                    detail = f"VM {seen.name} has the image {image.name} in a drive"
                    raise TransientError(TransientCode.IMAGE_IN_USE, detail, "detach it first")
        return vms

    def _noted(self, vm: Vm, seen: SeenVm | None) -> SeenVm | None:
        if seen is None:
            self.server.lately.forget(vm.uuid)
        else:
            self.server.lately.keep(vm.uuid, seen)
        return seen
