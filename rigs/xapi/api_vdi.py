"""The messages of the class VDI."""

import uuid
from datetime import UTC, datetime
from typing import Any

from rigs.xapi import sm
from rigs.xapi.api_sr import file_of, plugged
from rigs.xapi.errors import XapiError
from rigs.xapi.methods import Call, message, take
from rigs.xapi.world import World


@message("VDI.create")
def vdi_create(call: Call, record: dict[str, Any]) -> str:
    """Make an image. On an ISO SR `sm_config["path"]` names its file, else it is `<uuid>.img`."""
    take(record, "VDI")
    sr = call.db.row("SR", record["SR"])
    host, config = plugged(call.world, record["SR"])
    identity = str(uuid.uuid4())
    sm_config = dict(record.get("sm_config", {}))
    size = int(record["virtual_size"])
    place = sm.folder(call.world, host, sr, config)
    if sr["type"] == "iso":
        location = sm_config.get("path", f"{identity}.img")
        if "path" in sm_config:
            sm.check_iso_name(location)
        sm.new_iso(place, sm.shown_folder(sr, config), location, size)
        now = datetime.now(UTC)
        sm_config["created"] = f"{now.year}-{now.month}-{now.day}:{now.hour}:{now.minute}:{now.second}"
    else:
        location = identity
        with (place / location).open("wb") as file:
            file.truncate(size)
    names = {name: record.get(name, "") for name in ("name_label", "name_description")}
    given = {name: record[name] for name in ("SR", "type", "sharable", "read_only")}
    own = {"uuid": identity, "virtual_size": size, "sm_config": sm_config, "location": location}
    return call.db.add("VDI", **names, **given, **own, other_config=dict(record["other_config"]))


@message("VDI.destroy")
def vdi_destroy(call: Call, vdi: str) -> None:
    """Delete an image and its file. Drives of halted VMs that hold it vanish with it."""
    _check_not_in_use(call.world, vdi, "destroy")
    file_of(call.world, vdi).unlink(missing_ok=True)
    call.db.remove("VBD", *call.db.find("VBD", VDI=vdi))
    call.db.remove("VDI", vdi)


@message("VDI.forget")
def vdi_forget(call: Call, vdi: str) -> None:
    """Remove the row of an image and leave its file."""
    _check_not_in_use(call.world, vdi, "forget")
    call.db.remove("VBD", *call.db.find("VBD", VDI=vdi))
    call.db.remove("VDI", vdi)


@message("VDI.resize")
def vdi_resize(call: Call, vdi: str, size: int) -> None:
    """Change an image's size: the ISO driver cannot, and no other is asked to."""
    del size
    raise XapiError("SR_OPERATION_NOT_SUPPORTED", call.db.row("VDI", vdi)["SR"])


def _check_not_in_use(world: World, vdi: str, operation: str) -> None:
    """Refuse what cannot be done while a running VM, or an import, has the image.

    Raises:
        XapiError: `HANDLE_INVALID`, `VDI_IN_USE`.
    """
    world.db.row("VDI", vdi)
    if world.db.find("VBD", VDI=vdi, currently_attached=True):
        raise XapiError("VDI_IN_USE", vdi, operation)


def allowed_operations(world: World, vdi: str) -> list[str]:
    """What may be done with an image now, in the order recorded for an ISO SR."""
    in_use = world.db.find("VBD", VDI=vdi, currently_attached=True)
    return ["copy"] if in_use else ["forget", "destroy", "copy"]


def check_is_iso(world: World, vdi: str) -> None:
    """Refuse to put something into a CD drive that lies on no ISO SR (not recorded; parameters as xapi's source)."""
    sr = world.db.row("SR", world.db.row("VDI", vdi)["SR"])
    if sr["content_type"] != "iso":
        raise XapiError("VDI_IS_NOT_ISO", vdi, str(sr["content_type"]))
