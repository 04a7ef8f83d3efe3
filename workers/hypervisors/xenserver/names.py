r"""The names of the fleet's things in XAPI: a listing alone says whose they are.

An image's file in its SR, and the name label of its VDI, is the image's name: the ISO driver of sm takes
`[a-z0-9.-]+\.(iso|img)` only (case apart), and images have no other. All images of one VM have one name description,
by which XAPI finds them with one call, however many others lie in the SR.
"""

from __future__ import annotations

from typing import Final

from configdrive.model import VmUuid

VM_MARK: Final = "configdrive-vm"
"""In other_config of a VBD: the fleet has added it, as the config drive of the VM with this uuid."""

HOST_MARK: Final = "configdrive-host"
"""In other_config of a VBD: the uuid of the host for which its medium was inserted. In that of an SR: of the host whose
SR it is."""

STORAGE_MARK: Final = "configdrive-storage"
"""In other_config of an ISO SR: it holds the images of the primary storage (SR) with this uuid."""

POINTER: Final = "configdrive-sr"
"""In other_config of a primary storage: the uuid of its ISO SR; with `-<host uuid>` behind it, of that host's."""

CLAIM: Final = "configdrive-claim"
"""In other_config of a primary storage: somebody makes its ISO SR just now: a token, and when to give him up."""


def description_of(vm: VmUuid) -> str:
    """Return the name description of all images of one VM."""
    return f"config drive of VM {vm}"


def iso_sr_label(storage: str, host: str | None) -> str:
    """Return the name label of a primary storage's ISO SR; both are XAPI's uuids, `host` that of a per-host SR."""
    return f"configdrive {storage}" + (f" {host}" if host else "")
