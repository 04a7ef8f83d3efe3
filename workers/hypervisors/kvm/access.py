"""The access to an image at rest: owner, group and mode of its file, which QEMU's user has to get through.

With `dynamic_ownership` (qemu.conf, the default) libvirt gives a VM's files to QEMU's user whenever it starts; without
it (oVirt, NFS) it leaves them as they are, and so for all files that it cannot give away (NFS with `root_squash`). An
image that belongs to QEMU's user from the beginning is right in both cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from workers.hypervisors.kvm.domain_xml import read_xml
from workers.hypervisors.kvm.records import Capabilities

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from workers.hypervisors.kvm.inventory import HostTable
    from workers.hypervisors.kvm.sessions import Link

PRIVATE: Final = 0o600
"""An image's mode: it may hold a password."""

_FOR_GROUP: Final = 0o640
_LABEL: Final = re.compile(r"\+(\d+):\+(\d+)")


@dataclass(frozen=True, slots=True)
class Access:
    """Owner, group and mode of image files; `None` leaves the owner or group as it comes."""

    owner: int | None = None
    group: int | None = None
    mode: int = PRIVATE

    def allows(self, user: int, group: int) -> bool:
        """Whether this user and group may read such a file, as far as can be told."""
        if user == 0 or self.mode & 0o004:
            return True
        return (self.owner == user and bool(self.mode & 0o400)) or (self.group == group and bool(self.mode & 0o040))

    @override
    def __str__(self) -> str:
        """Say it in words for people."""
        owner, group = ("?" if one is None else str(one) for one in (self.owner, self.group))
        return f"owner {owner}, group {group}, mode {self.mode:04o}"


def capabilities(link: Link) -> Capabilities:
    """Return what a host's libvirt says of itself, asked once on each connection."""
    known = link.known.capabilities.get(link.host)
    if known is not None:
        return known
    return link.known.capabilities.keep(link.host, read_capabilities(link.call(link.connection.getCapabilities)))


def read_capabilities(text: str) -> Capabilities:
    """Read libvirt's capabilities.

    Raises:
        xml.etree.ElementTree.ParseError: it is no XML.
    """
    host = read_xml(text).find("host")
    if host is None:
        return Capabilities("")
    user = group = None
    confined_by = ""
    for model in host.iterfind("secmodel"):
        name = model.findtext("model", "")
        if name == "dac":
            label = _LABEL.fullmatch(model.findtext("baselabel", ""))
            user, group = (None, None) if label is None else (int(label[1]), int(label[2]))
        elif name != "none":
            confined_by = name
    return Capabilities(host.findtext("uuid", "").lower(), user, group, confined_by)


def pool_owner(pool: ET.Element) -> tuple[int, int] | None:
    """Return the user and group to whom a pool's directory was given, in its XML; `None` for root's."""
    owner, group = (int(pool.findtext(f"target/permissions/{name}", "-1")) for name in ("owner", "group"))
    return (owner, group) if owner > 0 and group >= 0 else None


def pool_mode(pool: ET.Element) -> int:
    """Return the mode of a pool's directory, in its XML: what libvirt saw when it looked at it last."""
    return int(pool.findtext("target/permissions/mode", "0"), 8)


def access_of(table: HostTable, owner: tuple[int, int] | None, host: Capabilities) -> Access:
    """Say who may read the images on a storage.

    Args:
        table: the host's, which goes before all else.
        owner: of the pool's directory, when it is not root's: the storage's files are this user's.
        host: whose QEMU reads them.
    """
    user, group = owner or (host.user, host.group)
    user = user if table.image_owner is None else table.image_owner
    group = group if table.image_group is None else table.image_group
    mode = PRIVATE
    if table.image_mode is not None:
        mode = int(table.image_mode, 8)
    elif host.user is not None and not Access(user, group).allows(host.user, -1):
        mode = _FOR_GROUP  # the storage's owner is not QEMU's user: it is to be in the group, as on oVirt
    return Access(user, group, mode)
