"""The VMs of a pool: which one an event means, on which host it is, its drives, and the storage of its root disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import PowerState
from workers.hypervisors.xenserver.inventory import IdentifyBy
from workers.hypervisors.xenserver.names import VM_MARK
from workers.hypervisors.xenserver.slots import Drive, inserted_for, read_drives, root_of
from workers.hypervisors.xenserver.topology import is_shared

if TYPE_CHECKING:
    from collections.abc import Collection

    from configdrive.model import Vm
    from workers.hypervisors.xenserver.records import HostRecord, SrRecord, VbdRecord, VmRecord
    from workers.hypervisors.xenserver.visit import Visit

POWER: Final = {
    "Halted": PowerState.HALTED,
    "Running": PowerState.RUNNING,
    "Paused": PowerState.PAUSED,
    "Suspended": PowerState.SUSPENDED,
}


class FoundVm(NamedTuple):
    """A VM as it is now: its record, all its VBDs, its drives, and the storage (SR) of its root disk."""

    record: VmRecord
    vbds: Collection[VbdRecord]
    drives: tuple[Drive, ...]
    storage: SrRecord | None


def look(visit: Visit, vm: Vm, host: HostRecord) -> FoundVm | None:
    """Read a VM with its drives; `None` when it is not on this host.

    A VM of a pool is known to all its hosts. It is on the host where it runs; a halted one is on every host that has
    the storage of its root disk.

    Raises:
        PermanentError: as `find`.
    """
    record = find(visit, vm)
    if record is None or (record.is_live and record.resident_on != host.ref):
        return None
    vbds = visit.xapi.vbds(record.ref).values()
    if record.uuid != vm.uuid:
        _require_no_other_mark(vm, record, vbds)
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    storage = None if sr is None else visit.topology.storages.get(sr) or visit.refreshed().storages.get(sr)
    if not record.is_live and storage is not None and visit.topology.pbd(storage.ref, host.ref) is None:
        return None
    return FoundVm(record, vbds, read_drives(visit, vbds), storage)


def storage_for(visit: Visit, found: FoundVm, host: HostRecord) -> SrRecord | None:
    """Return the storage for a VM's images: its root disk's, or the one that all hosts see if HA restarts the VM.

    Raises:
        PermanentError: `STORAGE_NOT_FOUND` when the host has no `fallback_sr`.
    """
    fallback = visit.pool.table.fallback_sr
    if found.storage is None or fallback is None or is_shared(found.storage) or not found.record.is_protected:
        return found.storage
    return visit.storage(fallback, host)


def power_here(visit: Visit, host: HostRecord, found: FoundVm | None) -> PowerState:
    """Return a VM's power state; `UNDEFINED` also while it is halted with a medium that was inserted for another host.

    That medium is not this host's to take out.
    """
    if found is None:
        return PowerState.UNDEFINED
    vbds = [drive.vbd for drive in found.drives if drive.image is not None]
    other = _is_another_s(visit, host, found.record, vbds)
    return PowerState.UNDEFINED if other else POWER[found.record.power_state]


def is_here(visit: Visit, host: HostRecord, vm: VmRecord, vbds: Collection[VbdRecord]) -> bool:
    """Say whether a VM is on the host: running there, or halted with its root disk on a storage of the host."""
    if vm.is_live:
        return vm.resident_on == host.ref
    if _is_another_s(visit, host, vm, [vbd for vbd in vbds if vbd.medium is not None]):
        return False
    root = root_of(vbds)
    sr = None if root is None else visit.sr_of(root)
    if sr is None:
        return vm.affinity == host.ref
    return visit.topology.pbd(sr, host.ref) is not None


def _is_another_s(visit: Visit, host: HostRecord, record: VmRecord, full: list[VbdRecord]) -> bool:
    """Say whether a halted VM's medium was inserted for another host of this pool."""
    marked = None if record.is_live else inserted_for(full)
    return marked not in {None, host.uuid} and any(other.uuid == marked for other in visit.topology.hosts.values())


def find(visit: Visit, vm: Vm) -> VmRecord | None:
    """Find a VM by its uuid; `None` when the pool has none.

    Where the inventory says so, a VM that has another uuid in XAPI is found by its name label. That is never
    remembered, lest it go before the uuid once a VM has it.

    Raises:
        PermanentError: `VM_NOT_FOUND` when several have this label and none this uuid.
    """
    kept, xapi = visit.pool.kept, visit.xapi
    known = kept.vms.get(vm.uuid)
    record = None if known is None else xapi.vm(known)
    if record is None or record.uuid != vm.uuid:
        record = xapi.vm_by_uuid(vm.uuid)
        kept.keep(kept.vms, vm.uuid, None if record is None else record.ref)
    if record is None and visit.pool.table.identify_by is IdentifyBy.UUID_OR_LABEL:
        record = _called(visit, vm)
    return record if record is not None and record.is_a_vm else None


def _called(visit: Visit, vm: Vm) -> VmRecord | None:
    records = [visit.xapi.vm(ref) for ref in visit.xapi.vms_called(vm.instance_name)]
    found = [record for record in records if record is not None and record.is_a_vm]
    if len(found) > 1:
        detail = f"{len(found)} VMs are called {vm.instance_name!r}, and none has the uuid {vm.uuid}"
        raise PermanentError(PermanentCode.VM_NOT_FOUND, detail, "rename the others, or send XAPI's uuid")
    return found[0] if found else None


def _require_no_other_mark(vm: Vm, record: VmRecord, vbds: Collection[VbdRecord]) -> None:
    """Refuse a VM found by its label that was another one's already.

    Raises:
        PermanentError: `NOT_ITS_DRIVE`.
    """
    marks = {vbd.other_config.get(VM_MARK) for vbd in vbds} - {None, vm.uuid}
    if marks:
        detail = f"the VM called {record.name_label!r} bears the mark of VM {min(map(str, marks))}, not {vm.uuid}"
        remedy = "rename it, or take the key 'configdrive-vm' out of its VBDs' other_config if it is the right one"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, remedy)
