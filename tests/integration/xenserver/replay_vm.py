"""Plays `vm.txt` again: one host, records, one VM's life."""

from __future__ import annotations

from typing import Any

import XenAPI

from tests.integration.xenserver.stage import NULL, VM_RECORD, Stage, pick, vbd_record
from tests.support import wait_until

CONFIG = {"location": "/srv/isos", "legacy_mode": "true"}
SIZE = 4096


def play(stage: Stage) -> None:
    """Every line, in order."""
    _session(stage)
    sr = _srs(stage)
    vdi = _images(stage, sr)
    vm = _vm(stage)
    drive = _drive(stage, vm, vdi)
    _life(stage, vm, drive, vdi)
    _endings(stage, vm, drive, vdi)


def _session(stage: Stage) -> None:
    client = stage.master
    login = (stage.pool.user, "wrong", "1.0", "rig")
    stage.play("login wrong password", lambda: client.bare("session.login_with_password", *login))
    stage.play("login_with_password 4 args", lambda: client.login(stage.pool.user, stage.pool.password))
    stage.call("session.get_this_host", "session.get_this_host", client.session)
    stage.call("session.get_is_local_superuser", "session.get_is_local_superuser", client.session)
    stage.call("pool.get_all", "pool.get_all")
    stage.call("pool.get_master", "pool.get_master", client("pool.get_all")[0])
    stage.call("host.get_all", "host.get_all")
    record = client("host.get_record", stage.host)
    stage.play("host.get_record", lambda: pick(record, "enabled", "software_version"))


def _srs(stage: Stage) -> str:
    client = stage.master
    stage.folder(stage.pool.hosts[0], CONFIG["location"])
    stage.play("SR.get_all_records", lambda: list(client("SR.get_all_records")))
    stage.call("SR.get_by_name_label none", "SR.get_by_name_label", "none")
    sr = stage.text("SR.create iso legacy_mode", lambda: stage.iso_sr(CONFIG))
    stage.call("SR.get_PBDs", "SR.get_PBDs", sr)
    stage.call("PBD.get_currently_attached", "PBD.get_currently_attached", client("SR.get_PBDs", sr)[0])
    stage.call("SR.scan", "SR.scan", sr)
    stage.call("SR.get_VDIs", "SR.get_VDIs", sr)
    stage.pool.faults.delay("Async.SR.scan", 0.5)
    task = client("Async.SR.scan", sr)
    record = client("task.get_record", task)
    stage.play("Async.SR.scan + task", lambda: (task, record["status"], record))
    wait_until(lambda: client("task.get_status", task) == "success", "the scan's end", timeout=10)
    return sr


def _images(stage: Stage, sr: str) -> str:
    client = stage.master
    vdi = stage.text("VDI.create on iso SR", lambda: stage.vdi(sr, "cfg.iso", size=SIZE, name="cfg.iso"))
    incomplete = {"SR": sr, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    stage.call("VDI.create missing field", "VDI.create", incomplete)
    uuid = stage.call("VDI.get_uuid", "VDI.get_uuid", vdi)
    stage.play("VDI.get_by_uuid", lambda: client("VDI.get_by_uuid", uuid) == vdi)
    stage.call("VDI.get_by_uuid bad", "VDI.get_by_uuid", "00000000-0000-0000-0000-000000000000")
    stage.call("VDI.get_record", "VDI.get_record", vdi)
    stage.call("VDI.get_by_name_label", "VDI.get_by_name_label", "cfg.iso")
    expression = f'field "SR" = "{sr}" and field "name__label" = "cfg.iso"'
    stage.play("VDI.get_all_records_where", lambda: list(client("VDI.get_all_records_where", expression)))

    def put() -> tuple[object, ...]:
        answer = client.put(bytes(SIZE), vdi=vdi, task=client("task.create", "import", ""))
        status, reason, _, body, _, state, error, *_ = answer
        return status, reason, body, state, error

    stage.play("HTTP PUT /import_raw_vdi", put)
    return vdi


def _vm(stage: Stage) -> str:
    client = stage.master

    def state() -> dict[str, tuple[object, ...]]:
        names = ("name_label", "power_state", "is_a_template", "is_control_domain")
        return {ref: tuple(pick(row, *names).values()) for ref, row in client("VM.get_all_records").items()}

    stage.play("VM.get_all_records", state)
    stage.call("VM.get_by_name_label", "VM.get_by_name_label", "vm")
    vm = stage.text("VM.create", lambda: stage.vm(HVM_boot_policy="", HVM_boot_params={}))

    def boot() -> object:
        client("VM.set_HVM_boot_policy", vm, VM_RECORD["HVM_boot_policy"])
        client("VM.set_HVM_boot_params", vm, VM_RECORD["HVM_boot_params"])
        return client("VM.get_domain_type", vm)

    stage.play("VM.set_HVM_boot_policy etc", boot)
    stage.call("VM.get_power_state", "VM.get_power_state", vm)
    stage.play("VM.get_by_uuid", lambda: client("VM.get_by_uuid", client("VM.get_uuid", vm)) == vm)
    stage.call("VM.get_allowed_VBD_devices", "VM.get_allowed_VBD_devices", vm)
    return vm


def _drive(stage: Stage, vm: str, vdi: str) -> str:
    client = stage.master
    record = vbd_record(vm, "3")
    stage.call("VBD.create CD mode RW (VBD_CDS_MUST_BE_READONLY)", "VBD.create", {**record, "mode": "RW"})
    stage.call("VBD.create Disk empty (VBD_NOT_REMOVABLE_MEDIA)", "VBD.create", {**record, "type": "Disk"})
    drive = stage.text("VBD.create empty CD", lambda: client("VBD.create", record))
    stage.call("VBD.create same userdevice (DEVICE_ALREADY_EXISTS)", "VBD.create", record)
    incomplete = {name: value for name, value in record.items() if name != "VDI"}
    stage.call("VBD.create missing field", "VBD.create", incomplete)
    stage.call("VBD.create bad VM ref", "VBD.create", {**record, "VM": "OpaqueRef:bad"})
    stage.play("VM.get_VBDs has it", lambda: drive in client("VM.get_VBDs", vm))
    stage.call("VBD.get_record", "VBD.get_record", drive)
    stage.call("VBD.get_allowed_operations", "VBD.get_allowed_operations", drive)
    stage.call("VBD.eject empty (VBD_IS_EMPTY)", "VBD.eject", drive)
    stage.call("VBD.insert", "VBD.insert", drive, vdi)
    stage.call("VBD.insert again (VBD_NOT_EMPTY)", "VBD.insert", drive, vdi)
    stage.call("VBD.insert bad vdi", "VBD.insert", drive, "OpaqueRef:bad")
    stage.play(
        "VBD.get_empty/VDI",
        lambda: (client("VBD.get_empty", drive), client("VBD.get_VDI", drive), client("VDI.get_VBDs", vdi)),
    )
    stage.call("VBD.eject", "VBD.eject", drive)
    return drive


def _life(stage: Stage, vm: str, drive: str, vdi: str) -> None:
    client = stage.master
    stage.call("VM.start halted", "VM.start", vm, False, False)  # noqa: FBT003
    stage.call("VM.get_power_state", "VM.get_power_state", vm)
    stage.call("VBD.insert running", "VBD.insert", drive, vdi)
    stage.call("VBD.get_currently_attached", "VBD.get_currently_attached", drive)
    stage.call("VBD.unplug running CD", "VBD.unplug", drive)
    stage.call("VBD.destroy attached", "VBD.destroy", drive)
    stage.call("VBD.get_allowed_operations running", "VBD.get_allowed_operations", drive)
    stage.call("VM.pool_migrate same/only host", "VM.pool_migrate", vm, stage.host, {"live": "true"})
    stage.call("VM.assert_can_boot_here", "VM.assert_can_boot_here", vm, stage.host)
    stage.call("VM.suspend", "VM.suspend", vm)
    stage.call("VBD.insert suspended", "VBD.insert", drive, vdi)
    stage.call("VM.resume", "VM.resume", vm, False, False)  # noqa: FBT003
    stage.call("VM.hard_shutdown", "VM.hard_shutdown", vm)
    stage.call("VBD.eject after halt", "VBD.eject", drive)
    assert client("VBD.get_VDI", drive) == NULL


def _endings(stage: Stage, vm: str, drive: str, vdi: str) -> None:
    stage.call("VBD.destroy", "VBD.destroy", drive)
    stage.call("VDI.destroy", "VDI.destroy", vdi)
    stage.call("VDI.destroy again (HANDLE_INVALID)", "VDI.destroy", vdi)
    stage.call("unknown method", "VM.frobnicate", vm)
    stage.call("param count", "VBD.insert", drive)
    stage.call("event.from", "event.from", ["vm"], "", 1.0)
    stage.call("event.from2", "event.from", ["vm"], "", 1.0)
    stage.play("bad session", lambda: (None, _with_library(stage)))


def _with_library(stage: Stage) -> object:
    """The client library opens another session, unasked, when its own has ended."""
    transport = stage.master.transport()
    library: Any = XenAPI  # it has no types
    session = library.Session(stage.pool.url, transport=transport)
    session.login_with_password(stage.pool.user, stage.pool.password)
    stage.pool.expire_sessions()
    found = session.xenapi.VM.get_all()
    transport.close()
    return found
