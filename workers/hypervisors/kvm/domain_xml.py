"""libvirt's domain XML as far as drives go: read into plain data, and written for one drive. Knows no connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from configdrive.model import ImageName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Device(StrEnum):
    """The kinds of disk that a config drive can be."""

    CDROM = "cdrom"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a disk is plugged in: the name in libvirt (not in the guest), and the bus."""

    dev: str
    bus: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is in a drive: a file's path, or a pool's volume, or something else (both `None`)."""

    path: str | None = None
    pool: str | None = None
    volume: str | None = None

    @property
    def image(self) -> ImageName | None:
        """The image's name when this is an image of the fleet, by its file name alone."""
        if self.path is not None:
            return ImageName.parse(PurePosixPath(self.path).name)
        return None if self.volume is None else ImageName.parse(self.volume)


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a domain.

    Args:
        device: `disk`, `cdrom`, `floppy` or `lun`.
        target: where it is plugged in.
        source: what is in it; `None` for an empty drive.
        boot: its own place in the boot order.
        alias: QEMU's name for it while it runs; empty otherwise.
    """

    device: str
    target: Target
    source: Source | None
    boot: int | None = None
    alias: str = ""

    @property
    def image(self) -> ImageName | None:
        """The fleet's image in it, if any."""
        return None if self.source is None else self.source.image

    @property
    def has_tray(self) -> bool:
        """Whether its medium can be exchanged without unplugging it; QEMU makes a plain disk of a USB CD drive too."""
        return self.device != Device.DISK and self.target.bus != "usb"

    @property
    def is_empty_cd(self) -> bool:
        """Whether it is a CD drive with nothing in it."""
        return self.device == Device.CDROM and self.source is None


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain's definition: the running one, the persistent one, or the one in its saved state.

    Args:
        arch, machine: as libvirt has them, such as `x86_64` and `pc-q35-7.2`.
        disks: in the order of the XML.
        controllers: (type, model) of each; the model is empty when none is given.
    """

    name: str
    arch: str
    machine: str
    disks: tuple[Disk, ...]
    controllers: frozenset[tuple[str, str]]

    @property
    def fleet_disks(self) -> Iterator[tuple[ImageName, Disk]]:
        """Every disk with an image of the fleet in it, whosever it is."""
        return ((image, disk) for disk in self.disks if (image := disk.image) is not None)

    @property
    def root_disk(self) -> Disk | None:
        """The disk that the VM boots from: the first in its boot order, else the first of all; never one of ours."""
        candidates = [disk for disk in self.disks if disk.device == Device.DISK and disk.image is None]
        ordered = sorted((disk for disk in candidates if disk.boot is not None), key=lambda disk: disk.boot or 0)
        return next(iter(ordered or candidates), None)

    @property
    def has_virtio_scsi(self) -> bool:
        """Whether a SCSI drive has a controller that guests know without a driver disk."""
        return bool({("scsi", "virtio-scsi"), ("scsi", "virtio-transitional")} & self.controllers)

    @property
    def has_usb(self) -> bool:
        """Whether it has a USB controller; `model='none'` says that it has none."""
        return any(kind == "usb" and model != "none" for kind, model in self.controllers)

    def at(self, dev: str) -> Disk | None:
        """The disk with this target name."""
        return next((disk for disk in self.disks if disk.target.dev == dev), None)


def read_xml(text: str) -> ET.Element:
    """Parse what libvirtd sent: it writes its own XML, without a document type or entities.

    Raises:
        xml.etree.ElementTree.ParseError: it is no XML.
    """
    return ET.fromstring(text)  # noqa: S314  # a verified peer; expat has limits against expanding entities


def read_definition(text: str) -> Definition:
    """Read a domain's XML.

    Raises:
        xml.etree.ElementTree.ParseError: it is no XML.
    """
    domain = read_xml(text)
    kind = domain.find("os/type")
    return Definition(
        name=domain.findtext("name", ""),
        arch="" if kind is None else kind.get("arch", ""),
        machine="" if kind is None else kind.get("machine", ""),
        disks=tuple(_disks(domain.iterfind("devices/disk"))),
        controllers=frozenset(
            (found.get("type", ""), found.get("model", "")) for found in domain.iterfind("devices/controller")
        ),
    )


def _disks(elements: Iterable[ET.Element]) -> Iterator[Disk]:
    for element in elements:
        target, boot, alias = element.find("target"), element.find("boot"), element.find("alias")
        if target is not None:
            yield Disk(
                device=element.get("device", Device.DISK),
                target=Target(target.get("dev", ""), target.get("bus", "")),
                source=_source(element.find("source")),
                boot=None if boot is None else int(boot.get("order", "0")),
                alias="" if alias is None else alias.get("name", ""),
            )


_EMPTY_KEYS: Final = frozenset({"startupPolicy", "index"})


def _source(element: ET.Element | None) -> Source | None:
    """Read a `<source>`: an empty drive has none, or one that names nothing."""
    if element is None:
        return None
    named = {key: value for key, value in element.attrib.items() if key not in _EMPTY_KEYS and value}
    if not named:
        return None
    return Source(named.get("file") or named.get("dev"), named.get("pool"), named.get("volume"))


def disk_xml(target: Target, path: str | None, device: str = Device.CDROM) -> str:
    """Write the element of one drive: raw, read-only, with the file at `path` in it or empty."""
    disk = ET.Element("disk", type="file", device=device)
    ET.SubElement(disk, "driver", name="qemu", type="raw")
    if path is not None:
        ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target.dev, bus=target.bus)
    ET.SubElement(disk, "readonly")
    return ET.tostring(disk, encoding="unicode")


def with_medium(text: str, dev: str, path: str | None) -> str:
    """Return a domain's XML with another file in one of its drives, or none: what is left of a saved VM to change."""
    domain = read_xml(text)
    for disk in domain.iterfind("devices/disk"):
        target = disk.find("target")
        if target is None or target.get("dev") != dev:
            continue
        for source in disk.findall("source"):
            disk.remove(source)
        disk.set("type", "file")
        if path is not None:
            ET.SubElement(disk, "source", file=path)
    return ET.tostring(domain, encoding="unicode")
