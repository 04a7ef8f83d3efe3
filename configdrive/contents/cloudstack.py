"""The files of CloudStack's ConfigDrive (`cloudstack/`): one value a file, under both spellings of its name. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from configdrive.drive_data import Metadata

if TYPE_CHECKING:
    from pydantic import JsonValue

    from configdrive.drive_data import VmData

WINDOWS_DEVICE: Final = r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)"
"""The beginning of a name that Windows takes for a device, whatever follows the dot: such a file cannot be opened."""

METADATA: Final = tuple(field.name for field in fields(Metadata) if field.name != "extra")
"""The metadata values that have files of their own."""


def files(data: VmData, password: str | None) -> dict[str, bytes]:
    """Return the files by their path on the drive."""
    found = _metadata(data)
    if data.user_data is not None:
        found["cloudstack/userdata/user_data.txt"] = data.user_data.get_secret_value()
    return found | ({} if password is None else _password(password))


def _metadata(data: VmData) -> dict[str, bytes]:
    """Return `cloudstack/metadata/`: no value has a trailing newline, as afterburn does not trim.

    The specification spells the names with underscores; today's guest scripts of CloudStack read them with hyphens.
    """
    values = {name: getattr(data.metadata, name) for name in METADATA}
    values["public_keys"] = "\n".join(key.key for key in data.ssh_keys)
    spelled = {
        spelling: value for name, value in values.items() if value for spelling in (name, name.replace("_", "-"))
    } | {key: _text(value) for key, value in data.metadata.extra.items() if value is not None and is_file_name(key)}
    return {f"cloudstack/metadata/{name}.txt": value.encode() for name, value in spelled.items()}


def is_file_name(key: str) -> bool:
    """Say whether an extra metadata entry may have a file of this name, with `.txt` behind it."""
    return re.fullmatch(r"[A-Za-z0-9._-]{1,60}", key) is not None and re.match(WINDOWS_DEVICE, key) is None


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _password(secret: str) -> dict[str, bytes]:
    """Return `cloudstack/password/`. The checksum is for CloudStack's Windows script, which fixes the algorithm."""
    encoded = secret.encode()
    checksum = hashlib.md5(encoded, usedforsecurity=False).hexdigest().encode()
    return {
        "cloudstack/password/vm_password.txt": encoded,
        "cloudstack/password/vm_password_md5checksum.txt": checksum,
        "cloudstack/password/vm-password-md5checksum.txt": checksum,
    }
