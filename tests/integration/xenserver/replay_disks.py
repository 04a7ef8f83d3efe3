"""Plays `disks.txt` again: disks of a running guest, CDs with odd media, snapshots, garbage, concurrent calls, PBDs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rigs.xapi import XapiSite
from tests.integration.xenserver.stage import NULL, Stage

LOCAL = {"location": "/srv/local", "legacy_mode": "true"}
NOT_PAUSED = (False, False)


def play(stage: Stage) -> None:
    """Every line, in order."""
    client, site = stage.master, XapiSite(stage.pool)
    here, there = stage.pool.hosts
    site.export("10.99.7.9", "/")
    for host in (here, there):
        stage.folder(host, LOCAL["location"])
    sr = stage.text("SR.create iso legacy on A", lambda: stage.iso_sr(LOCAL))
    other = stage.text("SR.create iso legacy on B", lambda: stage.iso_sr(LOCAL, host=there.reference))
    missing = {"location": "10.99.7.9:/isos/none", "type": "nfs_iso"}
    stage.play("SR.create iso nfs_iso, folder below the export is missing", lambda: stage.iso_sr(missing))
    theirs = stage.text("VDI.create on B's SR, asked of the master", lambda: stage.vdi(other, "b.iso"))
    uuid = site.define_vm("vm", site.add_nfs_sr("root"), pv_drivers=False)
    vm, image = client("VM.get_by_uuid", uuid), stage.vdi(sr, "a.iso", name="a.iso")
    cd = stage.vbd(vm, "3")
    _disks(stage, vm, image)
    _media(stage, vm, cd, image, theirs)
    _devices(stage, vm)
    _snapshot(stage, vm, cd, image)
    _garbage(stage, sr, cd)
    _at_once(stage, sr)
    _pbds(stage, sr, vm, cd)


def _disks(stage: Stage, vm: str, image: str) -> None:
    client = stage.master
    client("VM.start_on", vm, stage.host, *NOT_PAUSED)
    for drivers in ("without", "with"):
        label = f"running HVM {drivers} PV drivers: VBD.create Disk RO"
        disk = stage.text(label, lambda: stage.vbd(vm, "autodetect", image, type="Disk"))
        if drivers == "with":
            stage.play("allowed_operations", lambda disk=disk: client("VBD.get_allowed_operations", disk))  # type: ignore[misc]
        stage.call("VBD.plug", "VBD.plug", disk)
        stage.call("VBD.destroy", "VBD.destroy", disk)
        if drivers == "without":
            stage.call("VM.hard_shutdown", "VM.hard_shutdown", vm)
            metrics = client("VM.get_guest_metrics", vm)
            stage.call("PV_drivers_detected", "VM_guest_metrics.get_PV_drivers_detected", metrics)
            stage.pool.world.db.row("VM", vm)["_pv_drivers"] = True
            client("VM.start_on", vm, stage.host, *NOT_PAUSED)

    def writable() -> None:
        client("VBD.destroy", stage.vbd(vm, "autodetect", image, type="Disk", mode="RW"))

    stage.play("VBD.create Disk RW of the same", writable)


def _media(stage: Stage, vm: str, cd: str, image: str, theirs: str) -> None:
    client = stage.master
    root = next(row["VDI"] for row in client("VBD.get_all_records").values() if row["VM"] == vm and row["VDI"] != NULL)
    stage.call("insert v into CD 3", "VBD.insert", cd, image)
    stage.call("eject", "VBD.eject", cd)
    stage.call(
        "insert a VDI from an SR that is attached on another host only (VM running on A)", "VBD.insert", cd, theirs
    )
    stage.play("empty, VDI", lambda: (client("VBD.get_empty", cd), client("VBD.get_VDI", cd)))
    stage.call("insert a VDI that is on no ISO SR into a CD drive", "VBD.insert", cd, root)
    stage.play("empty", lambda: client("VBD.get_empty", cd))
    stage.call("eject", "VBD.eject", cd)
    label = "VBD.create CD with a VDI on no ISO SR"
    stage.play(label, lambda: client("VBD.destroy", stage.vbd(vm, "autodetect", root)))


def _devices(stage: Stage, vm: str) -> None:
    for device in ("xvdd", "hdd"):
        stage.play(f"VBD.create userdevice {device} while 3 is used", lambda device=device: stage.vbd(vm, device))  # type: ignore[misc]

    def devices() -> tuple[list[str], int]:
        found = stage.master("VM.get_allowed_VBD_devices", vm)
        return found[:6], len(found)

    stage.play("VM.get_allowed_VBD_devices (first 6, number)", devices)


def _snapshot(stage: Stage, vm: str, cd: str, image: str) -> None:
    client = stage.master
    client("VBD.insert", cd, image)
    snapshot = stage.text("VM.snapshot with v in CD 3", lambda: client("VM.snapshot", vm, "kept"))

    def cds() -> list[dict[str, object]]:
        rows = [client("VBD.get_record", vbd) for vbd in client("VM.get_VBDs", snapshot)]
        found = []
        for row in (row for row in rows if row["type"] == "CD"):
            vdi = client("VDI.get_record", row["VDI"])
            names = {"dev": "userdevice", "type": "type", "mode": "mode", "empty": "empty"}
            shown = {name: row[key] for name, key in names.items()}
            shown |= {"att": row["currently_attached"], "oc": row["other_config"]}
            found.append({**shown, "loc": vdi["location"], "label": vdi["name_label"]})
        return found

    stage.play("snapshot's CDs", cds)
    client("VBD.eject", cd)
    stage.play("VDI.get_VBDs", lambda: len(client("VDI.get_VBDs", image)))
    stage.call("VDI.destroy while only the snapshot's VBD has it", "VDI.destroy", image)
    stage.play("snapshot's CDs", cds)


def _garbage(stage: Stage, sr: str, cd: str) -> None:
    client, folder = stage.master, stage.folder(stage.pool.hosts[0], LOCAL["location"])
    image = stage.vdi(sr, "gone.iso")

    def vanish() -> tuple[str, str]:
        answer = client("VBD.insert", cd, image)
        (folder / "gone.iso").unlink()
        return answer, client("SR.scan", sr)

    stage.play("rm file, SR.scan", vanish)
    stage.play("VBD.get_record empty/VDI", lambda: (client("VBD.get_empty", cd), client("VBD.get_VDI", cd)))
    stage.call("VBD.eject", "VBD.eject", cd)
    stage.pool.collect_garbage()
    text = "the drive is empty after the database's garbage collection"
    stage.play("", lambda: f"{text}: {client('VBD.get_empty', cd)}")
    stage.call("insert another", "VBD.insert", cd, stage.vdi(sr, "another.iso"))
    stage.call("eject", "VBD.eject", cd)


def _at_once(stage: Stage, sr: str) -> None:
    stage.pool.exclusion.waits = (0.0, 0.001)
    for count, what in ((1, "alone"), (6, "at once in one SR")):
        names = [f"n{count}-{number}.iso" for number in range(count)]
        stage.play(f"{count} VDI.create {what}: seconds", lambda names=names: _all(stage, names, sr))  # type: ignore[misc]
    stage.play("4 SR.scan at once: seconds", lambda: _all(stage, [""] * 4, sr))


def _all(stage: Stage, names: list[str], sr: str) -> list[tuple[str, float]]:
    def one(name: str) -> tuple[str, float]:
        with stage.client(stage.pool.hosts[0]) as client:
            if name:
                Stage(stage.pool, client).vdi(sr, name)
            else:
                client("SR.scan", sr)
        return "ok", 0.0

    with ThreadPoolExecutor(len(names)) as threads:
        return list(threads.map(one, names))


def _pbds(stage: Stage, sr: str, vm: str, cd: str) -> None:
    client = stage.master
    here, there = stage.pool.hosts
    (pbd,) = client("SR.get_PBDs", sr)
    again = {"host": here.reference, "SR": sr, "device_config": LOCAL, "other_config": {}}
    stage.call("PBD.destroy plugged", "PBD.destroy", pbd)
    stage.call("PBD.create a second time", "PBD.create", again)
    client("VM.hard_shutdown", vm)
    image = stage.vdi(sr, "last.iso")
    client("VBD.insert", cd, image)
    stage.call("PBD.unplug (halted VM has an image of it in a drive)", "PBD.unplug", pbd)
    stage.call("VM.start", "VM.start", vm, *NOT_PAUSED)
    stage.call("VM.start_on A", "VM.start_on", vm, here.reference, *NOT_PAUSED)
    stage.call("VDI.destroy", "VDI.destroy", image)
    stage.call("PBD.plug", "PBD.plug", pbd)
    label = "VM.start_on B with an image of A's SR in a drive"
    stage.call(label, "VM.start_on", vm, there.reference, *NOT_PAUSED)
    stage.play("", lambda: "doubtful parameter lists end")
