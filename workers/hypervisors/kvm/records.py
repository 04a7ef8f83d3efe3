"""The records of what a host's libvirt has said, as far as it is kept: its capabilities, storage pools and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    import libvirt

    from configdrive.model import StorageName

_FILE_POOLS: Final = frozenset({"dir", "fs", "netfs"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a host's libvirt says of itself.

    Args:
        uuid: the host's.
        user, group: QEMU's, where libvirt says so.
        confined_by: the security model that confines QEMU: `apparmor`, `selinux`; empty for none.
    """

    uuid: str
    user: int | None = None
    group: int | None = None
    confined_by: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool of the host.

    Args:
        kind: libvirt's type, such as `dir` or `rbd`.
        target: the directory in which it appears on the host; `None` when it has none.
        active: whether it is started (of a netfs pool: mounted).
        owner: user and group of its directory, when it is not root's.
        is_left: whether it is no more: only our own pool in its directory is left.
        mode: of its directory.
    """

    name: StorageName
    kind: str
    target: PurePosixPath | None
    active: bool
    owner: tuple[int, int] | None = None
    is_left: bool = False
    mode: int = 0

    @property
    def holds_files(self) -> bool:
        """Whether an image file can lie on it."""
        return self.kind in _FILE_POOLS and self.target is not None


@dataclass(frozen=True, slots=True)
class Volume:
    """What is known of a file: libvirt's handle, `None` when it is not there; and whether this process wrote it."""

    handle: libvirt.virStorageVol | None
    written: bool = False
