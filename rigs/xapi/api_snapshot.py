"""`VM.snapshot`, `VM.revert`, `VM.clone` and `VM.destroy` of a snapshot: what they do to drives.

After xapi's sources (xapi_vm_snapshot.ml, xapi_vm_clone.ml); a snapshot's CD drive was recorded. A snapshot is a
template whose disks are snapshots and whose CD drives hold the very images that were in the VM's, with its
other_config; a clone is a VM of that kind; a revert makes the VM's drives anew from those of the snapshot.
"""

from __future__ import annotations

import copy
import shutil
import uuid

from rigs.xapi import vm_rules
from rigs.xapi.api_sr import file_of
from rigs.xapi.api_vm import vm_hard_shutdown
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL
from rigs.xapi.methods import Call, message
from rigs.xapi.world import now

_OWN = ("uuid", "VBDs", "snapshots", "resident_on", "domid", "power_state", "is_a_template", "is_a_snapshot")


@message("VM.snapshot")
def vm_snapshot(call: Call, vm: str, new_name: str, ignore_vdis: list[str] | None = None) -> str:
    """Keep a VM as it is now."""
    del ignore_vdis
    row = call.db.row("VM", vm)
    kept = {name: copy.deepcopy(value) for name, value in row.items() if name not in _OWN}
    kept |= {"name_label": new_name, "is_a_template": True, "is_a_snapshot": True}
    snapshot = call.db.add("VM", **{**kept, "snapshot_of": vm, "snapshot_time": now()})
    _copy_drives(call, vm, snapshot, is_snapshot=True)
    return snapshot


@message("VM.clone")
def vm_clone(call: Call, vm: str, new_name: str) -> str:
    """Copy a VM that is off."""
    vm_rules.check_power(call.world, vm, "clone")
    row = call.db.row("VM", vm)
    kept = {name: copy.deepcopy(value) for name, value in row.items() if name not in _OWN}
    clone = call.db.add("VM", **{**kept, "name_label": new_name})
    _copy_drives(call, vm, clone, is_snapshot=False)
    return clone


@message("VM.revert")
def vm_revert(call: Call, snapshot: str) -> None:
    """Bring a VM back to a snapshot, halted."""
    vm = call.db.row("VM", snapshot)["snapshot_of"]
    if vm == NULL:
        raise XapiError("OPERATION_NOT_ALLOWED", "You can only use this operation on snapshots")  # text is ours
    if call.db.row("VM", vm)["power_state"] != "Halted":
        vm_hard_shutdown(call, vm)
    for vbd in list(call.db.find("VBD", VM=vm)):
        if call.db.row("VBD", vbd)["type"] == "Disk":
            _forget_disk(call, call.db.row("VBD", vbd)["VDI"])
        call.db.remove("VBD", vbd)
    _copy_drives(call, snapshot, vm, is_snapshot=False)


def _copy_drives(call: Call, source: str, target: str, *, is_snapshot: bool) -> None:
    for vbd in list(call.db.find("VBD", VM=source)):
        row = copy.deepcopy(call.db.row("VBD", vbd))
        del row["uuid"]
        vdi = row["VDI"]
        if row["type"] == "Disk":
            vdi = _copy_disk(call, vdi, is_snapshot=is_snapshot)
        call.db.add("VBD", **{**row, "VM": target, "VDI": vdi, "currently_attached": False, "device": ""})


def _copy_disk(call: Call, vdi: str, *, is_snapshot: bool) -> str:
    row = copy.deepcopy(call.db.row("VDI", vdi))
    identity = str(uuid.uuid4())
    # An image on an ISO SR that is shown as a disk cannot be copied within its SR: the driver has no such ability.
    if call.db.row("SR", row["SR"])["type"] == "iso":
        raise XapiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    source = file_of(call.world, vdi)
    shutil.copyfile(source, source.with_name(identity))
    origin = {"is_a_snapshot": is_snapshot, "snapshot_of": vdi if is_snapshot else NULL}
    return call.db.add("VDI", **{**row, "uuid": identity, "location": identity, **origin})


def _forget_disk(call: Call, vdi: str) -> None:
    file_of(call.world, vdi).unlink(missing_ok=True)
    call.db.remove("VDI", vdi)
