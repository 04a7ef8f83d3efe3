"""The XenAPI calls that the driver makes, under the API's own names: nothing that XenServer 8.2 or 8.3 lacks.

The document is the "XenServer management API reference"; each method names the class and the RPC there.
`get_all_records_where` is an implicit RPC of every class; sm, the storage manager of XenServer, lives by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from XenAPI.XenAPI import Failure

from workers.hypervisors.xenserver.faults import code_of
from workers.hypervisors.xenserver.records import (
    NULL,
    HostRecord,
    MetricsRecord,
    PbdRecord,
    Record,
    Ref,
    SrRecord,
    TaskRecord,
    VbdRecord,
    VdiRecord,
    VmRecord,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from workers.hypervisors.xenserver.sessions import BorrowedSession

R = TypeVar("R", bound=Record)

_GONE: Final = frozenset({"HANDLE_INVALID", "UUID_INVALID"})


class Xapi:
    """The calls of one session."""

    def __init__(self, borrowed: BorrowedSession) -> None:
        self.borrowed = borrowed

    # --- pool ------------------------------------------------------------------------------------------------------

    def hosts(self) -> dict[Ref, HostRecord]:
        """Class host, get_all_records."""
        return self._records(HostRecord, "host.get_all_records")

    def host_metrics(self) -> dict[Ref, MetricsRecord]:
        """Class host_metrics, get_all_records."""
        return self._records(MetricsRecord, "host_metrics.get_all_records")

    def storages(self) -> dict[Ref, SrRecord]:
        """Class SR, get_all_records."""
        return self._records(SrRecord, "SR.get_all_records")

    def pbds(self) -> dict[Ref, PbdRecord]:
        """Class PBD, get_all_records."""
        return self._records(PbdRecord, "PBD.get_all_records")

    # --- VMs -------------------------------------------------------------------------------------------------------

    def vm_by_uuid(self, uuid: str) -> VmRecord | None:
        """Class VM, get_all_records_where, by uuid: what get_by_uuid and get_record tell, with one call."""
        found = self._records(VmRecord, "VM.get_all_records_where", f'field "uuid" = "{uuid}"')
        return next(iter(found.values()), None)

    def vms_called(self, label: str) -> list[Ref]:
        """Class VM, get_by_name_label."""
        return [str(ref) for ref in self.borrowed.call("VM.get_by_name_label", label)]

    def vm(self, ref: Ref) -> VmRecord | None:
        """Class VM, get_record; `None` when it is gone."""
        return self._record(VmRecord, "VM.get_record", ref)

    def vms(self) -> dict[Ref, VmRecord]:
        """Class VM, get_all_records_where: no templates, snapshots, control domains."""
        nots = ("is_a_template", "is_a_snapshot", "is_control_domain")
        condition = " and ".join(f'field "{name}" = "false"' for name in nots)
        return self._records(VmRecord, "VM.get_all_records_where", condition)

    # --- drives ----------------------------------------------------------------------------------------------------

    def vbds(self, vm: Ref | None = None) -> dict[Ref, VbdRecord]:
        """Class VBD, get_all_records_where (of one VM) or get_all_records."""
        if vm is None:
            return self._records(VbdRecord, "VBD.get_all_records")
        return self._records(VbdRecord, "VBD.get_all_records_where", f'field "VM" = "{vm}"')

    def vbd(self, ref: Ref) -> VbdRecord | None:
        """Class VBD, get_record; `None` when it is gone."""
        return self._record(VbdRecord, "VBD.get_record", ref)

    def create_vbd(self, vm: Ref, vdi: Ref, kind: str, userdevice: str, marks: Mapping[str, str]) -> Ref:
        """Class VBD, create: read-only, with the VDI in it."""
        record = {
            "VM": vm,
            "VDI": vdi,
            "userdevice": userdevice,
            "bootable": False,
            "mode": "RO",
            "type": kind,
            "empty": vdi == NULL,
            "unpluggable": True,
            "other_config": dict(marks),
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        return str(self.borrowed.call("VBD.create", record))

    def insert(self, vbd: Ref, vdi: Ref) -> None:
        """Class VBD, insert."""
        self.borrowed.call("VBD.insert", vbd, vdi, slow=True)

    def eject(self, vbd: Ref) -> None:
        """Class VBD, eject."""
        self.borrowed.call("VBD.eject", vbd, slow=True)

    def plug(self, vbd: Ref) -> None:
        """Class VBD, plug."""
        self.borrowed.call("VBD.plug", vbd, slow=True)

    def unplug(self, vbd: Ref) -> None:
        """Class VBD, unplug."""
        self.borrowed.call("VBD.unplug", vbd, slow=True)

    def destroy_vbd(self, vbd: Ref) -> None:
        """Class VBD, destroy; gone already is success."""
        self._unless_gone("VBD.destroy", vbd)

    def mark_vbd(self, vbd: Ref, marks: Mapping[str, str]) -> None:
        """Class VBD, set_other_config."""
        self.borrowed.call("VBD.set_other_config", vbd, dict(marks))

    # --- images ----------------------------------------------------------------------------------------------------

    def vdi(self, ref: Ref) -> VdiRecord | None:
        """Class VDI, get_record; `None` when it is gone."""
        return self._record(VdiRecord, "VDI.get_record", ref)

    def vdis_described(self, description: str) -> list[VdiRecord]:
        """Class VDI, get_all_records_where, by name description."""
        return self._vdis(f'field "name__description" = "{description}"')

    def vdis_in(self, sr: Ref) -> list[VdiRecord]:
        """Class VDI, get_all_records_where, by SR."""
        return self._vdis(f'field "SR" = "{sr}"')

    def vdis_at(self, locations: Collection[str], sr: Ref | None = None) -> list[VdiRecord]:
        """Class VDI, get_all_records_where, by location, and SR; plain names only."""
        places = " or ".join(f'field "location" = "{location}"' for location in locations)
        return self._vdis(places if sr is None else f'field "SR" = "{sr}" and ({places})') if locations else []

    def sr_of(self, vdi: Ref) -> Ref | None:
        """Class VDI, get_SR; `None` when the VDI is gone."""
        try:
            return str(self.borrowed.call("VDI.get_SR", vdi))
        except Failure as failure:
            if code_of(failure) in _GONE:
                return None
            raise

    def create_vdi(self, sr: Ref, location: str, size: int, label: str, description: str) -> Ref:
        """Class VDI, create; on an ISO SR `sm_config["path"]` is the file's name."""
        record = {
            "name_label": label,
            "name_description": description,
            "SR": sr,
            "virtual_size": str(size),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
            "sm_config": {"path": location},
            "xenstore_data": {},
            "tags": [],
        }
        return str(self.borrowed.call("VDI.create", record, slow=True))

    def name_vdi(self, vdi: Ref, label: str, description: str) -> None:
        """Class VDI, set_name_label and set_name_description."""
        self.borrowed.call("VDI.set_name_label", vdi, label)
        self.borrowed.call("VDI.set_name_description", vdi, description)

    def destroy_vdi(self, vdi: Ref) -> None:
        """Class VDI, destroy; gone already is success."""
        self._unless_gone("VDI.destroy", vdi)

    # --- storages --------------------------------------------------------------------------------------------------

    def create_iso_sr(self, host: Ref, config: Mapping[str, str], label: str, about: str, *, shared: bool) -> Ref:
        """Class SR, create."""
        names, kinds = (label, about), ("iso", "iso")
        return str(self.borrowed.call("SR.create", host, dict(config), "0", *names, *kinds, shared, {}, slow=True))

    def sr(self, ref: Ref) -> SrRecord | None:
        """Class SR, get_record; `None` when it is gone."""
        return self._record(SrRecord, "SR.get_record", ref)

    def add_to_sr(self, sr: Ref, key: str, value: str) -> bool:
        """Class SR, add_to_other_config; false when the key is there already, which XAPI decides at one moment."""
        try:
            self.borrowed.call("SR.add_to_other_config", sr, key, value)
        except Failure as failure:
            if code_of(failure) != "MAP_DUPLICATE_KEY":
                raise
            return False
        return True

    def remove_from_sr(self, sr: Ref, key: str) -> None:
        """Class SR, remove_from_other_config; a key that is not there is success."""
        self.borrowed.call("SR.remove_from_other_config", sr, key)

    def scan(self, sr: Ref) -> None:
        """Class SR, scan."""
        self.borrowed.call("SR.scan", sr, slow=True)

    def forget_sr(self, sr: Ref) -> None:
        """Class SR, forget: its files stay; gone already is success."""
        self._unless_gone("SR.forget", sr)

    def create_pbd(self, host: Ref, sr: Ref, config: Mapping[str, str]) -> Ref:
        """Class PBD, create."""
        record = {"host": host, "SR": sr, "device_config": dict(config), "other_config": {}}
        return str(self.borrowed.call("PBD.create", record))

    def plug_pbd(self, pbd: Ref) -> None:
        """Class PBD, plug."""
        self.borrowed.call("PBD.plug", pbd, slow=True)

    def unplug_pbd(self, pbd: Ref) -> None:
        """Class PBD, unplug; gone already is success."""
        self._unless_gone("PBD.unplug", pbd)

    # --- tasks -----------------------------------------------------------------------------------------------------

    def create_task(self, label: str) -> Ref:
        """Class task, create."""
        return str(self.borrowed.call("task.create", label, "made by configdrive"))

    def task(self, ref: Ref) -> TaskRecord | None:
        """Class task, get_record."""
        return self._record(TaskRecord, "task.get_record", ref)

    def cancel_task(self, ref: Ref) -> None:
        """Class task, cancel."""
        self._unless_gone("task.cancel", ref)

    def destroy_task(self, ref: Ref) -> None:
        """Class task, destroy."""
        self._unless_gone("task.destroy", ref)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _record(self, kind: type[R], method: str, ref: Ref) -> R | None:
        try:
            return kind.model_validate({**self.borrowed.call(method, ref), "ref": ref})
        except Failure as failure:
            if code_of(failure) in _GONE:
                return None
            raise

    def _records(self, kind: type[R], method: str, *arguments: str) -> dict[Ref, R]:
        found = self.borrowed.call(method, *arguments)
        return {str(ref): kind.model_validate({**record, "ref": ref}) for ref, record in found.items()}

    def _vdis(self, condition: str) -> list[VdiRecord]:
        return list(self._records(VdiRecord, "VDI.get_all_records_where", condition).values())

    def _unless_gone(self, method: str, ref: Ref) -> None:
        try:
            self.borrowed.call(method, ref, slow=True)
        except Failure as failure:
            if code_of(failure) not in _GONE:
                raise
