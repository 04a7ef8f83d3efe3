"""Plays the recordings again, every line of each in its order; a list of rows has none, so it is put into theirs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rigs.xapi import XapiHost, XapiSite
from tests.integration.xenserver.stage import LONG, NULL, Stage, pick, vbd_record
from tests.support import wait_until

ISOS = {"location": "/srv/isos", "legacy_mode": "true"}
LOCAL = {"location": "/srv/local", "legacy_mode": "true"}
SHARED = {"location": "/srv/shared", "legacy_mode": "true"}
NOT_PAUSED = (False, False)
SIZE = 1 << 20


def _disks(s: Stage) -> None:  # noqa: PLR0915  # as long as the recording
    """Disks of a running guest, CDs with odd media, snapshots, garbage, calls at once, PBDs."""
    client, site, (here, there) = s.master, XapiSite(s.pool), s.pool.hosts
    site.export("10.99.7.9", "/")
    folder, _ = (s.folder(host, LOCAL["location"]) for host in (here, there))
    sr = s.play("SR.create iso legacy on A", s.iso_sr, LOCAL)
    other = s.play("SR.create iso legacy on B", s.iso_sr, LOCAL, host=there.reference)
    missing = {"location": "10.99.7.9:/isos/none", "type": "nfs_iso"}
    s.play("SR.create iso nfs_iso, folder below the export is missing", s.iso_sr, missing)
    theirs = s.play("VDI.create on B's SR, asked of the master", s.vdi, other, "b.iso")
    vm = client("VM.get_by_uuid", site.define_vm("vm", site.add_nfs_sr("root"), pv_drivers=False))
    (root,) = client("VDI.get_by_name_label", "disk 0")
    image, cd = s.vdi(sr, "a.iso", name="a.iso"), s.vbd(vm, "3")

    for drivers in ("without", "with"):
        client("VM.start_on", vm, s.host, *NOT_PAUSED)
        disk = s.play(
            f"running HVM {drivers} PV drivers: VBD.create Disk RO", s.vbd, vm, "autodetect", image, type="Disk"
        )
        if drivers == "with":
            s.call("VBD.get_allowed_operations", disk, label="allowed_operations")
        s.call("VBD.plug", disk)
        s.call("VBD.destroy", disk)
        if drivers == "without":
            s.call("VM.hard_shutdown", vm)
            s.call("VM_guest_metrics.get_PV_drivers_detected", vm, label="PV_drivers_detected")
            s.pool.world.db.row("VM", vm)["_pv_drivers"] = True
    client("VBD.destroy", s.vbd(vm, "autodetect", image, type="Disk", mode="RW"))
    s.note("VBD.create Disk RW of the same", None)

    s.call("VBD.insert", cd, image, label="insert v into CD 3")
    s.call("VBD.eject", cd, label="eject")
    where = "an SR that is attached on another host only (VM running on A)"
    s.call("VBD.insert", cd, theirs, label=f"insert a VDI from {where}")
    s.note("empty, VDI", (client("VBD.get_empty", cd), client("VBD.get_VDI", cd)))
    s.call("VBD.insert", cd, root, label="insert a VDI that is on no ISO SR into a CD drive")
    s.call("VBD.get_empty", cd, label="empty")
    s.call("VBD.eject", cd, label="eject")
    s.note("VBD.create CD with a VDI on no ISO SR", client("VBD.destroy", s.vbd(vm, "autodetect", root)))
    for device in ("xvdd", "hdd"):
        s.play(f"VBD.create userdevice {device} while 3 is used", s.vbd, vm, device)
    devices = client("VM.get_allowed_VBD_devices", vm)
    s.note("VM.get_allowed_VBD_devices (first 6, number)", (devices[:6], len(devices)))

    client("VBD.insert", cd, image)
    snapshot = s.call("VM.snapshot", vm, "kept", label="VM.snapshot with v in CD 3")
    s.play("snapshot's CDs", _cds, s, snapshot)
    client("VBD.eject", cd)
    s.note("VDI.get_VBDs", len(client("VDI.get_VBDs", image)))
    s.call("VDI.destroy while only the snapshot's VBD has it", image)
    s.play("snapshot's CDs", _cds, s, snapshot)

    inserted = client("VBD.insert", cd, s.vdi(sr, "gone.iso"))
    (folder / "gone.iso").unlink()
    s.note("rm file, SR.scan", (inserted, client("SR.scan", sr)))
    s.note("VBD.get_record empty/VDI", (client("VBD.get_empty", cd), client("VBD.get_VDI", cd)))
    s.call("VBD.eject", cd)
    s.pool.collect_garbage()
    s.note("", f"the drive is empty after the database's garbage collection: {client('VBD.get_empty', cd)}")
    s.call("VBD.insert", cd, s.vdi(sr, "another.iso"), label="insert another")
    s.call("VBD.eject", cd, label="eject")

    s.pool.exclusion.waits = (0.0, 0.001)
    s.note("1 VDI.create alone: seconds", _at_once(s, 1, lambda one, number: one.vdi(sr, f"alone-{number}.iso")))
    s.note("6 VDI.create at once in one SR: seconds", _at_once(s, 6, lambda one, number: one.vdi(sr, f"{number}.iso")))
    s.note("4 SR.scan at once: seconds", _at_once(s, 4, lambda one, _: one.master("SR.scan", sr)))

    (pbd,) = client("SR.get_PBDs", sr)
    s.call("PBD.destroy plugged", pbd)
    again = {"host": here.reference, "SR": sr, "device_config": LOCAL, "other_config": {}}
    s.call("PBD.create a second time", again)
    client("VM.hard_shutdown", vm)
    last = s.vdi(sr, "last.iso")
    client("VBD.insert", cd, last)
    s.call("PBD.unplug (halted VM has an image of it in a drive)", pbd)
    s.call("VM.start", vm, *NOT_PAUSED)
    s.call("VM.start_on A", vm, here.reference, *NOT_PAUSED)
    s.call("VDI.destroy", last)
    s.call("PBD.plug", pbd)
    s.call("VM.start_on B with an image of A's SR in a drive", vm, there.reference, *NOT_PAUSED)
    s.note("", "doubtful parameter lists end")


def _cds(s: Stage, snapshot: str) -> list[dict[str, object]]:
    names = {"dev": "userdevice", "type": "type", "mode": "mode", "empty": "empty"}
    names |= {"att": "currently_attached", "oc": "other_config"}
    rows = [s.master("VBD.get_record", vbd) for vbd in s.master("VM.get_VBDs", snapshot)]
    found = []
    for row in (row for row in rows if row["type"] == "CD"):
        vdi = s.master("VDI.get_record", row["VDI"])
        shown = {name: row[key] for name, key in names.items()}
        found.append({**shown, "loc": vdi["location"], "label": vdi["name_label"]})
    return found


def _at_once(s: Stage, number: int, act: Callable[[Stage, int], object]) -> list[tuple[str, float]]:
    def one(number: int) -> tuple[str, float]:
        with s.client(s.pool.hosts[0]) as client:
            act(Stage(s.pool, client), number)
        return "ok", 0.0

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(one, range(number)))


def _iso_sr(s: Stage) -> None:  # noqa: PLR0915  # as long as the recording
    """An ISO SR on a host path, imports, CD drives of two VMs."""
    client, folder = s.master, s.folder(s.pool.hosts[0], ISOS["location"])
    s.play("raw bad session", client.raw, "VM.get_all", "OpaqueRef:bad")
    for label, user, password in (("wrong pw", "root", "wrong"), ("unknown user", "nobody", "x")):
        s.play(f"raw login {label}", client.raw, "session.login_with_password", user, password, "1.0", "rig")
    for label, config, kind in (
        ("no location", {"legacy_mode": "true"}, "iso"),
        ("bad local path", {"location": "/no/such", "legacy_mode": "true"}, "iso"),
        ("nfs bad string", {"location": "nowhere", "type": "nfs_iso"}, "iso"),
        ("nfs host unreachable", {"location": "nowhere:/isos", "type": "nfs_iso"}, "iso"),
        ("unknown type", ISOS, "frobnicate"),
    ):
        s.play(f"SR.create {label}", s.iso_sr, config, kind=kind)
    shared = s.iso_sr(ISOS, shared=True)
    for pbd in client("SR.get_PBDs", shared):
        client("PBD.unplug", pbd)
    client("SR.forget", shared)
    s.note("SR.create shared legacy", None)
    sr = s.play("SR.create ok", s.iso_sr, ISOS)
    names = ("allowed_operations", "physical_size", "type", "content_type", "shared", "sm_config")
    s.note("SR record", pick(client("SR.get_record", sr), *names))
    (pbd,) = client("SR.get_PBDs", sr)
    s.note("PBD record", pick(client("PBD.get_record", pbd), "device_config", "currently_attached"))

    vdi = s.play("VDI.create path", s.vdi, sr, "cfg-1.iso", size=SIZE)
    s.note("file on disk", [(path.name, path.stat().st_size) for path in folder.iterdir()])
    names = ("name_label", "allowed_operations", "virtual_size", "physical_utilisation", "type", "read_only")
    s.note("VDI record", pick(client("VDI.get_record", vdi), *names, "location", "managed", "sm_config"))
    for label, path in (
        ("same path", "cfg-1.iso"),
        ("path with space", " bad name.iso"),
        ("path traversal", "../evil.iso"),
        ("path ../ after valid prefix", "a.iso/../../b.iso"),
        ("uppercase underscore", "Cfg_1.iso"),
    ):
        s.play(f"VDI.create {label}", s.vdi, sr, path)
    unnamed = s.play("VDI.create no path -> uuid.img", s.vdi, sr, None)
    unnamed_file = client("VDI.get_location", unnamed)
    s.note("location/size", (unnamed_file, client("VDI.get_virtual_size", unnamed)))
    s.play("VDI.create size 0", s.vdi, sr, "z.iso", size=0)
    s.play("VDI.create read_only", s.vdi, sr, "ro.iso", read_only=True)
    s.call("VDI.resize on iso", vdi, "2000000")

    _imports(s, vdi, folder / "cfg-1.iso")
    order = (unnamed_file, "cfg-1.iso", "z.iso", "ro.iso")
    _scans(s, sr, folder, order)
    vms, drives = _drives(s, vdi)
    _running(s, sr, vdi, vms, drives, folder)

    s.call("VM.pause", vms[0])
    client("VBD.eject", drives[0])
    client("VBD.insert", drives[0], vdi)
    s.call("VBD.eject", drives[0], label="insert/eject paused")
    s.call("VM.unpause", vms[0], label="unpause")
    s.call("VBD.get_empty", drives[0], label="eject before dangling test")
    s.call("VBD.insert", drives[0], vdi, label="insert v")
    (folder / "cfg-1.iso").unlink()
    client("SR.scan", sr)
    s.call("VDI.get_record", vdi, label="delete file under inserted CD, SR.scan")
    s.call("VBD.eject", drives[0], label="eject dangling")
    s.call("VM.pool_migrate", vms[0], s.host, {"live": "true"}, label="pool_migrate dangling")
    for method in ("VM.hard_reboot", "VM.clean_shutdown", "VM.hard_shutdown"):
        s.call(method, vms[0])
    other = next(vbd for vbd in client("VM.get_VBDs", vms[0]) if vbd != drives[0])
    s.call("VM.destroy with CD VBDs", vms[0])
    s.call("VBD.get_record", other, label="VBD after VM.destroy")

    (folder / "cfg-1.iso").write_bytes(bytes(SIZE))
    client("SR.scan", sr)
    gone = client("VDI.destroy", client("VDI.get_by_name_label", "ext2.iso")[0])
    s.note("VDI.destroy scanned ext2", (gone, _locations(s, sr, ("z.iso", "ro.iso", "cfg-1.iso", unnamed_file))))
    assert not (folder / "ext2.iso").exists()
    s.call("VDI.forget", unnamed)
    assert (folder / unnamed_file).exists()
    s.call("PBD.unplug", pbd)
    s.call("SR.scan unplugged", sr)
    s.play("VDI.create unplugged", s.vdi, sr, "late.iso")
    s.call("SR.forget", sr)
    s.note("session.logout", client("session.logout") or None)


def _imports(s: Stage, vdi: str, file: Path) -> None:
    client, content = s.master, bytes(range(256)) * (SIZE // 256)

    def put(content: bytes = content, *, vdi: str = vdi, **changes: str | None) -> tuple[object, ...]:
        return client.put(content, vdi=vdi, task=client("task.create", "import", ""), **changes)

    s.play("PUT full", put)
    s.note("content ok", file.read_bytes() == content)
    s.play("PUT short (half)", put, content[: SIZE // 2])
    s.play("PUT longer than VDI", put, LONG)
    task = client("task.create", "import", "")
    with client.ask(f"/import_raw_vdi?session_id={client.session}&vdi={vdi}&format=raw&task_id={task}", SIZE) as body:
        body.sendall(bytes(SIZE // 2))
    wait_until(lambda: client("task.get_status", task) != "pending", "the import's end", timeout=10)
    s.note("PUT conn closed midway", ("closed", *client.state(task)))
    s.play("PUT bad vdi", put, LONG, vdi="OpaqueRef:bad")
    s.play("PUT vdi by uuid", put, vdi=client("VDI.get_uuid", vdi))
    s.play("PUT bad session", put, LONG, session_id="OpaqueRef:bad")
    s.play("PUT no task", client.put, content, vdi=vdi)
    s.play("PUT chunked TE", put, LONG, te="chunked")
    s.play("PUT bad format", put, LONG, format="zip")
    s.play("PUT no session, basic auth", put, LONG, session_id=None)
    dom0 = f'field "VM" = "{client("host.get_control_domain", s.host)}"'
    s.note("VBDs left in dom0 after imports", list(client("VBD.get_all_records_where", dom0)))


def _scans(s: Stage, sr: str, folder: Path, order: tuple[str, ...]) -> None:
    client = s.master
    (folder / "ext.iso").write_bytes(bytes(2048))
    scanned = client("SR.scan", sr)
    rows = {row["location"]: row for row in client("VDI.get_all_records").values() if row["SR"] == sr}
    fields = ("location", "read_only", "name_label", "virtual_size", "allowed_operations")
    names = (*order[:-1], "ext.iso", order[-1])
    assert set(rows) == set(names)
    found = [tuple(pick(rows[name], *fields).values()) for name in names]
    s.note("SR.scan finds external file", (scanned, found))
    external = client("VDI.get_by_name_label", "ext.iso")[0]
    s.note("get_by_name_label ext.iso", external)
    task = client("task.create", "import", "")
    s.play("PUT into scanned (read-only) VDI", client.put, LONG, vdi=external, task=task)
    (folder / "ext.iso").write_bytes(bytes(4096))
    s.note("grow file then scan: size", (client("SR.scan", sr), client("VDI.get_virtual_size", external)))
    (folder / "ext.iso").unlink()
    s.note("file removed, scan", (client("SR.scan", sr), _locations(s, sr, order)))


def _locations(s: Stage, sr: str, order: tuple[str, ...]) -> list[str]:
    """The file names of an SR's images, in the order in which they were recorded."""
    return sorted({s.master("VDI.get_location", vdi) for vdi in s.master("SR.get_VDIs", sr)}, key=order.index)


def _drives(s: Stage, vdi: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two halted VMs, a drive in each."""
    client = s.master
    first, second = s.vm("dup"), s.vm("dup")
    s.note("get_by_name_label dup", len(client("VM.get_by_name_label", "dup")))
    drive = s.play("VBD.create w/o device/currently_attached keys", s.vbd, first, "3")
    s.note("VBD.create autodetect", client("VBD.get_userdevice", s.vbd(first, "autodetect")))
    s.play("VBD.create userdevice 99", s.vbd, first, "99")
    s.play("VBD.create userdevice xx", s.vbd, first, "xx")
    full = s.play("VBD.create halted with VDI non-empty", s.vbd, first, "4", vdi)
    s.call("VBD.destroy", full, label="destroy")
    return (first, second), (drive, s.vbd(second, "3"))


def _running(  # noqa: PLR0913, PLR0917
    s: Stage, sr: str, vdi: str, vms: tuple[str, str], drives: tuple[str, str], folder: Path
) -> None:
    client = s.master
    for vm in vms:
        client("VM.start", vm, *NOT_PAUSED)
    late = s.vbd(vms[0], "5")
    row = client("VBD.get_record", late)
    shown = (late, row["currently_attached"], row["allowed_operations"])
    s.note("running: VBD.create+insert new empty CD (not plugged)", shown)
    s.call("VBD.plug", late, label="running: VBD.plug new CD HVM")
    s.call("VBD.insert", late, vdi, label="running: insert into unplugged CD")
    s.note("state", (client("VBD.get_empty", late), client("VBD.get_currently_attached", late)))
    client("VBD.destroy", late)
    s.call("VBD.insert", drives[0], vdi, label="insert m1")
    s.call("VBD.insert", drives[1], vdi, label="insert same VDI m2")
    s.call("VDI.get_allowed_operations", vdi, label="VDI allowed_ops in use")
    s.call("VDI.destroy in use by running", vdi)
    task = client("task.create", "import", "")
    s.play("PUT into VDI in use RO", client.put, bytes(SIZE), vdi=vdi, task=task)
    s.call("SR.forget", sr, label="SR.destroy/forget in use")
    s.call("PBD.unplug in use", client("SR.get_PBDs", sr)[0])
    s.call("VBD.eject", drives[0], label="eject m1")
    s.call("VBD.eject", drives[1], label="eject m2")
    (folder / "ext2.iso").write_bytes(bytes(2048))
    client("SR.scan", sr)
    external = client("VDI.get_by_name_label", "ext2.iso")[0]
    s.call("VBD.insert", drives[0], external, label="insert scanned ext2 (read-only)")
    s.call("VBD.eject", drives[0], label="eject")

    def insert(_: int) -> str:
        with s.client(s.pool.hosts[0]) as another:
            answer = another.raw("VBD.insert", another.session, drives[0], vdi)
        return "ok" if answer["Status"] == "Success" else str(answer["ErrorDescription"][0])

    with ThreadPoolExecutor(6) as threads:
        s.note("6 concurrent inserts", sorted(threads.map(insert, range(6)), key=str.isupper))
    s.call("VBD.eject", drives[0], label="eject")
    s.call("Async.VBD.insert", drives[0], vdi)
    s.call("Async.VBD.insert again -> task error", drives[0], vdi)
    client("VBD.insert", drives[0], vdi)


def _pool(s: Stage) -> None:
    """Two hosts, SRs that one or both see, migration, a slave's answers. The recorded pool names its hosts B first."""
    client, (here, there) = s.master, s.pool.hosts
    for host, config in ((here, LOCAL), (there, LOCAL), (here, SHARED), (there, SHARED)):
        s.folder(host, config["location"])
    live = {ref: row["live"] for ref, row in client("host_metrics.get_all_records").items()}
    hosts = client("host.get_all_records").values()
    shown = [(row["name_label"], row["enabled"], live[row["metrics"]]) for row in hosts]
    s.note("hosts", sorted(shown, reverse=True))
    s.call("host.enable", there.reference, label="enable B")
    local, shared = s.play("SR local on A", s.iso_sr, LOCAL), s.play("SR shared", s.iso_sr, SHARED, shared=True)

    def pbds() -> list[tuple[object, object]]:
        rows = [client("PBD.get_record", pbd) for pbd in client("SR.get_PBDs", shared)]
        found = [(client("host.get_name_label", row["host"]), row["currently_attached"]) for row in rows]
        return sorted(found, reverse=True)

    s.note("PBDs of shared", pbds())
    s.note("PBD create+plug on B", pbds())  # SR.create had done so
    local_vdi, shared_vdi = s.vdi(local, "a.iso"), s.vdi(shared, "s.iso")
    _migrations(s, local_vdi, shared_vdi)

    with s.client(there) as slave:
        s.play("PUT to slave for VDI on A-only SR", slave.put, LONG, vdi=local_vdi)
        status, _, headers, _ = client.put(bytes(1000), vdi=local_vdi)
        s.note("PUT to master", (status, headers))
        sr = s.play("SR local on B", s.iso_sr, LOCAL, host=there.reference)
        vdi = s.play("VDI on B", s.vdi, sr, "b.iso")
        s.play("PUT to master for VDI on B-only SR (302?)", client.put, LONG, vdi=vdi)
        login = (s.pool.user, s.pool.password, "1.0")
        s.play("slave login", slave.bare, "session.login_with_password", *login, "rig")
        local_login = "slave_local_login_with_password"
        s.play(f"slave {local_login}", slave.bare, f"session.{local_login}", *login)
        s.play("slave call with master session", slave.raw, "VM.get_all", client.session)


def _migrations(s: Stage, local_vdi: str, shared_vdi: str) -> None:
    client, (here, there) = s.master, s.pool.hosts
    vm = s.vm()
    drive = s.vbd(vm, "3")
    s.call("VM.start_on", vm, here.reference, *NOT_PAUSED, label="start_on A")

    def resident() -> None:
        s.note("resident_on", client("host.get_name_label", client("VM.get_resident_on", vm)))

    def migrate(label: str, host: XapiHost = there) -> None:
        s.call("VM.pool_migrate", vm, host.reference, {"live": "true"}, label=f"pool_migrate {label}")

    def migrate_and_back(label: str) -> None:
        migrate(label)
        client("VM.pool_migrate", vm, here.reference, {"live": "true"})  # the recorded migrations failed: the VM stayed

    resident()
    s.call("VBD.insert", drive, local_vdi, label="insert local-A VDI")
    s.call("VM.assert_can_boot_here", vm, there.reference, label="assert_can_boot_here B")
    hosts = client("VM.get_possible_hosts", vm)
    s.note("get_possible_hosts", [client("host.get_name_label", host) for host in hosts])
    migrate("to B with local ISO inserted")
    s.call("VBD.eject", drive, label="eject")
    s.call("VBD.insert", drive, shared_vdi, label="insert shared")
    s.call("VM.assert_can_boot_here", vm, there.reference, label="assert_can_boot_here B")
    migrate_and_back("to B with shared ISO")
    resident()
    s.call("VBD.eject", drive, label="eject")
    migrate_and_back("empty CD")
    resident()
    s.call("VM.pool_migrate", vm, "OpaqueRef:bad", {"live": "true"}, label="pool_migrate to bad host")
    s.call("host.disable", there.reference, label="host.disable B")
    migrate("to disabled")


def _vm(s: Stage) -> None:  # noqa: PLR0915  # as long as the recording
    """One host, records, one VM's life."""
    client, size = s.master, 4096
    s.folder(s.pool.hosts[0], ISOS["location"])
    s.play("login wrong password", client.bare, "session.login_with_password", s.pool.user, "wrong", "1.0", "rig")
    s.play("login_with_password 4 args", client.login, s.pool.user, s.pool.password)
    s.call("session.get_this_host", client.session)
    s.call("session.get_is_local_superuser", client.session)
    (pool,) = s.call("pool.get_all")
    s.call("pool.get_master", pool)
    s.call("host.get_all")
    s.note("host.get_record", pick(client("host.get_record", s.host), "enabled", "software_version"))

    s.note("SR.get_all_records", list(client("SR.get_all_records")))
    s.call("SR.get_by_name_label none", "none")
    sr = s.play("SR.create iso legacy_mode", s.iso_sr, ISOS)
    (pbd,) = s.call("SR.get_PBDs", sr)
    s.call("PBD.get_currently_attached", pbd)
    s.call("SR.scan", sr)
    s.call("SR.get_VDIs", sr)
    s.call("Async.SR.scan + task", sr)

    vdi = s.play("VDI.create on iso SR", s.vdi, sr, "cfg.iso", size=size, name="cfg.iso")
    incomplete: dict[str, Any] = {"SR": sr, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    s.call("VDI.create missing field", incomplete)
    uuid = s.call("VDI.get_uuid", vdi)
    s.note("VDI.get_by_uuid", client("VDI.get_by_uuid", uuid) == vdi)
    s.call("VDI.get_by_uuid bad", "00000000-0000-0000-0000-000000000000")
    s.call("VDI.get_record", vdi)
    s.call("VDI.get_by_name_label", "cfg.iso")
    expression = f'field "SR" = "{sr}" and field "name__label" = "cfg.iso"'
    s.note("VDI.get_all_records_where", list(client("VDI.get_all_records_where", expression)))
    answer = client.put(bytes(size), vdi=vdi, task=client("task.create", "import", ""))
    status, reason, _, body, _, state, error, *_ = answer
    s.note("HTTP PUT /import_raw_vdi", (status, reason, body, state, error))

    names = ("name_label", "power_state", "is_a_template", "is_control_domain")
    vms = client("VM.get_all_records").items()
    s.note("VM.get_all_records", {ref: tuple(pick(row, *names).values()) for ref, row in vms})
    s.call("VM.get_by_name_label", "vm")
    vm = s.play("VM.create", s.vm, HVM_boot_policy="")
    client("VM.set_HVM_boot_policy", vm, "BIOS order")
    client("VM.set_HVM_boot_params", vm, {"order": "cd"})
    s.call("VM.get_domain_type", vm, label="VM.set_HVM_boot_policy etc")
    s.call("VM.get_power_state", vm)
    s.note("VM.get_by_uuid", client("VM.get_by_uuid", client("VM.get_uuid", vm)) == vm)
    s.call("VM.get_allowed_VBD_devices", vm)

    record = vbd_record(vm, "3")
    s.call("VBD.create CD mode RW (VBD_CDS_MUST_BE_READONLY)", {**record, "mode": "RW"})
    s.call("VBD.create Disk empty (VBD_NOT_REMOVABLE_MEDIA)", {**record, "type": "Disk"})
    drive = s.call("VBD.create empty CD", record)
    s.call("VBD.create same userdevice (DEVICE_ALREADY_EXISTS)", record)
    s.call("VBD.create missing field", {name: value for name, value in record.items() if name != "VDI"})
    s.call("VBD.create bad VM ref", {**record, "VM": "OpaqueRef:bad"})
    s.note("VM.get_VBDs has it", drive in client("VM.get_VBDs", vm))
    s.call("VBD.get_record", drive)
    s.call("VBD.get_allowed_operations", drive)
    s.call("VBD.eject empty (VBD_IS_EMPTY)", drive)
    s.call("VBD.insert", drive, vdi)
    s.call("VBD.insert again (VBD_NOT_EMPTY)", drive, vdi)
    s.call("VBD.insert bad vdi", drive, "OpaqueRef:bad")
    full = (client("VBD.get_empty", drive), client("VBD.get_VDI", drive), client("VDI.get_VBDs", vdi))
    s.note("VBD.get_empty/VDI", full)
    s.call("VBD.eject", drive)

    s.call("VM.start halted", vm, *NOT_PAUSED)
    s.call("VM.get_power_state", vm)
    s.call("VBD.insert running", drive, vdi)
    s.call("VBD.get_currently_attached", drive)
    s.call("VBD.unplug running CD", drive)
    s.call("VBD.destroy attached", drive)
    s.call("VBD.get_allowed_operations running", drive)
    s.call("VM.pool_migrate same/only host", vm, s.host, {"live": "true"})
    s.call("VM.assert_can_boot_here", vm, s.host)
    s.call("VM.suspend", vm)
    s.call("VBD.insert suspended", drive, vdi)
    s.call("VM.resume", vm, *NOT_PAUSED)
    s.call("VM.hard_shutdown", vm)
    s.call("VBD.eject after halt", drive)
    assert client("VBD.get_VDI", drive) == NULL

    s.call("VBD.destroy", drive)
    s.call("VDI.destroy", vdi)
    s.call("VDI.destroy again (HANDLE_INVALID)", vdi)
    s.call("VM.frobnicate", vm, label="unknown method")
    s.call("VBD.insert", drive, label="param count")
    s.call("event.from", ["vm"], "", 1.0)
    s.call("event.from", ["vm"], "", 1.0, label="event.from2")
    s.pool.expire_sessions()
    client.login(s.pool.user, s.pool.password)  # as the recorded client did it by itself
    s.note("bad session", (None, client("VM.get_all")))


PLAYS: dict[str, Callable[[Stage], None]] = {
    "disks.txt": _disks,
    "iso-sr.txt": _iso_sr,
    "pool.txt": _pool,
    "vm.txt": _vm,
}
"""Of each recording."""
