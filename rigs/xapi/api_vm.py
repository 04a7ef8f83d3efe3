"""The messages of the class VM: made, copied, powered and moved at once; who may what when, and which hosts can run it.

Snapshots and clones are after xapi's sources (xapi_vm_snapshot.ml, xapi_vm_clone.ml); a snapshot's CD drive was
recorded. A snapshot is a template whose disks are snapshots and whose CD drives hold the very images that were in the
VM's, with its other_config; a clone is a VM of that kind.
"""

import copy
import shutil
import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from rigs.xapi.api_sr import file_of, sees
from rigs.xapi.api_vbd import free_devices
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import CLASSES, NULL, Record
from rigs.xapi.methods import Call, message
from rigs.xapi.vbd_rules import device_name
from rigs.xapi.world import World

_NEEDS: dict[str, tuple[str, ...]] = {
    "start": ("Halted",),
    "start_on": ("Halted",),
    "destroy": ("Halted", "Suspended"),
    "clone": ("Halted", "Suspended"),
    "pause": ("Running",),
    "unpause": ("Paused",),
    "suspend": ("Running",),
    "resume": ("Suspended",),
    "clean_shutdown": ("Running",),
    "hard_shutdown": ("Running", "Paused", "Suspended"),
    "clean_reboot": ("Running",),
    "hard_reboot": ("Running", "Paused"),
    "pool_migrate": ("Running", "Paused"),
}
"""The power states that an operation wants."""

_COPIED = ("HVM_boot_policy", "HVM_boot_params", "other_config", "_pv_drivers")


@message("VM.create")
def vm_create(call: Call, record: dict[str, Any]) -> str:
    """Make a halted VM without drives."""
    return call.db.add("VM", **{name: value for name, value in record.items() if name in CLASSES["VM"].fields})


@message("VM.snapshot")
def vm_snapshot(call: Call, vm: str, new_name: str) -> str:
    """Keep a VM as it is now."""
    return _copy(call, vm, new_name, is_a_template=True, is_a_snapshot=True)


@message("VM.clone")
def vm_clone(call: Call, vm: str, new_name: str) -> str:
    """Copy a VM that is off."""
    _check_power(call.world, vm, "clone")
    return _copy(call, vm, new_name)


@message("VM.destroy")
def vm_destroy(call: Call, vm: str) -> None:
    """Remove a halted VM with its drives; images stay."""
    _check_power(call.world, vm, "destroy")
    call.db.remove("VBD", *call.db.find("VBD", VM=vm))
    call.db.remove("VM", vm)


def _start(operation: str, call: Call, vm: str, start_paused: bool, force: bool) -> None:  # noqa: FBT001
    """Boot a VM, or go on with a suspended one, on a host that can run it."""
    del start_paused, force
    _check_power(call.world, vm, operation)
    _boot(call, vm, _choose_host(call, vm))


@message("VM.start_on")
def vm_start_on(call: Call, vm: str, host: str, start_paused: bool, force: bool) -> None:  # noqa: FBT001
    """Boot a VM on that host."""
    del start_paused, force
    _check_power(call.world, vm, "start_on")
    check_can_run(call, vm, host)
    _boot(call, vm, host)


@message("VM.suspend")
def vm_suspend(call: Call, vm: str) -> None:
    """Fail to save a VM's memory: no SR of the rig is for that."""
    _check_power(call.world, vm, "suspend")
    raise XapiError("VM_NO_SUSPEND_SR", vm)


@message("VM.pool_migrate")
def vm_pool_migrate(call: Call, vm: str, host: str, options: dict[str, str]) -> None:
    """Move a running VM to another host of the pool; every SR of its drives must be plugged there."""
    del options
    check_can_run(call, vm, host)
    _check_power(call.world, vm, "pool_migrate")
    row = call.db.row("VM", vm)
    for end in (row["resident_on"], host):
        call.world.check_reachable(end)
    row["resident_on"] = host


@message("VM.assert_can_boot_here")
def check_can_run(call: Call, vm: str, host: str) -> None:
    """Refuse a host that is away, disabled, or lacks an SR of the VM's; checks in this order, as xapi.

    Raises:
        XapiError: `HANDLE_INVALID`, `HOST_NOT_LIVE`, `HOST_DISABLED`, `VM_REQUIRES_SR`.
    """
    call.db.row("VM", vm)
    row = call.db.row("host", host)
    images = _check_images(call.world, vm)
    if not call.world.is_live(host):
        raise XapiError("HOST_NOT_LIVE")  # not recorded; XenAPI reference
    if not row["enabled"]:
        raise XapiError("HOST_DISABLED", host)
    for vdi in images:
        if not sees(call.world, host, vdi["SR"]):
            raise XapiError("VM_REQUIRES_SR", vm, vdi["SR"])


@message("VM.get_possible_hosts")
def vm_get_possible_hosts(call: Call, vm: str) -> list[str]:
    """The hosts that could run a VM."""
    call.db.row("VM", vm)
    hosts = []
    for host in call.world.hosts:
        with suppress(XapiError):
            check_can_run(call, vm, host)
            hosts.append(host)
    return hosts


@message("VM.get_allowed_VBD_devices")
def vm_get_allowed_vbd_devices(call: Call, vm: str) -> list[str]:
    """The numbers that the VM's next drive may have."""
    call.db.row("VM", vm)
    return free_devices(call.world, vm)


def _change_power(operation: str, call: Call, vm: str) -> None:
    """Pause, shut down or reboot a VM: drives that came while it ran are attached by a reboot."""
    row = call.db.row("VM", vm)
    if operation.startswith("hard_"):
        _check_images(call.world, vm)  # before its power state; a clean shutdown does not look at them (recorded)
    _check_power(call.world, vm, operation)
    if operation.endswith("pause"):
        row["power_state"] = "Paused" if operation == "pause" else "Running"
        return
    host = row["resident_on"]
    call.world.check_reachable(host)
    for vbd in call.db.find("VBD", VM=vm).values():
        vbd.update(currently_attached=False, device="")
    row.update(power_state="Halted", resident_on=NULL)
    if operation.endswith("reboot"):
        _boot(call, vm, host)


for _operation in ("start", "resume"):
    message(f"VM.{_operation}")(partial(_start, _operation))
for _operation in ("pause", "unpause", "clean_shutdown", "hard_shutdown", "clean_reboot", "hard_reboot"):
    message(f"VM.{_operation}")(partial(_change_power, _operation))


def allowed(world: World, vm: str) -> list[str]:
    """The operations of ours that the VM's power state allows."""
    row = world.db.row("VM", vm)
    if row["is_a_template"] or row["is_control_domain"] or row["current_operations"]:
        return []
    may = [operation for operation, states in _NEEDS.items() if row["power_state"] in states]
    return [operation for operation in may if operation not in row["blocked_operations"]]


def _check_power(world: World, vm: str, operation: str) -> None:
    """Refuse an operation in the wrong power state.

    Raises:
        XapiError: `HANDLE_INVALID`, `VM_IS_TEMPLATE`, `OPERATION_BLOCKED`, `OTHER_OPERATION_IN_PROGRESS`,
            `VM_BAD_POWER_STATE`.
    """
    row = world.db.row("VM", vm)
    if row["is_a_template"] and operation != "destroy":
        raise XapiError("VM_IS_TEMPLATE", vm)
    if row["is_control_domain"]:
        raise XapiError("OPERATION_NOT_ALLOWED", "This operation is not supported for the control domain")
    if operation in row["blocked_operations"]:  # before all else (xapi's sources)
        raise XapiError("OPERATION_BLOCKED", vm, str(row["blocked_operations"][operation]))
    world.busy("VM", vm)  # not recorded; xapi's sources
    if row["power_state"] not in _NEEDS[operation]:
        expected = ", ".join(_NEEDS[operation]).lower()
        raise XapiError("VM_BAD_POWER_STATE", vm, expected, str(row["power_state"]).lower())


def _check_images(world: World, vm: str) -> list[Record]:
    """The VM's images; refuse what needs them when one of them is gone.

    Raises:
        XapiError: `HANDLE_INVALID` of the VDI.
    """
    return [world.db.row("VDI", vbd["VDI"]) for vbd in world.db.find("VBD", VM=vm, empty=False).values()]


def _choose_host(call: Call, vm: str) -> str:
    """The VM's own host if it can run there, else the first that can.

    Raises:
        XapiError: `HANDLE_INVALID` of a VDI, `NO_HOSTS_AVAILABLE`; in a pool of one, that host's reason.
    """
    _check_images(call.world, vm)
    affinity = str(call.db.row("VM", vm)["affinity"])
    hosts = vm_get_possible_hosts(call, vm)
    if not hosts:
        if len(call.world.hosts) == 1:
            check_can_run(call, vm, call.world.master)
        raise XapiError("NO_HOSTS_AVAILABLE")
    return affinity if affinity in hosts else hosts[0]


def _boot(call: Call, vm: str, host: str) -> None:
    call.world.check_reachable(host)
    for vbd in call.db.find("VBD", VM=vm).values():
        vbd.update(currently_attached=True, device=device_name(vbd["userdevice"]))
    call.db.row("VM", vm).update(power_state="Running", resident_on=host)


def _copy(call: Call, source: str, name: str, **fields: object) -> str:
    row = call.db.row("VM", source)
    kept = {field: copy.deepcopy(row[field]) for field in _COPIED if field in row}
    target = call.db.add("VM", **kept, name_label=name, affinity=row["affinity"], **fields)
    for vbd in call.db.find("VBD", VM=source).values():
        own = {field: copy.deepcopy(value) for field, value in vbd.items() if field != "uuid"}
        if own["type"] == "Disk":
            own["VDI"] = _copy_disk(call, own["VDI"])
        call.db.add("VBD", **{**own, "VM": target, "currently_attached": False, "device": ""})
    return target


def _copy_disk(call: Call, vdi: str) -> str:
    row = copy.deepcopy(call.db.row("VDI", vdi))
    # An image on an ISO SR that is shown as a disk cannot be copied within its SR: the driver has no such ability.
    if call.db.row("SR", row["SR"])["type"] == "iso":
        raise XapiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    identity = str(uuid.uuid4())
    source = file_of(call.world, vdi)
    shutil.copyfile(source, source.with_name(identity))
    return call.db.add("VDI", **{**row, "uuid": identity, "location": identity})
