"""The messages of the class VDI."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from rigs.xapi import sm
from rigs.xapi.api_sr import file_of, plugged
from rigs.xapi.errors import XapiError
from rigs.xapi.fields_storage import VDI
from rigs.xapi.methods import Call, message, take

if TYPE_CHECKING:
    from rigs.xapi.world import World


@message("VDI.create")
def vdi_create(call: Call, record: dict[str, Any]) -> str:
    """Make an image. On an ISO SR `sm_config["path"]` names its file, else it is `<uuid>.img`."""
    take(record, VDI.required)
    db = call.db
    sr = db.row("SR", record["SR"])
    machine, config = plugged(call.world, record["SR"])
    identity = str(uuid.uuid4())
    sm_config = dict(record.get("sm_config", {}))
    size = int(record["virtual_size"])
    place = sm.folder(call.world, machine, sr, config)
    if sr["type"] == "iso":
        location = sm_config.get("path", f"{identity}.img")
        if "path" in sm_config:
            sm.check_iso_name(location)
        sm.new_iso(place, sm.shown_folder(sr, config), location, size)
        sm_config["created"] = _date()
    else:
        location = identity
        with (place / location).open("wb") as file:
            file.truncate(size)
    return db.add(
        "VDI",
        uuid=identity,
        name_label=record.get("name_label", ""),
        name_description=record.get("name_description", ""),
        SR=record["SR"],
        virtual_size=size,
        type=record["type"],
        sharable=record["sharable"],
        read_only=record["read_only"],
        other_config=dict(record["other_config"]),
        xenstore_data=dict(record.get("xenstore_data", {})),
        sm_config=sm_config,
        tags=list(record.get("tags", [])),
        location=location,
    )


@message("VDI.destroy")
def vdi_destroy(call: Call, vdi: str) -> None:
    """Delete an image and its file. Drives of halted VMs that hold it vanish with it."""
    check_not_in_use(call.world, vdi, "destroy")
    file_of(call.world, vdi).unlink(missing_ok=True)
    for vbd in list(call.db.find("VBD", VDI=vdi)):
        call.db.remove("VBD", vbd)
    call.db.remove("VDI", vdi)


@message("VDI.forget")
def vdi_forget(call: Call, vdi: str) -> None:
    """Remove the row of an image and leave its file."""
    check_not_in_use(call.world, vdi, "forget")
    for vbd in list(call.db.find("VBD", VDI=vdi)):
        call.db.remove("VBD", vbd)
    call.db.remove("VDI", vdi)


@message("VDI.resize")
def vdi_resize(call: Call, vdi: str, size: int) -> None:
    """Change an image's size; the ISO driver cannot."""
    row = call.db.row("VDI", vdi)
    if call.db.row("SR", row["SR"])["type"] == "iso":
        raise XapiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    check_not_in_use(call.world, vdi, "resize")
    with file_of(call.world, vdi).open("r+b") as file:
        file.truncate(int(size))
    row["virtual_size"] = int(size)


def check_not_in_use(world: World, vdi: str, operation: str) -> None:
    """Refuse what cannot be done while a running VM, or an import, has the image.

    Raises:
        XapiError: `HANDLE_INVALID`, `VDI_IN_USE`.
    """
    world.db.row("VDI", vdi)
    if next(world.db.find("VBD", VDI=vdi, currently_attached=True), None) is not None:
        raise XapiError("VDI_IN_USE", vdi, operation)


def allowed_operations(world: World, vdi: str) -> list[str]:
    """What may be done with an image now, in the order recorded for an ISO SR."""
    if next(world.db.find("VBD", VDI=vdi, currently_attached=True), None) is not None:
        return ["copy"]
    return ["forget", "destroy", "copy"]


def check_is_iso(world: World, vdi: str) -> None:
    """Refuse to put something into a CD drive that lies on no ISO SR (not recorded; parameters as xapi's source)."""
    sr = world.db.row("SR", world.db.row("VDI", vdi)["SR"])
    if sr["content_type"] != "iso":
        raise XapiError("VDI_IS_NOT_ISO", vdi, str(sr["content_type"]))


def _date() -> str:
    moment = time.gmtime()
    return f"{moment.tm_year}-{moment.tm_mon}-{moment.tm_mday}:{moment.tm_hour}:{moment.tm_min}:{moment.tm_sec}"
