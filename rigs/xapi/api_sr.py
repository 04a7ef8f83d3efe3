"""The messages of the classes SR and PBD."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rigs.xapi import sm
from rigs.xapi.errors import XapiError
from rigs.xapi.fields_storage import PBD
from rigs.xapi.methods import Call, message, take

if TYPE_CHECKING:
    from pathlib import Path

    from rigs.xapi.world import Machine, World


@message("SR.create")
def sr_create(  # noqa: PLR0913, PLR0917  # the message has so many
    call: Call,
    host: str,
    device_config: dict[str, str],
    physical_size: int,
    name_label: str,
    name_description: str,
    type: str,  # noqa: A002  # the parameter's name on the wire
    content_type: str,
    shared: bool,  # noqa: FBT001
    sm_config: dict[str, str] | None = None,
) -> str:
    """Make an SR with a plugged PBD on `host`; a shared one gets PBDs on every host, plugged where that works."""
    del physical_size  # disks of a rig have no size
    db = call.db
    db.row("host", host)
    sm.check_driver(type)
    identity = call.world.uuids.pop(0) if call.world.uuids else str(uuid.uuid4())
    sr = {"uuid": identity, "type": type}
    sm.attach(call.world, call.world.machines[host], sr, device_config)
    config = dict(sm_config or {})
    if type == "iso" and "type" in device_config:
        config["iso_type"] = device_config["type"]
    reference = db.add(
        "SR",
        uuid=identity,
        name_label=name_label,
        name_description=name_description,
        type=type,
        content_type=content_type,
        shared=shared,
        sm_config=config,
        physical_size=-1,  # as recorded for an ISO SR before its first scan
    )
    for machine in list(call.world.machines.values()) if shared else [call.world.machines[host]]:
        pbd = db.add("PBD", host=machine.reference, SR=reference, device_config=dict(device_config))
        if machine.reference == host:
            db.row("PBD", pbd)["currently_attached"] = True
            continue
        with suppress(XapiError):
            pbd_plug(call, pbd)
    return reference


@message("SR.scan")
def sr_scan(call: Call, sr: str) -> None:
    """Make rows for files that came, remove those of files that went, correct sizes."""
    row = call.db.row("SR", sr)
    machine, config = plugged(call.world, sr)
    if row["type"] != "iso":
        return
    files = sm.iso_files(sm.folder(call.world, machine, row, config), sm.shown_folder(row, config))
    known = {call.db.row("VDI", vdi)["location"]: vdi for vdi in call.db.find("VDI", SR=sr)}
    for location in known.keys() - files.keys():
        # The VBDs stay and point at nothing: recorded, a VM can then neither eject, migrate nor reboot.
        call.db.remove("VDI", known[location])
    for location, size in files.items():
        if location in known:
            call.db.row("VDI", known[location]).update(virtual_size=size, physical_utilisation=size)
            continue
        named = sm.UUID_NAME.match(location)
        call.db.add(
            "VDI",
            uuid=named.group(1) if named else str(uuid.uuid4()),
            name_label=location,
            SR=sr,
            location=location,
            virtual_size=size,
            physical_utilisation=size,
            read_only=True,
        )


@message("SR.destroy")
def sr_destroy(call: Call, sr: str) -> None:
    """Remove an unplugged SR. (An ISO SR's files stay in any case: its driver deletes nothing.)"""
    sr_forget(call, sr)


@message("SR.forget")
def sr_forget(call: Call, sr: str) -> None:
    """Remove the rows of an unplugged SR."""
    db = call.db
    db.row("SR", sr)
    pbds = list(db.find("PBD", SR=sr))
    if any(db.row("PBD", pbd)["currently_attached"] for pbd in pbds):
        raise XapiError("SR_HAS_PBD", sr)
    for vdi in list(db.find("VDI", SR=sr)):
        db.remove("VDI", vdi)
    for pbd in pbds:
        db.remove("PBD", pbd)
    db.remove("SR", sr)


@message("PBD.create")
def pbd_create(call: Call, record: dict[str, Any]) -> str:
    """Enter that a host can use an SR; it is not plugged yet."""
    take(record, PBD.required)
    db = call.db
    db.row("host", record["host"])
    db.row("SR", record["SR"])
    for pbd in db.find("PBD", host=record["host"], SR=record["SR"]):
        raise XapiError("PBD_EXISTS", record["SR"], record["host"], pbd)
    other_config = record.get("other_config", {})
    fields = {"host": record["host"], "SR": record["SR"], "device_config": record["device_config"]}
    return db.add("PBD", **fields, other_config=other_config)


@message("PBD.plug")
def pbd_plug(call: Call, pbd: str) -> None:
    """Make the SR usable on the PBD's host; a plugged one stays plugged."""
    row = call.db.row("PBD", pbd)
    if row["currently_attached"]:
        return
    call.world.check_reachable(row["host"])
    sm.attach(call.world, call.world.machines[row["host"]], call.db.row("SR", row["SR"]), row["device_config"])
    row["currently_attached"] = True


@message("PBD.unplug")
def pbd_unplug(call: Call, pbd: str) -> None:
    """Take the SR away from the PBD's host, unless a VM there uses one of its images."""
    db = call.db
    row = db.row("PBD", pbd)
    if not row["currently_attached"]:
        return
    for vbd in db.find("VBD", currently_attached=True, empty=False):
        vdi = db.row("VBD", vbd)["VDI"]
        if not db.has("VDI", vdi) or db.row("VDI", vdi)["SR"] != row["SR"]:
            continue
        if db.row("VM", db.row("VBD", vbd)["VM"])["resident_on"] == row["host"]:
            raise XapiError("VDI_IN_USE", vdi, vdi)  # twice, as recorded
    sm.detach(call.world.machines[row["host"]], db.row("SR", row["SR"]))
    row["currently_attached"] = False


@message("PBD.destroy")
def pbd_destroy(call: Call, pbd: str) -> None:
    """Remove an unplugged PBD."""
    if call.db.row("PBD", pbd)["currently_attached"]:
        raise XapiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    call.db.remove("PBD", pbd)


def plugged(world: World, sr: str) -> tuple[Machine, dict[str, str]]:
    """A host on which the SR is plugged, the master before others, and the device config there.

    Raises:
        XapiError: `SR_HAS_NO_PBDS`, `CANNOT_CONTACT_HOST`.
    """
    db = world.db
    rows = [db.row("PBD", pbd) for pbd in db.find("PBD", SR=sr, currently_attached=True)]
    if not rows:
        raise XapiError("SR_HAS_NO_PBDS", sr)
    hosts = {row["host"]: row["device_config"] for row in rows if world.is_live(row["host"])}
    host = world.master if world.master in hosts else next(iter(hosts), rows[0]["host"])
    world.check_reachable(host)
    return world.machines[host], hosts[host]


def sees(world: World, host: str, sr: str) -> bool:
    """Whether an SR is plugged on a host."""
    return next(world.db.find("PBD", SR=sr, host=host, currently_attached=True), None) is not None


def file_of(world: World, vdi: str) -> Path:
    """The file behind a VDI.

    Raises:
        XapiError: `HANDLE_INVALID`, `SR_HAS_NO_PBDS`.
    """
    row = world.db.row("VDI", vdi)
    machine, config = plugged(world, row["SR"])
    return sm.folder(world, machine, world.db.row("SR", row["SR"]), config) / str(row["location"])
