"""Which power states a VM's operations want, and which hosts can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigs.xapi.api_sr import sees
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL

if TYPE_CHECKING:
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
    "resume_on": ("Suspended",),
    "clean_shutdown": ("Running",),
    "hard_shutdown": ("Running", "Paused", "Suspended"),
    "clean_reboot": ("Running",),
    "hard_reboot": ("Running", "Paused"),
    "pool_migrate": ("Running", "Paused"),
}


def check_power(world: World, vm: str, operation: str) -> None:
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


def allowed(world: World, vm: str) -> list[str]:
    """The operations of ours that the VM's power state allows."""
    row = world.db.row("VM", vm)
    if row["is_a_template"] or row["is_control_domain"]:
        return []
    if row["current_operations"]:
        return []
    return [
        operation
        for operation, states in _NEEDS.items()
        if row["power_state"] in states and operation not in row["blocked_operations"]
    ]


def check_images(world: World, vm: str) -> None:
    """Refuse what needs the VM's images when one of them is gone.

    Raises:
        XapiError: `HANDLE_INVALID` of the VDI.
    """
    for vbd in world.db.find("VBD", VM=vm, empty=False):
        world.db.row("VDI", world.db.row("VBD", vbd)["VDI"])


def check_can_run(world: World, vm: str, host: str) -> None:
    """Refuse a host that is away, disabled, or lacks an SR of the VM's; checks in this order, as xapi.

    Raises:
        XapiError: `HANDLE_INVALID`, `HOST_NOT_LIVE`, `HOST_DISABLED`, `VM_REQUIRES_SR`.
    """
    db = world.db
    db.row("VM", vm)
    row = db.row("host", host)
    check_images(world, vm)
    if not world.is_live(host):
        raise XapiError("HOST_NOT_LIVE")  # not recorded; XenAPI reference
    if not row["enabled"]:
        raise XapiError("HOST_DISABLED", host)
    for vbd in db.find("VBD", VM=vm, empty=False):
        sr = db.row("VDI", db.row("VBD", vbd)["VDI"])["SR"]
        if not sees(world, host, sr):
            raise XapiError("VM_REQUIRES_SR", vm, sr)


def possible_hosts(world: World, vm: str) -> list[str]:
    """The hosts that could run a VM."""
    hosts = []
    for host in world.db.references("host"):
        try:
            check_can_run(world, vm, host)
        except XapiError:
            continue
        hosts.append(host)
    return hosts


def choose_host(world: World, vm: str) -> str:
    """The VM's own host if it can run there, else the first that can.

    Raises:
        XapiError: `HANDLE_INVALID` of a VDI, `NO_HOSTS_AVAILABLE`; in a pool of one, that host's reason.
    """
    check_images(world, vm)
    affinity = str(world.db.row("VM", vm)["affinity"])
    hosts = possible_hosts(world, vm)
    if not hosts:
        only, *others = world.db.references("host")
        if not others:
            check_can_run(world, vm, only)
        raise XapiError("NO_HOSTS_AVAILABLE")
    return affinity if affinity != NULL and affinity in hosts else hosts[0]
