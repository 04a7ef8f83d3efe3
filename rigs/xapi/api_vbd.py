"""The messages of the class VBD."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rigs.xapi import vbd_rules
from rigs.xapi.api_sr import sees
from rigs.xapi.api_vdi import check_is_iso
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL
from rigs.xapi.fields_storage import VBD
from rigs.xapi.methods import Call, message, take

if TYPE_CHECKING:
    from rigs.xapi.fields import Record
    from rigs.xapi.world import World

_DEVICE = re.compile(r"(?:(?:sd|xvd|hd)[a-p]|fd[ab])?\d*")
DEVICES = 255
"""How many block devices an HVM guest can have."""


@message("VBD.create")
def vbd_create(call: Call, record: dict[str, Any]) -> str:
    """Give a VM a drive; a running VM's guest does not see it before its next boot, or a plug."""
    take(record, VBD.required)
    db = call.db
    empty = record["empty"]
    if record["type"] == "CD" and record["mode"] != "RO":
        raise XapiError("VBD_CDS_MUST_BE_READONLY")
    if record["type"] != "CD" and empty:
        raise XapiError("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if not empty:
        vdi = db.row("VDI", record["VDI"])
        if record["type"] == "CD":
            check_is_iso(call.world, record["VDI"])
        if record["mode"] == "RW" and vdi["read_only"]:
            raise XapiError("VDI_READONLY", record["VDI"])
    db.row("VM", record["VM"])
    userdevice = _choose_device(call.world, record["VM"], record["userdevice"])
    return db.add(
        "VBD",
        VM=record["VM"],
        VDI=NULL if empty else record["VDI"],
        userdevice=userdevice,
        bootable=record["bootable"],
        mode=record["mode"],
        type=record["type"],
        unpluggable=record.get("unpluggable", True),
        empty=empty,
        other_config=dict(record["other_config"]),
        qos_algorithm_type=record["qos_algorithm_type"],
        qos_algorithm_params=dict(record["qos_algorithm_params"]),
    )


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
    image = call.db.row("VDI", vdi)
    check_is_iso(world, vdi)
    row = call.db.row("VBD", vbd)
    vm = call.db.row("VM", row["VM"])
    if vm["power_state"] != "Halted":
        _check_plugged(world, vm, row)
        if not sees(world, vm["resident_on"], image["SR"]):
            # Not recorded: what the storage layer says of an SR that is not attached on its host.
            sr = call.db.row("SR", image["SR"])
            raise XapiError("INTERNAL_ERROR", f"Storage_error ([S(Does_not_exist);[S(SR);S({sr['uuid']})]])")
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
    row.update(currently_attached=True, device=vbd_rules.device_name(row["userdevice"]))


@message("VBD.unplug")
def vbd_unplug(call: Call, vbd: str) -> None:
    """Take a drive from the running guest."""
    vbd_rules.check(call.world, vbd, "unplug")
    call.db.row("VBD", vbd).update(currently_attached=False, device="")


@message("VBD.unplug_force")
def vbd_unplug_force(call: Call, vbd: str) -> None:
    """As `VBD.unplug`; whether the guest agrees is no question here."""
    vbd_rules.check(call.world, vbd, "unplug_force")
    call.db.row("VBD", vbd).update(currently_attached=False, device="")


@message("VBD.assert_attachable")
def vbd_assert_attachable(call: Call, vbd: str) -> None:
    """Tell whether it could be attached if its VM ran."""
    vbd_rules.check(call.world, vbd, "attach")


def free_devices(world: World, vm: str) -> list[str]:
    """The numbers that a VM's next drive may have."""
    used = {world.db.row("VBD", vbd)["userdevice"] for vbd in world.db.find("VBD", VM=vm)}
    return [str(number) for number in range(DEVICES) if str(number) not in used]


def _choose_device(world: World, vm: str, wanted: str) -> str:
    if wanted == "autodetect":
        return free_devices(world, vm)[0]
    if not wanted or not _DEVICE.fullmatch(wanted):
        raise XapiError("INVALID_DEVICE", wanted)
    if next(world.db.find("VBD", VM=vm, userdevice=wanted), None) is not None:
        raise XapiError("DEVICE_ALREADY_EXISTS", wanted)
    return wanted


def _check_plugged(world: World, vm: Record, vbd: Record) -> None:
    world.check_reachable(vm["resident_on"])
    if not vbd["currently_attached"]:
        name = f"{vm['uuid']}/vbd.{vbd_rules.device_name(vbd['userdevice'])}"
        raise XapiError("INTERNAL_ERROR", f"Object with type VM and id {name} does not exist in xenopsd")
