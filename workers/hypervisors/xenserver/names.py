r"""The names of the fleet's things in XAPI: a listing alone says whose they are.

Decision: the file name of an image in its SR is a reversible spelling of its true name.
The ISO driver of sm takes `[a-z0-9.-]+\.(iso|img)` only, case apart, and refuses an underscore; it looks from the
beginning and never at the end, so the rule is checked here. An instance name has capitals and underscores
(`i-2-14-VM`). So a capital becomes a dot and the small letter, `_` becomes `.-`, and a dot becomes `..`; the uuid, the
generation and `.iso` follow as they are, and `cd-` stands in front, lest a file begin with a dot:

    i-2-14-VM.0a1b...9f.7.iso  ->  cd-i-2-14-.v.m.0a1b...9f.7.iso

The VDI bears the true name as its name label. All images of one VM have one name description, by which XAPI finds
them with one call, however many others lie in the SR.
"""

from __future__ import annotations

import re
from typing import Final

from configdrive.model import UUID_PATTERN, Generation, ImageName, InstanceName, VmUuid

VM_MARK: Final = "configdrive-vm"
"""In other_config of a VBD: it is the config drive of the VM with this uuid (the orchestrator's)."""

HOST_MARK: Final = "configdrive-host"
"""In other_config of a VBD: the host for which its medium was inserted. In that of an SR: the host whose SR it is."""

STORAGE_MARK: Final = "configdrive-storage"
"""In other_config of an ISO SR: it holds the images of the primary storage (SR) with this uuid."""

POINTER: Final = "configdrive-sr"
"""In other_config of a primary storage: the uuid of its ISO SR; with `-<host uuid>` behind it, of that host's."""

CLAIM: Final = "configdrive-claim"
"""In other_config of a primary storage: somebody makes its ISO SR just now: a token, and when to give him up."""

_PREFIX: Final = "cd-"
_LOCATION: Final = re.compile(
    r"cd-(?P<instance>(?:[a-z0-9-]|\.[a-z.-])+)"
    rf"\.(?P<uuid>{UUID_PATTERN})"
    r"\.(?P<generation>0|[1-9][0-9]{0,15})\.iso",
)
_SPECIAL: Final = {"_": ".-", ".": ".."}
_ESCAPE: Final = re.compile(r"\.(.)")


def location_of(name: ImageName) -> str:
    """Return the file name of an image in its SR."""
    instance = "".join(_spelled(letter) for letter in name.instance_name)
    return f"{_PREFIX}{instance}.{name.vm_uuid}.{name.generation}.iso"


def image_at(location: str) -> ImageName | None:
    """Read a file name in an SR; `None` when the file is not one of ours."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        return None
    instance = _ESCAPE.sub(_unspelled, match["instance"])
    name = ImageName.of(InstanceName(instance), VmUuid(match["uuid"]), Generation(int(match["generation"])))
    return name if ImageName.parse(str(name)) == name and location_of(name) == location else None


def description_of(vm: VmUuid) -> str:
    """Return the name description of all images of one VM."""
    return f"config drive of VM {vm}"


def iso_sr_label(storage: str, host: str | None) -> str:
    """Return the name label of a primary storage's ISO SR; both are XAPI's uuids, `host` that of a per-host SR."""
    return f"configdrive {storage}" + (f" {host}" if host else "")


def _spelled(letter: str) -> str:
    return f".{letter.lower()}" if letter.isupper() else _SPECIAL.get(letter, letter)


def _unspelled(match: re.Match[str]) -> str:
    letter = match[1]
    return {"-": "_", ".": "."}.get(letter, letter.upper())
