"""The folder with the fleet's images on one storage, whichever way its files are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from configdrive.model import ImageName, VmUuid

PRIVATE: Final = 0o600
"""An image's mode: it may hold a password. When libvirt attaches the file it makes QEMU's user its owner
(`dynamic_ownership` in qemu.conf, which is the default)."""

PASSABLE: Final = 0o711
"""The folder's mode: QEMU's user may reach a file by its name, nobody but the owner may list them."""


class ImageFolder(Protocol):
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

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back.

        Raises:
            TransientError: `UPLOAD_CORRUPT` when what is read back is not what was written, `STORAGE_FULL`.
        """

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""


def store(folder: ImageFolder, name: ImageName, content: bytes, require_unused: Callable[[], None]) -> None:
    """Make the folder hold exactly these bytes under this name; the same bytes are left alone.

    Args:
        folder: where.
        name: the image's.
        content: its bytes.
        require_unused: raises when other bytes of that name must not be replaced.
    """
    there = folder.read(name)
    if there == content:
        return
    if there is not None:
        require_unused()
        folder.remove(name)
    folder.put(name, content)
