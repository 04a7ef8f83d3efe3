"""The messages of the class VM: made, powered and moved at once."""

from __future__ import annotations

import itertools
from typing import Any

from rigs.xapi import vm_rules
from rigs.xapi.api_sr import file_of
from rigs.xapi.api_vbd import free_devices
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL
from rigs.xapi.fields_vm import VM
from rigs.xapi.methods import Call, message, take
from rigs.xapi.vbd_rules import device_name

_domains = itertools.count(1)


@message("VM.create")
def vm_create(call: Call, record: dict[str, Any]) -> str:
    """Make a halted VM without drives."""
    take(record, VM.required)
    given = {name: value for name, value in record.items() if name in VM.fields and name not in _COMPUTED}
    for name, default in VM.fields.items():
        if name in given and isinstance(default, int) and not isinstance(default, bool):
            given[name] = int(given[name])
    return call.db.add("VM", **given)


@message("VM.destroy")
def vm_destroy(call: Call, vm: str) -> None:
    """Remove a halted VM with its drives; images stay."""
    vm_rules.check_power(call.world, vm, "destroy")
    for vbd in list(call.db.find("VBD", VM=vm)):
        call.db.remove("VBD", vbd)
    call.db.remove("VM", vm)


@message("VM.start")
def vm_start(call: Call, vm: str, start_paused: bool, force: bool) -> None:  # noqa: FBT001
    """Boot a VM on a host that can run it."""
    del force
    vm_rules.check_power(call.world, vm, "start")
    _boot(call, vm, vm_rules.choose_host(call.world, vm), paused=start_paused)


@message("VM.start_on")
def vm_start_on(call: Call, vm: str, host: str, start_paused: bool, force: bool) -> None:  # noqa: FBT001
    """Boot a VM on that host."""
    del force
    vm_rules.check_power(call.world, vm, "start_on")
    vm_rules.check_can_run(call.world, vm, host)
    _boot(call, vm, host, paused=start_paused)


@message("VM.pause")
def vm_pause(call: Call, vm: str) -> None:
    """Stop a running VM's processors."""
    vm_rules.check_power(call.world, vm, "pause")
    call.db.row("VM", vm)["power_state"] = "Paused"


@message("VM.unpause")
def vm_unpause(call: Call, vm: str) -> None:
    """Let a paused VM go on."""
    vm_rules.check_power(call.world, vm, "unpause")
    call.db.row("VM", vm)["power_state"] = "Running"


@message("VM.clean_shutdown")
def vm_clean_shutdown(call: Call, vm: str) -> None:
    """Let the guest shut down; works even when an image is gone (recorded)."""
    vm_rules.check_power(call.world, vm, "clean_shutdown")
    _halt(call, vm)


@message("VM.hard_shutdown")
def vm_hard_shutdown(call: Call, vm: str) -> None:
    """Power a VM off; its images are looked at before its power state (recorded)."""
    call.db.row("VM", vm)
    vm_rules.check_images(call.world, vm)
    vm_rules.check_power(call.world, vm, "hard_shutdown")
    _halt(call, vm)


@message("VM.clean_reboot")
def vm_clean_reboot(call: Call, vm: str) -> None:
    """Let the guest reboot: drives that came while it ran are attached now."""
    vm_rules.check_power(call.world, vm, "clean_reboot")
    _reboot(call, vm)


@message("VM.hard_reboot")
def vm_hard_reboot(call: Call, vm: str) -> None:
    """Power off and on again on the same host."""
    call.db.row("VM", vm)
    vm_rules.check_images(call.world, vm)
    vm_rules.check_power(call.world, vm, "hard_reboot")
    _reboot(call, vm)


@message("VM.suspend")
def vm_suspend(call: Call, vm: str) -> None:
    """Save a VM's memory to the suspend SR: its own, its host's, or the pool's."""
    vm_rules.check_power(call.world, vm, "suspend")
    row = call.db.row("VM", vm)
    places = (
        row["suspend_SR"],
        call.db.row("pool", call.world.pool)["suspend_image_SR"],
        call.db.row("host", row["resident_on"])["suspend_image_sr"],
    )
    if not any(call.db.has("SR", place) for place in places):
        raise XapiError("VM_NO_SUSPEND_SR", vm)
    _detach(call, vm)
    row.update(power_state="Suspended", resident_on=NULL, domid=-1)


@message("VM.resume")
def vm_resume(call: Call, vm: str, start_paused: bool, force: bool) -> None:  # noqa: FBT001
    """Go on with a suspended VM on a host that can run it."""
    del force
    vm_rules.check_power(call.world, vm, "resume")
    _boot(call, vm, vm_rules.choose_host(call.world, vm), paused=start_paused)


@message("VM.pool_migrate")
def vm_pool_migrate(call: Call, vm: str, host: str, options: dict[str, str]) -> None:
    """Move a running VM to another host of the pool; every SR of its drives must be plugged there."""
    del options
    vm_rules.check_can_run(call.world, vm, host)
    vm_rules.check_power(call.world, vm, "pool_migrate")
    call.world.check_reachable(call.db.row("VM", vm)["resident_on"])
    call.world.check_reachable(host)
    call.db.row("VM", vm).update(resident_on=host, domid=next(_domains))


@message("VM.assert_can_boot_here")
def vm_assert_can_boot_here(call: Call, vm: str, host: str) -> None:
    """Tell whether a host could run a VM."""
    vm_rules.check_can_run(call.world, vm, host)


@message("VM.get_possible_hosts")
def vm_get_possible_hosts(call: Call, vm: str) -> list[str]:
    """The hosts that could run a VM."""
    call.db.row("VM", vm)
    return vm_rules.possible_hosts(call.world, vm)


@message("VM.get_allowed_VBD_devices")
def vm_get_allowed_vbd_devices(call: Call, vm: str) -> list[str]:
    """The numbers that the VM's next drive may have."""
    call.db.row("VM", vm)
    return free_devices(call.world, vm)


_COMPUTED = frozenset({"uuid", "power_state", "resident_on", "domid", "is_control_domain", "VBDs", "domain_type"})


def _boot(call: Call, vm: str, host: str, *, paused: bool) -> None:
    db = call.db
    call.world.check_reachable(host)
    _check_files(call, vm)
    for vbd in db.find("VBD", VM=vm):
        row = db.row("VBD", vbd)
        row.update(currently_attached=True, device=device_name(row["userdevice"]))
    state = "Paused" if paused else "Running"
    db.row("VM", vm).update(power_state=state, resident_on=host, domid=next(_domains))


def _check_files(call: Call, vm: str) -> None:
    """Refuse to boot from a file that is gone though its row is there (not recorded; the driver's code 46)."""
    db = call.db
    for vbd in db.find("VBD", VM=vm, empty=False):
        if not file_of(call.world, db.row("VBD", vbd)["VDI"]).exists():
            raise XapiError("SR_BACKEND_FAILURE_46", "", "The VDI is not available", "")


def _halt(call: Call, vm: str) -> None:
    call.world.check_reachable(call.db.row("VM", vm)["resident_on"])
    _detach(call, vm)
    call.db.row("VM", vm).update(power_state="Halted", resident_on=NULL, domid=-1)


def _reboot(call: Call, vm: str) -> None:
    host = call.db.row("VM", vm)["resident_on"]
    _detach(call, vm)
    _boot(call, vm, host, paused=False)


def _detach(call: Call, vm: str) -> None:
    for vbd in call.db.find("VBD", VM=vm):
        call.db.row("VBD", vbd).update(currently_attached=False, device="")
