"""The messages of the class VBD."""

import re
from typing import Any

from rigs.xapi import vbd_rules
from rigs.xapi.api_sr import sees
from rigs.xapi.api_vdi import check_is_iso
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL, Record
from rigs.xapi.methods import Call, message, take
from rigs.xapi.world import World

_DEVICE = re.compile(r"(?:(?:sd|xvd|hd)[a-p]|fd[ab])?\d*")
_DEVICES = 255
"""How many block devices an HVM guest can have."""


@message("VBD.create")
def vbd_create(call: Call, record: dict[str, Any]) -> str:
    """Give a VM a drive; a running VM's guest does not see it before its next boot, or a plug."""
    take(record, "VBD")
    db = call.db
    empty = record["empty"]
    if record["type"] == "CD" and record["mode"] != "RO":
        raise XapiError("VBD_CDS_MUST_BE_READONLY")
    if record["type"] != "CD" and empty:
        raise XapiError("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if not empty:
        vdi = db.row("VDI", record["VDI"])
        if record["mode"] == "RW" and vdi["read_only"]:
            raise XapiError("VDI_READONLY", record["VDI"])
    call.world.busy("VM", record["VM"])  # such as its migration (xapi's sources)
    if not empty:
        check_agile(call.world, record["VM"], record["VDI"])
    userdevice = _choose_device(call.world, record["VM"], record["userdevice"])
    given = {name: record[name] for name in ("VM", "bootable", "mode", "type", "empty")}
    unpluggable, config = record.get("unpluggable", True), dict(record["other_config"])
    more = {"VDI": NULL if empty else record["VDI"], "unpluggable": unpluggable, "other_config": config}
    return db.add("VBD", **given, **more, userdevice=userdevice)


@message("VBD.destroy")
def vbd_destroy(call: Call, vbd: str) -> None:
    """Take a drive away that is not attached."""
    row = call.db.row("VBD", vbd)
    if row["currently_attached"]:
        vm = call.db.row("VM", row["VM"])
        text = f"VBD '{row['uuid']}' still attached to '{vm['uuid']}'"
        raise XapiError("OPERATION_NOT_ALLOWED", text)
    call.db.remove("VBD", vbd)


@message("VBD.insert")
def vbd_insert(call: Call, vbd: str, vdi: str) -> None:
    """Put an image into an empty drive, of a halted, running or paused VM."""
    world = call.world
    vbd_rules.check(world, vbd, "insert")
    check_is_iso(world, vdi)
    row = call.db.row("VBD", vbd)
    check_agile(world, row["VM"], vdi)
    vm = call.db.row("VM", row["VM"])
    if vm["power_state"] != "Halted":
        _check_plugged(world, vm, row)  # an SR that its host has not is no reason (recorded)
    row.update(VDI=vdi, empty=False)


@message("VBD.eject")
def vbd_eject(call: Call, vbd: str) -> None:
    """Empty a drive."""
    vbd_rules.check(call.world, vbd, "eject")
    row = call.db.row("VBD", vbd)
    vm = call.db.row("VM", row["VM"])
    if vm["power_state"] != "Halted":
        _check_plugged(call.world, vm, row)
    row.update(VDI=NULL, empty=True)


@message("VBD.plug")
def vbd_plug(call: Call, vbd: str) -> None:
    """Show a drive to the running guest."""
    vbd_rules.check(call.world, vbd, "plug")
    row = call.db.row("VBD", vbd)
    if (row["type"], row["mode"]) == ("Disk", "RO") and vbd_rules.domain_type(call.db.row("VM", row["VM"])) == "hvm":
        raise XapiError("DISK_VBD_MUST_BE_READWRITE_FOR_HVM", vbd)
    row.update(currently_attached=True, device=vbd_rules.device_name(row["userdevice"]))


@message("VBD.unplug")
def vbd_unplug(call: Call, vbd: str) -> None:
    """Take a drive from the running guest."""
    vbd_rules.check(call.world, vbd, "unplug")
    call.db.row("VBD", vbd).update(currently_attached=False, device="")


def free_devices(world: World, vm: str) -> list[str]:
    """The numbers that a VM's next drive may have."""
    used = _used(world, vm)
    return [str(number) for number in range(_DEVICES) if number not in used]


def _used(world: World, vm: str) -> set[int]:
    return {vbd_rules.position(vbd["userdevice"]) for vbd in world.db.find("VBD", VM=vm).values()}


def check_agile(world: World, vm: str, vdi: str) -> None:
    """Refuse an image that binds a VM to some hosts when HA is to start it on any (xapi's sources).

    Raises:
        XapiError: `HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN`, in newer releases `HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED`.
    """
    db = world.db
    sr = db.row("VDI", vdi)["SR"]
    everywhere = db.row("SR", sr)["shared"] and all(sees(world, host, sr) for host in world.hosts)
    protected = db.row("pool", world.pool)["ha_enabled"] and db.row("VM", vm)["ha_restart_priority"] == "restart"
    if protected and not everywhere:
        if world.newer:
            raise XapiError("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)
        raise XapiError("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN")


def _choose_device(world: World, vm: str, wanted: str) -> str:
    if wanted == "autodetect":
        return free_devices(world, vm)[0]
    if not wanted or not _DEVICE.fullmatch(wanted):
        raise XapiError("INVALID_DEVICE", wanted)
    if world.db.find("VBD", VM=vm, userdevice=wanted) or vbd_rules.position(wanted) in _used(world, vm) - {-1}:
        raise XapiError("DEVICE_ALREADY_EXISTS", wanted)
    return wanted


def _check_plugged(world: World, vm: Record, vbd: Record) -> None:
    world.check_reachable(vm["resident_on"])
    if not vbd["currently_attached"]:
        name = f"{vm['uuid']}/vbd.{vbd_rules.device_name(vbd['userdevice'])}"
        raise XapiError("INTERNAL_ERROR", f"Object with type VM and id {name} does not exist in xenopsd")
    number = vbd_rules.position(vbd["userdevice"])
    if vbd_rules.domain_type(vm) == "hvm" and number not in vbd_rules.EMULATED:
        raise XapiError("INTERNAL_ERROR", f"unexpected disk for devid {(202 << 8) + (number << 4)}")  # its sources
