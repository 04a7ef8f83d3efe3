"""Plays `iso-sr.txt` again: an ISO SR on a host path, imports, CD drives of two VMs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.integration.xenserver.client import Client, Failure
from tests.integration.xenserver.stage import Stage, pick
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1 << 20
LOCATION = "/srv/isos"
CONFIG = {"location": LOCATION, "legacy_mode": "true"}
# More than the buffers between two sockets hold, so that a client is still sending when it is refused.
LONG = bytes(24 << 20)


def play(stage: Stage) -> None:
    """Every line, in order."""
    folder = stage.folder(stage.pool.hosts[0], LOCATION)
    _sessions(stage)
    sr = _srs(stage)
    vdi, unnamed = _images(stage, sr, folder)
    _imports(stage, vdi, folder)
    _scans(stage, sr, vdi, unnamed, folder)
    vms, drives = _drives(stage, vdi)
    _running(stage, sr, vdi, vms, drives)
    _races(stage, vdi, drives[0])
    _paused(stage, vdi, vms[0], drives)
    _dangling(stage, sr, vdi, vms[0], drives, folder)
    _endings(stage, sr, unnamed, folder)


def _sessions(stage: Stage) -> None:
    raw = stage.master.raw
    stage.play("raw bad session", lambda: raw("VM.get_all", "OpaqueRef:bad"))
    stage.play("raw login wrong pw", lambda: raw("session.login_with_password", "root", "wrong", "1.0", "rig"))
    stage.play("raw login unknown user", lambda: raw("session.login_with_password", "nobody", "x", "1.0", "rig"))


def _srs(stage: Stage) -> str:
    for label, config, kind in (
        ("no location", {"legacy_mode": "true"}, "iso"),
        ("bad local path", {"location": "/no/such", "legacy_mode": "true"}, "iso"),
        ("nfs bad string", {"location": "nowhere", "type": "nfs_iso"}, "iso"),
        ("nfs host unreachable", {"location": "nowhere:/isos", "type": "nfs_iso"}, "iso"),
        ("unknown type", CONFIG, "frobnicate"),
    ):
        stage.play(f"SR.create {label}", lambda config=config, kind=kind: stage.iso_sr(config, kind=kind))  # type: ignore[misc]
    stage.play("SR.create shared legacy", lambda: _forget(stage, stage.iso_sr(CONFIG, shared=True)))
    sr = stage.text("SR.create ok", lambda: stage.iso_sr(CONFIG))
    names = ("allowed_operations", "physical_size", "type", "content_type", "shared", "sm_config")
    stage.play("SR record", lambda: pick(stage.master("SR.get_record", sr), *names))
    pbd = stage.master("SR.get_PBDs", sr)[0]
    stage.play("PBD record", lambda: pick(stage.master("PBD.get_record", pbd), "device_config", "currently_attached"))
    return sr


def _images(stage: Stage, sr: str, folder: Path) -> tuple[str, str]:
    vdi = stage.text("VDI.create path", lambda: stage.vdi(sr, "cfg-1.iso", size=SIZE))
    stage.play("file on disk", lambda: [(path.name, path.stat().st_size) for path in folder.iterdir()])
    names = ("name_label", "allowed_operations", "virtual_size", "physical_utilisation", "type", "read_only")
    record = stage.master("VDI.get_record", vdi)
    stage.play("VDI record", lambda: pick(record, *names, "location", "managed", "sm_config"))
    for label, path in (
        ("same path", "cfg-1.iso"),
        ("path with space", " bad name.iso"),
        ("path traversal", "../evil.iso"),
        ("path ../ after valid prefix", "a.iso/../../b.iso"),
        ("uppercase underscore", "Cfg_1.iso"),
    ):
        stage.play(f"VDI.create {label}", lambda path=path: stage.vdi(sr, path))  # type: ignore[misc]
    unnamed = stage.text("VDI.create no path -> uuid.img", lambda: stage.vdi(sr, None))
    found = stage.master("VDI.get_record", unnamed)
    stage.play("location/size", lambda: (found["location"], found["virtual_size"]))
    stage.play("VDI.create size 0", lambda: stage.vdi(sr, "z.iso", size=0))
    stage.play("VDI.create read_only", lambda: stage.vdi(sr, "ro.iso", read_only=True))
    stage.play("VDI.resize on iso", lambda: stage.master("VDI.resize", vdi, "2000000"))
    return vdi, unnamed


def _imports(stage: Stage, vdi: str, folder: Path) -> None:
    client = stage.master
    content = bytes(range(256)) * (SIZE // 256)

    def put(content: bytes = content, *, vdi: str = vdi, **changes: str | None) -> tuple[object, ...]:
        return client.put(content, vdi=vdi, task=client("task.create", "import", ""), **changes)

    stage.play("PUT full", put)
    stage.play("content ok", lambda: (folder / "cfg-1.iso").read_bytes() == content)
    stage.play("PUT short (half)", lambda: put(content[: SIZE // 2]))
    stage.play("PUT longer than VDI", lambda: put(LONG))
    stage.play("PUT conn closed midway", lambda: _hang_up(client, vdi))
    stage.play("PUT bad vdi", lambda: put(LONG, vdi="OpaqueRef:bad"))
    uuid = client("VDI.get_uuid", vdi)
    stage.play("PUT vdi by uuid", lambda: put(vdi=uuid))
    stage.play("PUT bad session", lambda: put(LONG, session_id="OpaqueRef:bad"))
    stage.play("PUT no task", lambda: client.put(content, vdi=vdi))
    stage.play("PUT chunked TE", lambda: put(LONG, te="chunked"))
    stage.play("PUT bad format", lambda: put(LONG, format="zip"))
    login = f"{stage.pool.user}:{stage.pool.password}"
    stage.play("PUT no session, basic auth", lambda: put(session_id=None, auth=login))
    dom0 = 'field "VM" = "{}"'.format(client("host.get_control_domain", stage.host))
    stage.play("VBDs left in dom0 after imports", lambda: list(client("VBD.get_all_records_where", dom0)))


def _hang_up(client: Client, vdi: str) -> tuple[object, ...]:
    task = client("task.create", "import", "")
    target = f"/import_raw_vdi?session_id={client.session}&vdi={vdi}&format=raw&task_id={task}"
    with client.ask(target, SIZE) as (_, body):
        body.sendall(bytes(SIZE // 2))
    wait_until(lambda: client("task.get_status", task) != "pending", "the import's end", timeout=10)
    return ("closed", *client.state(task))


def _scans(stage: Stage, sr: str, vdi: str, unnamed: str, folder: Path) -> None:
    client = stage.master
    (folder / "ext.iso").write_bytes(bytes(2048))
    unnamed_file = client("VDI.get_location", unnamed)

    def scanned() -> tuple[str, list[tuple[Any, ...]]]:
        answer = client("SR.scan", sr)
        rows = {row["location"]: row for row in client("VDI.get_all_records").values() if row["SR"] == sr}
        fields = ("location", "read_only", "name_label", "virtual_size", "allowed_operations")
        # A list of the SR's images has no order; this is the recorded one.
        names = [unnamed_file, "cfg-1.iso", "z.iso", "ext.iso", "ro.iso"]
        assert sorted(names) == sorted(rows)
        return answer, [tuple(rows[name][field] for field in fields) for name in names]

    stage.play("SR.scan finds external file", scanned)
    external = stage.text("get_by_name_label ext.iso", lambda: client("VDI.get_by_name_label", "ext.iso")[0])
    task = client("task.create", "import", "")
    stage.play("PUT into scanned (read-only) VDI", lambda: client.put(LONG, vdi=external, task=task))
    (folder / "ext.iso").write_bytes(bytes(4096))
    stage.play("grow file then scan: size", lambda: (client("SR.scan", sr), client("VDI.get_virtual_size", external)))
    (folder / "ext.iso").unlink()
    stage.play("file removed, scan", lambda: (client("SR.scan", sr), _locations(stage, sr, unnamed_file)))
    del vdi


def _locations(stage: Stage, sr: str, unnamed_file: str, order: tuple[str, ...] = ()) -> list[str]:
    """The file names of an SR's images, in the order in which they were recorded: they have none."""
    names = {stage.master("VDI.get_location", vdi) for vdi in stage.master("SR.get_VDIs", sr)}
    wanted = order or (unnamed_file, "cfg-1.iso", "z.iso", "ro.iso")
    return sorted(names, key=lambda name: wanted.index(name) if name in wanted else len(wanted))


def _drives(stage: Stage, vdi: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two halted VMs, a drive in each."""
    client = stage.master
    first, second = stage.vm("dup"), stage.vm("dup")
    stage.play("get_by_name_label dup", lambda: len(client("VM.get_by_name_label", "dup")))
    drive = stage.text(
        "VBD.create w/o device/currently_attached keys", lambda: stage.vbd(first, "3", qos_algorithm_type="")
    )
    automatic = stage.vbd(first, "autodetect")
    stage.play("VBD.create autodetect", lambda: client("VBD.get_userdevice", automatic))
    stage.play("VBD.create userdevice 99", lambda: stage.vbd(first, "99"))
    stage.play("VBD.create userdevice xx", lambda: stage.vbd(first, "xx"))
    full = stage.text("VBD.create halted with VDI non-empty", lambda: stage.vbd(first, "4", vdi))
    stage.call("destroy", "VBD.destroy", full)
    return (first, second), (drive, stage.vbd(second, "3"))


def _running(stage: Stage, sr: str, vdi: str, vms: tuple[str, str], drives: tuple[str, str]) -> None:
    client = stage.master
    for vm in vms:
        client("VM.start", vm, False, False)  # noqa: FBT003
    late = stage.vbd(vms[0], "5")
    row = client("VBD.get_record", late)
    stage.play(
        "running: VBD.create+insert new empty CD (not plugged)",
        lambda: (late, row["currently_attached"], row["allowed_operations"]),
    )
    stage.call("running: VBD.plug new CD HVM", "VBD.plug", late)
    stage.call("running: insert into unplugged CD", "VBD.insert", late, vdi)
    row = client("VBD.get_record", late)
    stage.play("state", lambda: (row["empty"], row["currently_attached"]))
    client("VBD.destroy", late)
    stage.call("insert m1", "VBD.insert", drives[0], vdi)
    stage.call("insert same VDI m2", "VBD.insert", drives[1], vdi)
    stage.call("VDI allowed_ops in use", "VDI.get_allowed_operations", vdi)
    stage.call("VDI.destroy in use by running", "VDI.destroy", vdi)
    task = client("task.create", "import", "")
    stage.play("PUT into VDI in use RO", lambda: client.put(bytes(SIZE), vdi=vdi, task=task))
    stage.call("SR.destroy/forget in use", "SR.forget", sr)
    stage.call("PBD.unplug in use", "PBD.unplug", client("SR.get_PBDs", sr)[0])
    stage.call("eject m1", "VBD.eject", drives[0])
    stage.call("eject m2", "VBD.eject", drives[1])
    folder = stage.folder(stage.pool.hosts[0], LOCATION)
    (folder / "ext2.iso").write_bytes(bytes(2048))
    client("SR.scan", sr)
    stage.call(
        "insert scanned ext2 (read-only)", "VBD.insert", drives[0], client("VDI.get_by_name_label", "ext2.iso")[0]
    )
    stage.call("eject", "VBD.eject", drives[0])


def _races(stage: Stage, vdi: str, drive: str) -> None:
    def insert(_: int) -> str:
        with stage.client(stage.pool.hosts[0]) as client:
            try:
                client("VBD.insert", drive, vdi)
            except Failure as failure:
                return failure.details[0]
        return "ok"

    with ThreadPoolExecutor(6) as threads:
        stage.play("6 concurrent inserts", lambda: sorted(threads.map(insert, range(6)), key=str.isupper))
    stage.call("eject", "VBD.eject", drive)
    stage.play("Async.VBD.insert", lambda: _ended(stage, drive, vdi, "status", "result", "type"))
    stage.play("Async.VBD.insert again -> task error", lambda: _ended(stage, drive, vdi, "status", "error_info"))


def _ended(stage: Stage, drive: str, vdi: str, *names: str) -> tuple[object, ...]:
    client = stage.master
    task = client("Async.VBD.insert", drive, vdi)
    wait_until(lambda: client("task.get_status", task) != "pending", "the task's end", timeout=10)
    return (None, *pick(client("task.get_record", task), *names).values())


def _paused(stage: Stage, vdi: str, vm: str, drives: tuple[str, str]) -> None:
    client = stage.master
    stage.call("VM.pause", "VM.pause", vm)
    client("VBD.eject", drives[0])

    def exchange() -> str:
        client("VBD.insert", drives[0], vdi)
        return str(client("VBD.eject", drives[0]))

    stage.play("insert/eject paused", exchange)
    stage.call("unpause", "VM.unpause", vm)


def _dangling(  # noqa: PLR0913, PLR0917
    stage: Stage, sr: str, vdi: str, vm: str, drives: tuple[str, str], folder: Path
) -> None:
    client = stage.master
    stage.play("eject before dangling test", lambda: client("VBD.get_empty", drives[0]))
    stage.call("insert v", "VBD.insert", drives[0], vdi)
    (folder / "cfg-1.iso").unlink()

    def scanned() -> object:
        client("SR.scan", sr)
        return client("VDI.get_record", client("VBD.get_VDI", drives[0]))

    stage.play("delete file under inserted CD, SR.scan", scanned)
    stage.call("eject dangling", "VBD.eject", drives[0])
    stage.call("pool_migrate dangling", "VM.pool_migrate", vm, stage.host, {"live": "true"})
    stage.call("VM.hard_reboot", "VM.hard_reboot", vm)
    stage.call("VM.clean_shutdown", "VM.clean_shutdown", vm)
    stage.call("VM.hard_shutdown", "VM.hard_shutdown", vm)
    other = next(vbd for vbd in client("VM.get_VBDs", vm) if vbd != drives[0])
    stage.call("VM.destroy with CD VBDs", "VM.destroy", vm)
    stage.call("VBD after VM.destroy", "VBD.get_record", other)
    (folder / "cfg-1.iso").write_bytes(bytes(SIZE))
    client("SR.scan", sr)


def _endings(stage: Stage, sr: str, unnamed: str, folder: Path) -> None:
    client = stage.master
    unnamed_file = client("VDI.get_location", unnamed)
    order = ("z.iso", "ro.iso", "cfg-1.iso", unnamed_file)
    external = client("VDI.get_by_name_label", "ext2.iso")[0]
    stage.play(
        "VDI.destroy scanned ext2",
        lambda: (client("VDI.destroy", external), _locations(stage, sr, unnamed_file, order)),
    )
    assert not (folder / "ext2.iso").exists()
    stage.call("VDI.forget", "VDI.forget", unnamed)
    assert (folder / unnamed_file).exists()
    stage.call("PBD.unplug", "PBD.unplug", client("SR.get_PBDs", sr)[0])
    stage.call("SR.scan unplugged", "SR.scan", sr)
    stage.play("VDI.create unplugged", lambda: stage.vdi(sr, "late.iso"))
    stage.call("SR.forget", "SR.forget", sr)
    stage.play("session.logout", lambda: client("session.logout") or None)


def _forget(stage: Stage, sr: str) -> None:
    for pbd in stage.master("SR.get_PBDs", sr):
        stage.master("PBD.unplug", pbd)
    stage.master("SR.forget", sr)
