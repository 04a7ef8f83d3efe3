"""The image folder of a storage: files are there whole or not at all. Who may change them: `images`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName, Place, StoredImage, VmUuid

if TYPE_CHECKING:
    from collections.abc import Callable

DOWN: Final = ".down"
"""A file of this name in the folder of a host or a storage says that it cannot be reached."""

PART: Final = ".part"
"""What is being written carries this suffix until it is complete."""

READ_ONLY: Final = 0o400


@dataclass(frozen=True, slots=True)
class Listing:
    """The images on a storage, and whose half-written files lie beside them."""

    images: tuple[StoredImage, ...]
    half_written: frozenset[VmUuid]


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage: `folder` is where its images lie, `capacity` the bytes it takes altogether (`None`: no limit).

    Nothing is flushed to the disk: a simulated world need not outlive a power cut, only its processes.
    """

    place: Place
    folder: Path
    capacity: int | None = None

    def require_up(self) -> None:
        """Return when the storage answers.

        Raises:
            TransientError: `STORAGE_UNAVAILABLE`.
        """
        if os.path.exists(f"{self.folder}/../{DOWN}"):  # noqa: PTH110 - every verb asks, and pathlib takes longer
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, f"storage {self.place.storage!r} does not answer")

    def path(self, name: ImageName) -> Path:
        """Where the image lies, or would lie.

        Raises:
            PermanentError: `INVALID_EVENT` when the name could leave the folder.
        """
        file_name = str(name)
        if ImageName.parse(file_name) != name:
            raise PermanentError(PermanentCode.INVALID_EVENT, f"{file_name!r} is no name of an image")
        return self.folder / file_name

    def list(self, vm: VmUuid | None = None) -> Listing:
        """List the images of one VM, or of all."""
        images = []
        half_written = set()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if vm is not None and vm not in entry.name:
                    continue
                name = ImageName.parse(entry.name.removesuffix(PART))
                if name is None or (vm is not None and name.vm_uuid != vm):
                    continue
                if entry.name.endswith(PART):
                    half_written.add(name.vm_uuid)
                else:
                    images.append(StoredImage(name, self.place))
        return Listing(tuple(images), frozenset(half_written))

    def read(self, name: ImageName) -> bytes | None:
        """Return the image's bytes; `None` when it is not there."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, name: ImageName) -> int | None:
        """Return the image's size in bytes; `None` when it is not there."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return None

    def write(self, name: ImageName, content: bytes, halfway: Callable[[], None]) -> None:
        """Put the bytes there under their name, in one instant, read-only; `halfway` is called when half are written.

        Raises:
            TransientError: `STORAGE_FULL`, or `UPLOAD_CORRUPT` when what is read back is not what was written.
        """
        target = self.path(name)
        part = target.with_name(target.name + PART)
        part.unlink(missing_ok=True)
        self._require_room(target, len(content))
        try:
            self._fill(part, content, halfway)
            part.rename(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _fill(self, part: Path, content: bytes, halfway: Callable[[], None]) -> None:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            middle = len(content) // 2
            _write_all(descriptor, content[:middle])
            halfway()
            _write_all(descriptor, content[middle:])
            os.fchmod(descriptor, READ_ONLY)
            if os.pread(descriptor, len(content) + 1, 0) != content:
                raise TransientError(TransientCode.UPLOAD_CORRUPT, f"{part.name} reads back otherwise than written")
        finally:
            os.close(descriptor)

    def _require_room(self, target: Path, needed: int) -> None:
        if self.capacity is None:
            return
        with os.scandir(self.folder) as entries:
            used = sum(entry.stat().st_size for entry in entries if entry.name != target.name)
        if used + needed > self.capacity:
            raise TransientError(
                TransientCode.STORAGE_FULL,
                f"storage {self.place.storage!r} has no room for the image",
                "free some space on it",
            )

    def remove(self, name: ImageName) -> None:
        """Delete the image; gone already is success."""
        self.path(name).unlink(missing_ok=True)

    def remove_half_written(self, vm: VmUuid) -> None:
        """Delete what killed uploads of this VM have left. The caller holds the VM's lock, so nobody writes."""
        with os.scandir(self.folder) as entries:
            parts = [Path(entry.path) for entry in entries if vm in entry.name and entry.name.endswith(PART)]
        for part in parts:
            part.unlink(missing_ok=True)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
