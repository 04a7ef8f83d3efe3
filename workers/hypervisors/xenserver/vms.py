"""The VMs of a pool: which one an event means, on which host it is, its drives, and the storage of its root disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName, PowerState
from workers.hypervisors.xenserver.slots import Drive, inserted_for, read_drives, root_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.model import Vm
    from workers.hypervisors.xenserver.records import HostRecord, Ref, SrRecord, VbdRecord, VmRecord
    from workers.hypervisors.xenserver.visit import Visit

POWER: Final = {
    "Halted": PowerState.HALTED,
    "Running": PowerState.RUNNING,
    "Paused": PowerState.PAUSED,
    "Suspended": PowerState.SUSPENDED,
}


class FoundVm(NamedTuple):
    """A VM as it is now: its record, its drives, and the storage (SR) of its root disk."""

    record: VmRecord
    drives: tuple[Drive, ...]
    storage: SrRecord | None


def look(visit: Visit, vm: Vm, host: HostRecord) -> FoundVm | None:
    """Read a VM with its drives; `None` when it is not on this host.

    A VM of a pool is known to all its hosts. It is on the host where it runs; a halted one is on every host that has
    the storage of its root disk.
    """
    record = _find(visit, vm)
    if record is None or (record.is_live and record.resident_on != host.ref):
        return None
    vbds = visit.xapi.vbds(record.ref)
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    storage = None if sr is None else visit.topology.storages.get(sr) or visit.refreshed().storages.get(sr)
    if not record.is_live and storage is not None and visit.topology.pbd(storage.ref, host.ref) is None:
        return None
    return FoundVm(record, read_drives(visit, vbds), storage)


def power_here(visit: Visit, found: FoundVm | None) -> PowerState:
    """Return a VM's power state; `UNDEFINED` also while it is halted with a medium that was inserted for another host.

    That medium is not this host's to take out.
    """
    if found is None:
        return PowerState.UNDEFINED
    vbds = [drive.vbd for drive in found.drives if drive.image is not None]
    return PowerState.UNDEFINED if _is_another_s(visit, found.record, vbds) else POWER[found.record.power_state]


def is_here(visit: Visit, host: HostRecord, vm: VmRecord, vbds: Mapping[Ref, VbdRecord]) -> bool:
    """Say whether a VM is on the host: running there, or halted with its root disk on a storage of the host."""
    if vm.is_live:
        return vm.resident_on == host.ref
    if _is_another_s(visit, vm, [vbd for vbd in vbds.values() if vbd.medium is not None]):
        return False
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    if sr is None:
        return vm.affinity == host.ref
    return visit.topology.pbd(sr, host.ref) is not None


def _is_another_s(visit: Visit, record: VmRecord, full: list[VbdRecord]) -> bool:
    """Say whether a halted VM's medium was inserted for another host of this pool."""
    marked = None if record.is_live else inserted_for(full)
    return marked is not None and marked != visit.name and HostName(marked) in visit.pool.hosts


def _find(visit: Visit, vm: Vm) -> VmRecord | None:
    """Find a VM by its uuid, else by its instance name as the name label; `None` when the pool has none.

    Raises:
        PermanentError: `VM_NOT_FOUND` when several have this name and none this uuid.
    """
    kept, xapi = visit.pool.kept, visit.xapi
    known = kept.vms.get(vm.uuid)
    if known is not None:
        record = xapi.vm(known)
        if record is not None and (record.uuid == vm.uuid or record.name_label == vm.instance_name):
            return record
    record = xapi.vm_by_uuid(vm.uuid) or _called(visit, vm)
    kept.keep(kept.vms, vm.uuid, None if record is None else record.ref)
    return record


def _called(visit: Visit, vm: Vm) -> VmRecord | None:
    records = [visit.xapi.vm(ref) for ref in visit.xapi.vms_called(vm.instance_name)]
    found = [record for record in records if record is not None and record.is_a_vm]
    if len(found) > 1:
        detail = f"{len(found)} VMs are called {vm.instance_name!r}, and none has the uuid {vm.uuid}"
        raise PermanentError(PermanentCode.VM_NOT_FOUND, detail, "rename the others, or send XAPI's uuid")
    return found[0] if found else None
