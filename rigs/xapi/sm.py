"""The storage drivers: which directory stands behind an SR on a host, and the ISO driver's rules for names.

The errors and their order are recorded, except where a comment says otherwise. Paths in errors are those of the host.
"""

import re
from contextlib import suppress
from pathlib import Path

from rigs.xapi.errors import XapiError, backend_failure
from rigs.xapi.fields import Record
from rigs.xapi.world import World, XapiHost

MOUNT_BASE = "/run/sr-mount"
_BLOCK = frozenset({"lvm", "lvmoiscsi", "lvmohba"})
"""Types of SRs that hold volumes and no files."""

_TYPES = _BLOCK | {"ext", "nfs", "iso"}

# The ISO driver matches from the beginning only: `a.iso/../x` passes, and fails later or not at all.
_NAME = re.compile(r"[a-z0-9.-]+\.(iso|img)", re.IGNORECASE)
_IMAGE = re.compile(r"\.iso$|\.img$", re.IGNORECASE)
UUID_NAME = re.compile(r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\.(?:iso|img)", re.IGNORECASE)


def check_driver(sr_type: str) -> None:
    """Refuse a type that no driver serves."""
    if sr_type not in _TYPES:
        raise XapiError("INTERNAL_ERROR", 'Unix.Unix_error(Unix.ENOENT, "connect", "")')


def attach(world: World, host: XapiHost, sr: Record, config: dict[str, str]) -> None:
    """Make an SR usable on a host, as `PBD.plug` does.

    Raises:
        XapiError: the driver's error.
    """
    if sr["type"] == "iso":
        _check_iso(world, host, config)
    elif sr["type"] == "nfs":
        # Not recorded; codes and texts of the driver's error list (sm, XE_SR_ERRORCODES.xml).
        if not world.export(config.get("server", ""), config.get("serverpath", "")).is_dir():
            raise backend_failure(73, "NFS mount error [opterr=mount failed with return code 32]")
        (world.export(config["server"], config["serverpath"]) / sr["uuid"]).mkdir(exist_ok=True)
    if "legacy_mode" in config:
        return
    mount = _mount_point(host, sr)
    mount.parent.mkdir(parents=True, exist_ok=True)
    if sr["type"] in _BLOCK:
        (world.directory / "lvm" / sr["uuid"]).mkdir(parents=True, exist_ok=True)
    elif sr["type"] == "ext":
        mount.mkdir(exist_ok=True)
    elif not mount.exists():
        mount.symlink_to(_exported(world, sr, config))


def detach(host: XapiHost, sr: Record) -> None:
    """Unmount what `attach` mounted."""
    mount = _mount_point(host, sr)
    if mount.is_symlink():
        mount.unlink()


def folder(world: World, host: XapiHost, sr: Record, config: dict[str, str]) -> Path:
    """The directory in which an SR's images lie, seen from a host."""
    if sr["type"] in _BLOCK:
        return world.directory / "lvm" / str(sr["uuid"])
    if sr["type"] != "iso":
        return _mount_point(host, sr)
    return host.root / config["location"].lstrip("/") if "legacy_mode" in config else _mount_point(host, sr)


def new_iso(place: Path, shown: str, name: str, size: int) -> None:
    """Make the file of a new VDI on an ISO SR.

    Args:
        place: the SR's directory.
        shown: that directory as the host calls it, for messages.
        name: of the file.
        size: in bytes.
    """
    path = place / name
    if path.exists():
        raise backend_failure(43, "The VDI already exists")
    try:
        with path.open("wb") as file:
            file.truncate(size)
    except OSError:
        text = f'VDI Creation failed [opterr=could not create file: "{shown}/{name}"]'
        raise backend_failure(78, text) from None


def check_iso_name(name: str) -> None:
    """Refuse a name as the ISO driver does."""
    if not _NAME.match(name):
        raise backend_failure(78, f'VDI Creation failed [opterr=Invalid path "{name}"]')


def iso_files(place: Path, shown: str) -> dict[str, int]:
    """The images in an ISO SR's directory with their sizes, by name."""
    if not place.is_dir():
        # Not recorded; from the driver's list of errors.
        raise backend_failure(47, f"The SR is not available [opterr=no such directory {shown}]")
    sizes = {}
    for path in sorted(place.iterdir()):
        with suppress(OSError):  # a file may go while we look
            if _IMAGE.search(path.name) and _is_text(path.name) and not path.is_dir():
                sizes[path.name] = path.stat().st_size
    return sizes


def shown_folder(sr: Record, config: dict[str, str]) -> str:
    """The SR's directory as the host calls it."""
    return config["location"] if "legacy_mode" in config else f"{MOUNT_BASE}/{sr['uuid']}"


def _check_iso(world: World, host: XapiHost, config: dict[str, str]) -> None:
    location = config.get("location")
    if location is None:
        raise backend_failure(94, "The request is missing the location parameter")
    if "legacy_mode" in config:
        if not (host.root / location.lstrip("/")).exists():
            raise backend_failure(226, "Invalid local path")
        return
    server, colon, path = location.partition(":")
    if not colon:
        text = (
            "Incorrect Location string format. String must be in the format SERVER:PATH for NFS targets, "
            r"or \\SERVER\PATH for CIFS targets"
        )
        raise backend_failure(225, text)
    if not world.export(server, "").is_dir():
        raise backend_failure(108, "Unable to detect an NFS service on this target.")
    if not world.export(server, path).is_dir():
        reason = f"mount failed on server `{server}` with return code 110"
        raise backend_failure(222, f"Could not mount the directory specified in Device Configuration [opterr={reason}]")


def _exported(world: World, sr: Record, config: dict[str, str]) -> Path:
    if sr["type"] == "nfs":
        return world.export(config["server"], config["serverpath"]) / str(sr["uuid"])
    server, _, path = config["location"].partition(":")
    return world.export(server, path)


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8: the driver passes over others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mount_point(host: XapiHost, sr: Record) -> Path:
    return host.root / MOUNT_BASE.lstrip("/") / str(sr["uuid"])
