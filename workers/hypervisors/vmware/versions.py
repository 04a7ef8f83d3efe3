"""Versions of the API: which one is spoken with a server, of those that it lists in `/sdk/vimServiceVersions.xml`."""

from __future__ import annotations

import re
from typing import Final

from pyVmomi import VmomiSupport

OLDEST: Final = "vim.version.version10"
"""vSphere 6.0: the oldest that has all that is used here, but for vSAN's directories (6.5)."""

PATH: Final = "/sdk/vimServiceVersions.xml"

_LISTED: Final = re.compile(r"<name>\s*urn:vim25\s*</name>(.*?)</namespace>", re.DOTALL)
_VERSION: Final = re.compile(r"<version>\s*([\w.]+)\s*</version>")


def newest(listing: str) -> str | None:
    """Return pyvmomi's word for the newest version of a listing that both know; `None` when it has none of ours."""
    listed = [number for space in _LISTED.findall(listing) for number in _VERSION.findall(space)]
    known = [version for number in listed if (version := _known(number)) is not None]
    fits = [version for version in known if VmomiSupport.IsChildVersion(version, OLDEST)]
    return max(fits, key=lambda version: len(VmomiSupport.parentMap[version]), default=None)


def _known(number: str) -> str | None:
    try:
        version: str = VmomiSupport.GetVersionFromVersionUri(f"urn:vim25/{number}")
    except KeyError:
        return None
    return version
