"""What may be done with a VBD at this moment, and the error of what may not: xapi's table, in its order."""

import re
from string import ascii_lowercase

from rigs.xapi.errors import XapiError
from rigs.xapi.fields import Record
from rigs.xapi.world import World

# In the order in which the recorded answers name those that they name.
OPERATIONS = ("attach", "unpause", "insert", "plug", "pause", "eject", "unplug", "unplug_force")
_LETTERS = re.compile(r"(?:xvd|hd|sd)([a-p])")
_PLUGGING = ("plug", "unplug", "unplug_force")

Refusals = dict[str, XapiError]


def domain_type(vm: Record) -> str:
    """How a VM boots: with a boot policy as HVM, as the XenAPI reference has it."""
    return "hvm" if vm["HVM_boot_policy"] else "pv"


EMULATED = range(4)
"""The positions that the device model of an HVM guest emulates, as IDE (xenopsd's sources)."""


def position(userdevice: str) -> int:
    """A drive's position, which may have been given in letters: 3 for `3`, `xvdd`, `hdd` and `sdd`; -1 for others."""
    letters = _LETTERS.fullmatch(userdevice)
    if letters is not None:
        return ord(letters[1]) - ord("a")
    return int(userdevice) if userdevice.isdigit() else -1


def shows(row: Record, vm: Record) -> bool:
    """Whether a guest that has just booted finds a drive: an emulated one, or one that its PV drivers know."""
    if domain_type(vm) == "hvm" and row["type"] == "CD":
        return position(row["userdevice"]) in EMULATED  # Linux' own driver passes over CDs
    return bool(vm.get("_pv_drivers"))


def device_name(userdevice: str) -> str:
    """What the guest calls a drive: `xvdd` for 3, and `xvdcv` for 99."""
    if not userdevice.isdigit():
        return userdevice
    more, last = divmod(int(userdevice), len(ascii_lowercase))
    return f"xvd{ascii_lowercase[more - 1] if more else ''}{ascii_lowercase[last]}"


def check(world: World, vbd: str, operation: str) -> None:
    """Refuse an operation that the drive's state does not allow.

    Raises:
        XapiError: the first reason; `HANDLE_INVALID` also when its VDI is gone.
    """
    refusals = refused(world, vbd)
    if operation in refusals:
        raise refusals[operation]


def refused(world: World, vbd: str) -> Refusals:
    """Every operation that is refused, each with its error; what was found first counts."""
    found: Refusals = {}
    row = world.db.row("VBD", vbd)
    vm = world.db.row("VM", row["VM"])
    _refuse_by_kind(found, vbd, row)
    _refuse_by_power(found, vbd, row, vm)
    if not row["empty"]:
        _refuse_by_sharing(found, world, row)
    return found


def _refuse(found: Refusals, error: XapiError, *operations: str) -> None:
    for operation in operations:
        found.setdefault(operation, error)


def _refuse_by_kind(found: Refusals, vbd: str, row: Record) -> None:
    if not row["unpluggable"]:
        _refuse(found, XapiError("VBD_NOT_UNPLUGGABLE", vbd), "unplug", "unplug_force")
    if row["type"] != "CD":
        _refuse(found, XapiError("VBD_NOT_REMOVABLE_MEDIA", vbd), "insert", "eject")
    if row["empty"]:
        _refuse(found, XapiError("VBD_IS_EMPTY", vbd), "eject")
    else:
        _refuse(found, XapiError("VBD_NOT_EMPTY", vbd), "insert")


def _refuse_by_power(found: Refusals, vbd: str, row: Record, vm: Record) -> None:
    power = vm["power_state"]
    is_cd = row["type"] == "CD"
    if power != "Running":
        error = XapiError("VM_BAD_POWER_STATE", row["VM"], "running", power.lower())
        _refuse(found, error, *_PLUGGING, *(() if power == "Paused" else ("pause", "unpause")))
    elif row["currently_attached"]:
        _refuse(found, XapiError("DEVICE_ALREADY_ATTACHED", vbd), "plug")
    else:
        _refuse(found, XapiError("DEVICE_ALREADY_DETACHED", vbd), "unplug", "unplug_force")
    if power == "Running" and domain_type(vm) == "hvm" and is_cd:
        text = "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected"
        _refuse(found, XapiError("OPERATION_NOT_ALLOWED", text), *_PLUGGING)
    elif power == "Running" and domain_type(vm) == "hvm" and not vm.get("_pv_drivers"):
        _refuse(found, XapiError("VM_MISSING_PV_DRIVERS", row["VM"]), *_PLUGGING)
    if is_cd and power == "Suspended":
        error = XapiError("VM_BAD_POWER_STATE", row["VM"], "halted, running", "suspended")
        _refuse(found, error, "insert", "eject")


def _refuse_by_sharing(found: Refusals, world: World, row: Record) -> None:
    """Who may attach what others have: anybody to read, one alone to write; the control domain is not counted."""
    db = world.db
    vdi = db.row("VDI", row["VDI"])
    if row["currently_attached"] or db.row("VM", row["VM"])["is_control_domain"]:
        return
    attached = db.find("VBD", VDI=row["VDI"], currently_attached=True).values()
    others = [other for other in attached if not db.row("VM", other["VM"])["is_control_domain"]]
    written = any(other["mode"] == "RW" for other in others)
    if not vdi["sharable"] and (written or (row["mode"] == "RW" and others)):
        _refuse(found, XapiError("VDI_IN_USE", row["VDI"]), "attach", "insert", "plug")
    if row["mode"] == "RW" and vdi["read_only"]:
        _refuse(found, XapiError("VDI_READONLY", row["VDI"]), "attach", "insert", "plug")


def allowed(world: World, vbd: str) -> list[str]:
    """What is allowed now; nothing at all when the VDI is gone."""
    try:
        refusals = refused(world, vbd)
    except XapiError:
        return []
    return [operation for operation in OPERATIONS if operation not in refusals]
