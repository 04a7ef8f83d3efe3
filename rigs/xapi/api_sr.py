"""The messages of the classes SR and PBD."""

import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from rigs.xapi import sm
from rigs.xapi.errors import XapiError
from rigs.xapi.methods import Call, message, take
from rigs.xapi.world import World, XapiHost


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
    sm.attach(call.world, call.world.hosts[host], sr, device_config)
    reference = db.add(
        "SR",
        uuid=identity,
        name_label=name_label,
        name_description=name_description,
        type=type,
        content_type=content_type,
        shared=shared,
        sm_config=dict(sm_config or {}),
        physical_size=-1,  # as recorded for an ISO SR before its first scan
    )
    for one in call.world.hosts if shared else [host]:
        pbd = db.add("PBD", host=one, SR=reference, device_config=dict(device_config), currently_attached=one == host)
        with suppress(XapiError):
            pbd_plug(call, pbd)
    return reference


@message("SR.scan")
def sr_scan(call: Call, sr: str) -> None:
    """Make rows for files that came, remove those of files that went, correct sizes."""
    row = call.db.row("SR", sr)
    host, config = plugged(call.world, sr)
    if row["type"] != "iso":
        return
    files = sm.iso_files(sm.folder(call.world, host, row, config), sm.shown_folder(row, config))
    known = {vdi["location"]: reference for reference, vdi in call.db.find("VDI", SR=sr).items()}
    # The VBDs stay and point at nothing: recorded, a VM can then neither eject, migrate nor reboot.
    call.db.remove("VDI", *(known[location] for location in known.keys() - files.keys()))
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


@message("SR.forget")
def sr_forget(call: Call, sr: str) -> None:
    """Remove the rows of an unplugged SR; its files stay."""
    db = call.db
    db.row("SR", sr)
    if db.find("PBD", SR=sr, currently_attached=True):
        raise XapiError("SR_HAS_PBD", sr)
    for kind in ("VDI", "PBD"):
        db.remove(kind, *db.find(kind, SR=sr))
    db.remove("SR", sr)


@message("PBD.create")
def pbd_create(call: Call, record: dict[str, Any]) -> str:
    """Enter that a host can use an SR; it is not plugged yet."""
    take(record, "PBD")
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
    sm.attach(call.world, call.world.hosts[row["host"]], call.db.row("SR", row["SR"]), row["device_config"])
    row["currently_attached"] = True


@message("PBD.unplug")
def pbd_unplug(call: Call, pbd: str) -> None:
    """Take the SR away from the PBD's host, unless a VM there uses one of its images."""
    db = call.db
    row = db.row("PBD", pbd)
    if not row["currently_attached"]:
        return
    for vdi in db.find("VDI", SR=row["SR"]):
        for vbd in db.find("VBD", VDI=vdi, currently_attached=True).values():
            if db.row("VM", vbd["VM"])["resident_on"] == row["host"]:
                raise XapiError("VDI_IN_USE", vdi, vdi)  # twice, as recorded
    sm.detach(call.world.hosts[row["host"]], db.row("SR", row["SR"]))
    row["currently_attached"] = False


@message("PBD.destroy")
def pbd_destroy(call: Call, pbd: str) -> None:
    """Remove an unplugged PBD."""
    if call.db.row("PBD", pbd)["currently_attached"]:
        raise XapiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    call.db.remove("PBD", pbd)


def plugged(world: World, sr: str) -> tuple[XapiHost, dict[str, str]]:
    """A host on which the SR is plugged, the master before others, and the device config there.

    Raises:
        XapiError: `SR_HAS_NO_PBDS`, `CANNOT_CONTACT_HOST`.
    """
    pbds = world.db.find("PBD", SR=sr, currently_attached=True).values()
    configs = {pbd["host"]: pbd["device_config"] for pbd in pbds}
    if not configs:
        raise XapiError("SR_HAS_NO_PBDS", sr)
    host = min(configs, key=lambda one: (not world.is_live(one), one != world.master))
    world.check_reachable(host)
    return world.hosts[host], configs[host]


def sees(world: World, host: str, sr: str) -> bool:
    """Whether an SR is plugged on a host."""
    return bool(world.db.find("PBD", SR=sr, host=host, currently_attached=True))


def file_of(world: World, vdi: str) -> Path:
    """The file behind a VDI.

    Raises:
        XapiError: `HANDLE_INVALID`, `SR_HAS_NO_PBDS`.
    """
    row = world.db.row("VDI", vdi)
    return folder(world, row["SR"]) / str(row["location"])


def folder(world: World, sr: str) -> Path:
    """The directory of an SR's images, as a host sees it that has the SR.

    Raises:
        XapiError: `SR_HAS_NO_PBDS`.
    """
    host, config = plugged(world, sr)
    return sm.folder(world, host, world.db.row("SR", sr), config)
