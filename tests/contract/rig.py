"""What a driver brings along to be put through the contract suite, and what the cases share.

To enter a driver, name its rigs in `tests/contract/rigs/__init__.py`, with what its hypervisor can show (cases that
need more do not run for it), and add one module `tests/contract/rigs/<hypervisor>.py`. Its `RIGS` has for each name a
context manager that starts the real peer below a folder, gives a `DriverRig`, and takes everything down at the end. One
rig serves the whole session, each case gets VMs of its own. What the module imports may be missing, as its daemon may.
"""

import hashlib
import itertools
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from configdrive.errors import FleetError
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    Image,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    StoredImage,
    Vm,
    VmUuid,
)
from configdrive.ports import HypervisorDriver

_numbers = itertools.count(1)

SECRET = b"The-password-is-swordfish"
"""Stands in every test image; must not stand in any error."""


class Feature(Enum):
    """What not every hypervisor, or not every rig of one, can show."""

    TRAY_LOCK = auto()
    """A guest that locks its tray."""
    DRIVES = auto()
    """The first of a hypervisor's rigs; the others differ in how images come to the storage, and share its drives."""


class ImageFiles:
    """The files of images on storages, past the driver.

    Args:
        folders: where each storage has them on this machine.
        inner: the folder within, for a file of this name.
    """

    def __init__(self, folders: Mapping[Place, Path], inner: Callable[[str], str] = lambda _name: "") -> None:
        self._folders = folders
        self._inner = inner

    def path(self, place: Place, file_name: str) -> Path:
        """Where a file lies, or would lie."""
        return self._folders[place] / self._inner(file_name) / file_name

    def put(self, place: Place, file_name: str, content: bytes) -> None:
        """Put any file into the image folder of a storage."""
        path = self.path(place, file_name)
        path.parent.mkdir(exist_ok=True, parents=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def read(self, place: Place, name: ImageName) -> bytes | None:
        """The bytes of an image file; `None` when there is none."""
        path = self.path(place, str(name))
        return path.read_bytes() if path.exists() else None

    def stamp(self, place: Place, name: ImageName) -> object:
        """Something that is another after the image file was written again."""
        found = self.path(place, str(name)).stat()
        return found.st_ino, found.st_mtime_ns

    def of(self, vm: Vm) -> list[str]:
        """Every file on any storage whose name holds the VM's uuid, half-written ones too."""
        return [path.name for folder in self._folders.values() for path in folder.rglob(f"*{vm.uuid}*")]


class DriverRig(Protocol):
    """One hypervisor with at least one host and two storages, and what is done to it past the driver.

    Attributes:
        host: the host on which VMs are defined.
        home: where their root disks lie.
        second: another storage of the same host.
        files: of images, on both.
    """

    host: HostName
    home: Place
    second: Place
    files: ImageFiles

    def make_driver(self, *, force_eject: bool = True) -> HypervisorDriver:
        """A new driver, as a worker process would make one."""

    def define_vm(self, power: PowerState = PowerState.HALTED, *, drive: bool = True, name: str | None = None) -> Vm:
        """A new, persistent VM with its root disk on `home`; `drive`: with an empty config drive slot."""

    def start_vm(self, vm: Vm) -> None:
        """Power a halted VM on."""

    def stop_vm(self, vm: Vm) -> None:
        """Power a running VM off, hard."""

    def medium(self, vm: Vm) -> bytes | None:
        """The bytes in the config drive: of the running VM, else what its next boot would find."""

    def is_read_only(self, vm: Vm) -> bool:
        """Whether the guest is kept from writing to the medium in its config drive."""

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        """Put an image that lies at `place` into the VM's config drive slot, whosever it is."""

    def insert_user_iso(self, vm: Vm) -> None:
        """Put an ISO that is not the fleet's into another slot than the config drive's. The VM is halted."""

    def has_user_iso(self, vm: Vm) -> bool:
        """Whether that ISO is still in its slot."""

    def lock_tray(self, vm: Vm) -> None:
        """Let the guest lock its config drive. Feature `TRAY_LOCK`."""

    def leave_half_upload(self, image: Image, place: Place) -> None:
        """Leave what this driver's upload leaves when its process is killed in the middle."""

    def host_down(self) -> AbstractContextManager[None]:
        """Keep `host` off the network for a while."""

    def chaos(self, vm: Vm) -> Mapping[str, AbstractContextManager[None]]:
        """Ways in which this hypervisor breaks, by name; each is mended at its end. The VM has its image on `home`."""


def new_vm(hypervisor: str, host: HostName, name: str | None = None) -> Vm:
    """Name a VM that does not exist yet."""
    return Vm(
        VmUuid(str(uuid.uuid4())),
        InstanceName(name or f"i-2-{next(_numbers)}-VM"),
        HypervisorName(hypervisor),
        host,
    )


def image_name(vm: Vm, generation: int = 1) -> ImageName:
    return ImageName.of(vm.instance_name, vm.uuid, Generation(generation))


def make_image(vm: Vm, generation: int = 1, *, sectors: int = 180) -> Image:
    """Make an image of that many sectors of 2048 bytes. Its bytes are nobody's ISO: drivers must not look inside."""
    noise = hashlib.shake_128(f"{vm.uuid} {generation}".encode()).digest(sectors * 2048 - len(SECRET))
    content = SECRET + noise
    return Image(image_name(vm, generation), "config", content, hashlib.sha256(content).hexdigest())


def verbs(
    driver: HypervisorDriver, vm: Vm, image: Image, place: Place, target: Place
) -> dict[str, Callable[[], object]]:
    """Every verb of the port on one VM and image, in an order that makes sense."""
    return {
        "observe": lambda: driver.observe(vm),
        "upload": lambda: driver.upload(vm, image, place),
        "copy": lambda: driver.copy(vm, image.name, place, target),
        "attach": lambda: driver.attach(vm, image.name, place),
        "survey": lambda: driver.survey(vm.host),
        "detach": lambda: driver.detach(vm),
        "delete": lambda: driver.delete(vm, StoredImage(image.name, place)),
    }


def failure_of(verb: Callable[[], object]) -> FleetError | None:
    """Run a verb and return its error; anything that is no `FleetError`, or tells a secret, fails the test."""
    failure = None
    try:
        verb()
    except FleetError as error:
        failure = error
    assert SECRET.decode() not in repr((failure, vars(failure) if failure else None))
    return failure


@contextmanager
def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """Put something else in the place of a file or folder for a while, or there where nothing is."""
    aside = path.with_name(f"{path.name}.aside")
    if path.exists():
        path.rename(aside)
    make(path)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if aside.exists():
            aside.rename(path)
