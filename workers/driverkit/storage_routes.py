"""The ways to a storage: through which host its folder is reached, and what every driver does with the images there."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import StoredImage
from configdrive.places import at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from configdrive.model import HostName, ImageName, Place, Vm

_Visit = TypeVar("_Visit")
_Found = TypeVar("_Found")


def hosts_of(place: Place, via: HostName, hosts: Iterable[HostName]) -> list[HostName]:
    """Name the hosts through which a storage may be reached: its own; of a shared one the VM's, then the others."""
    return [place.host] if place.host is not None else [via, *(name for name in hosts if name != via)]


@contextmanager
def first_way(
    ways: Iterable[AbstractContextManager[_Visit]], find: Callable[[_Visit], _Found]
) -> Iterator[tuple[_Visit, _Found]]:
    """Take the first way on which the storage is found.

    A host that has no such storage (any more) is passed by. One that does not answer now is not: the VM may have the
    image in its drive there.

    Args:
        ways: visits, of which each is entered only when those before it led nowhere.
        find: the storage, looked for on a visit.

    Raises:
        PermanentError: what the first way said, when none leads there.
    """
    first: PermanentError | None = None
    with ExitStack() as stack:
        for way in ways:
            try:
                visit = stack.enter_context(way)
                found = find(visit)
            except PermanentError as error:
                stack.close()
                first = first or error
            else:
                yield visit, found
                return
    if first is not None:
        raise first


def list_images(
    places: Iterable[Place], names: Callable[[Place], Iterable[ImageName]], *, needed: bool = False
) -> tuple[tuple[StoredImage, ...], tuple[Place, ...]]:
    """List what lies on several storages; also which of them cannot be listed now.

    Raises:
        FleetError: `DEFERRED`: one that is `needed` hangs; `ACCESS_DENIED`: nobody lets us look there.
    """
    return list_stored(places, lambda place: (StoredImage(name, place) for name in names(place)), needed=needed)


def list_stored(
    places: Iterable[Place], images: Callable[[Place], Iterable[StoredImage]], *, needed: bool = False
) -> tuple[tuple[StoredImage, ...], tuple[Place, ...]]:
    """As `list_images`, where a storage holds images in more places than one."""
    found: list[StoredImage] = []
    unreachable: list[Place] = []
    for place in dict.fromkeys(places):
        try:
            with at(place):
                found += images(place)
        except FleetError as error:
            if needed and error.code in {TransientCode.DEFERRED, PermanentCode.ACCESS_DENIED}:
                raise
            unreachable.append(place)
    return tuple(found), tuple(unreachable)


class Files(Protocol):
    """What `store` needs of a folder. Every method has the same effect twice as once."""

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back."""

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""


def store(folder: Files, name: ImageName, content: bytes, require_unused: Callable[[], None]) -> None:
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


def require_own(vm: Vm, name: ImageName) -> None:
    """Return when an image is this VM's.

    Raises:
        PermanentError: `NOT_ITS_DRIVE`.
    """
    if name.vm_uuid != vm.uuid:
        detail = f"the image {name} is not VM {vm.uuid}'s"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "a VM gets its own images only")


def not_on_host(vm: Vm, elsewhere: tuple[str, str] | None = None) -> PermanentError:
    """Make the error for a VM that shall get a drive and is not there; `elsewhere` as in `Observation`."""
    detail = f"host {vm.host} knows no VM {vm.instance_name} ({vm.uuid})"
    if elsewhere is not None:
        return PermanentError(PermanentCode.VM_NOT_FOUND, f"{detail}: {elsewhere[0]}", elsewhere[1])
    return PermanentError(PermanentCode.VM_NOT_FOUND, detail, "correct the event's host, or define the VM")


def nothing_to_attach(name: ImageName, place: Place) -> TransientError:
    """Make the error for an image that shall go into a drive and is not there: it is uploaded again."""
    return TransientError(TransientCode.UPLOAD_CORRUPT, f"storage {place.storage!r} does not hold the image {name}")


def nothing_to_copy(name: ImageName, source: Place) -> PermanentError:
    """Make the error for an image that shall be copied and is not there, or is not what its name promises."""
    detail = f"storage {source.storage!r} does not hold the image {name} as it was built"
    return PermanentError(PermanentCode.IMAGE_LOST, detail, "send a start event that carries the VM's data")
