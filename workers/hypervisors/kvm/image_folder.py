"""The folder with the fleet's images on one storage, whichever way its files are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from workers.driverkit.storage_routes import Files

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import ImageName, VmUuid

PRIVATE: Final = 0o600
"""An image's mode: it may hold a password. When libvirt attaches the file it makes QEMU's user its owner
(`dynamic_ownership` in qemu.conf, which is the default)."""

PASSABLE: Final = 0o711
"""The folder's mode: QEMU's user may reach a file by its name, nobody but the owner may list them."""


class ImageFolder(Files, Protocol):
    """One folder of images. Every method has the same effect twice as once."""

    @property
    def directory(self) -> PurePosixPath:
        """Where it lies, as the host sees it."""

    @property
    def pool(self) -> str:
        """The libvirt pool of this folder (it need not exist), by which a drive may name a file in it."""

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; of one VM, what a killed upload has left half-written is deleted.

        A folder that is not there has none.
        """

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""
