"""libvirt's domain XML as far as drives go: read into plain data, and written for one drive. Knows no connection."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from configdrive.model import ImageName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping


MARK: Final = "ua-configdrive"
"""The alias of a drive that the fleet has added: libvirt keeps an alias that begins with `ua-` in every definition."""

SCSI_MARK: Final = f"{MARK}-scsi"
"""The alias of a virtio-scsi controller that the fleet has added for its drive."""

_HANDED: Final = "devices/hostdev/address[@type='drive']"
_VIRTIO_SCSI: Final = frozenset({"virtio-scsi", "virtio-transitional", "virtio-non-transitional"})


class StartupPolicy(StrEnum):
    """What libvirt does with a drive whose image it cannot look at (`startupPolicy`).

    `optional`: the VM starts, restores, reverts or arrives with an empty drive. `requisite`: it does not start without
    the image, but may arrive or revert without. `mandatory`: never without.
    """

    OPTIONAL = "optional"
    REQUISITE = "requisite"
    MANDATORY = "mandatory"


class Device(StrEnum):
    """The kinds of disk that a config drive can be."""

    CDROM = "cdrom"
    DISK = "disk"


_ROOT: Final = frozenset({Device.DISK, "lun"})
"""Kinds of disk from which a VM boots: a `lun` is a whole SCSI disk that is handed through."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a disk is plugged in: the name in libvirt (not in the guest), and the bus."""

    dev: str
    bus: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is in a drive: a file's path, or a pool's volume, or something else (both `None`).

    `policy` says what libvirt does when it cannot look at it (`StartupPolicy`); `None` is as `mandatory`.
    """

    path: str | None = None
    pool: str | None = None
    volume: str | None = None
    policy: str | None = field(default=None, compare=False)

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
        alias: QEMU's name for it while it runs, and its user's in every definition; empty otherwise.
        address: controller, bus and unit, where it is on one.
        element: of the definition, which is not changed; `None` of a disk that is in none.
    """

    device: str
    target: Target
    source: Source | None
    boot: int | None = None
    alias: str = ""
    address: tuple[int, int, int] | None = None
    element: ET.Element | None = field(default=None, repr=False, compare=False)

    @property
    def xml(self) -> str:
        """Its element, written: few of those that are read are."""
        return "" if self.element is None else ET.tostring(self.element, encoding="unicode")

    @property
    def image(self) -> ImageName | None:
        """The fleet's image in it, if any."""
        return None if self.source is None else self.source.image

    @property
    def is_ours(self) -> bool:
        """Whether the fleet has added it, and so takes it away again; what it has found stays."""
        return self.alias == MARK

    @property
    def has_tray(self) -> bool:
        """Whether its medium can be exchanged without unplugging it; QEMU makes a plain disk of a USB CD drive too."""
        return self.device != Device.DISK and self.target.bus != "usb"

    @property
    def is_empty_cd(self) -> bool:
        """Whether it is a CD drive with nothing in it."""
        return self.device == Device.CDROM and self.source is None

    def holds(self, path: str, policy: StartupPolicy | None = None) -> bool:
        """Whether this file is in it, under this policy when one is given."""
        return self.source is not None and self.source.path == path and policy in {None, self.source.policy}

    def with_medium(self, path: str | None, policy: StartupPolicy = StartupPolicy.OPTIONAL) -> str:
        """Write its element with another file in it, or none; all else as it is: boot order, serial, alias, address."""
        return ET.tostring(self._with_medium(path, policy), encoding="unicode")

    def _with_medium(self, path: str | None, policy: StartupPolicy = StartupPolicy.OPTIONAL) -> ET.Element:
        known = self.element
        disk = _new_element(self.target, self.device, mark=self.is_ours) if known is None else deepcopy(known)
        disk.tail = None  # what stands behind it in the definition
        _exchange(disk, path, policy)
        return disk

    def for_config(self, path: str, policy: StartupPolicy) -> str:
        """Write its element, as a running VM has it, for a persistent definition that has no such drive yet."""
        disk = self._with_medium(path, policy)
        for address in disk.findall("address"):
            disk.remove(address)
        return ET.tostring(disk, encoding="unicode")

    @property
    def frame(self) -> str:
        """What the drive is without its medium: the same in two definitions when one change can do for both."""
        disk = self._with_medium(None)
        for driver in disk.findall("driver"):
            driver.attrib.pop("type", None)  # a running VM's empty drive has none
        for alias in disk.findall("alias"):
            if not self.alias.startswith("ua-"):  # QEMU's own, which only a running VM has
                disk.remove(alias)
        return ET.canonicalize(ET.tostring(disk, encoding="unicode"), strip_text=True)


@dataclass(frozen=True, slots=True)
class ScsiController:
    """One SCSI controller of a domain.

    Args:
        index: libvirt's number of it.
        model: empty when none is given, which libvirt takes for one that few guests drive.
        alias: as of a disk.
        is_used: whether a device other than a disk is on it.
        xml: its element.
    """

    index: int
    model: str
    alias: str = ""
    is_used: bool = False
    xml: str = field(default="", repr=False)

    @property
    def is_virtio(self) -> bool:
        """Whether guests drive it that drive virtio at all."""
        return self.model in _VIRTIO_SCSI


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain's definition: the running one, the persistent one, or the one in its saved state.

    Args:
        arch, machine: as libvirt has them, such as `x86_64` and `pc-q35-7.2`.
        disks: in the order of the XML.
        scsi: its SCSI controllers.
        handed: the addresses on them that devices of the host have, which were handed through.
        has_usb: whether it has a USB controller; `model='none'` says that it has none.
        boots_cd: whether `<boot dev='cdrom'/>` names CDs: libvirt boots from the first in the order of the disks.
        id: libvirt's number of a running VM, in the definition that it runs with; empty in all others.
    """

    name: str
    arch: str
    machine: str
    disks: tuple[Disk, ...]
    scsi: tuple[ScsiController, ...] = ()
    handed: frozenset[tuple[int, int, int]] = frozenset()
    has_usb: bool = False
    boots_cd: bool = False
    id: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is what a running VM has."""
        return bool(self.id)

    @property
    def fleet_disks(self) -> Iterator[tuple[ImageName, Disk]]:
        """Every disk with an image of the fleet in it, whosever it is."""
        return ((image, disk) for disk in self.disks if (image := disk.image) is not None)

    @property
    def root_disk(self) -> Disk | None:
        """The disk that the VM boots from: the first in its boot order, else the first of all; never one of ours."""
        candidates = [disk for disk in self.disks if disk.device in _ROOT and disk.image is None]
        ordered = sorted((disk for disk in candidates if disk.boot is not None), key=lambda disk: disk.boot or 0)
        return next(iter(ordered or candidates), None)

    @property
    def has_virtio_scsi(self) -> bool:
        """Whether a SCSI drive has a controller that guests know without a driver disk."""
        return any(one.is_virtio for one in self.scsi)

    @property
    def scsi_of_drive(self) -> int:
        """The number of the SCSI controller for a config drive: a virtio one, also one that has to be added for it."""
        virtio = [one.index for one in self.scsi if one.is_virtio]
        if virtio:
            return min(virtio)
        root = self.root_disk
        if root is not None and root.target.bus == "scsi":
            return 0 if root.address is None else root.address[0]
        return max((one.index + 1 for one in self.scsi), default=0)

    def idle_scsi(self, going: Collection[Disk] = ()) -> ScsiController | None:
        """The SCSI controller that the fleet has added, if nothing is on it once these disks are gone."""
        ours = next((one for one in self.scsi if one.alias == SCSI_MARK and not one.is_used), None)
        on_scsi = (disk for disk in self.disks if disk.target.bus == "scsi" and disk not in going)
        if ours is None or any(disk.address is None or disk.address[0] == ours.index for disk in on_scsi):
            return None
        return ours

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
        scsi=tuple(_scsi(domain)),
        handed=frozenset(found for one in domain.iterfind(_HANDED) if (found := _address(one)) is not None),
        has_usb=any(
            found.get("type") == "usb" and found.get("model") != "none"
            for found in domain.iterfind("devices/controller")
        ),
        boots_cd=any(found.get("dev") == Device.CDROM for found in domain.iterfind("os/boot")),
        id=domain.get("id", ""),
    )


def _scsi(domain: ET.Element) -> Iterator[ScsiController]:
    used = {found.get("controller") for found in domain.iterfind(_HANDED)}
    for number, element in enumerate(domain.iterfind("devices/controller[@type='scsi']")):
        index, alias = element.get("index", str(number)), element.find("alias")
        yield ScsiController(
            int(index),
            element.get("model", ""),
            "" if alias is None else alias.get("name", ""),
            index in used,
            ET.tostring(element, encoding="unicode"),
        )


def _address(element: ET.Element | None) -> tuple[int, int, int] | None:
    if element is None or element.get("type") != "drive" or element.get("target", "0") != "0":
        return None
    controller, bus, unit = (int(element.get(name, "0")) for name in ("controller", "bus", "unit"))
    return controller, bus, unit


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
                address=_address(element.find("address")),
                element=element,
            )


_EMPTY_KEYS: Final = frozenset({"startupPolicy", "index"})


def _source(element: ET.Element | None) -> Source | None:
    """Read a `<source>`: an empty drive has none, or one that names nothing."""
    if element is None:
        return None
    named = {key: value for key, value in element.attrib.items() if key not in _EMPTY_KEYS and value}
    if not named:
        return None
    path = named.get("file") or named.get("dev")
    return Source(path, named.get("pool"), named.get("volume"), element.get("startupPolicy"))


def disk_xml(  # noqa: PLR0913  # what an element says
    target: Target,
    path: str | None,
    device: str = Device.CDROM,
    *,
    mark: bool = True,
    policy: StartupPolicy = StartupPolicy.OPTIONAL,
    address: tuple[int, int, int] | None = None,
) -> str:
    """Write the element of a drive of the fleet's own: raw, read-only, with the file at `path` in it or empty.

    libvirt finds an `address` for itself, by the target's letter, on the first controllers.
    """
    disk = _new_element(target, device, mark=mark)
    if address is not None:
        controller, bus, unit = map(str, address)
        ET.SubElement(disk, "address", type="drive", controller=controller, bus=bus, target="0", unit=unit)
    _exchange(disk, path, policy)
    return ET.tostring(disk, encoding="unicode")


def scsi_xml(index: int) -> str:
    """Write the element of a virtio-scsi controller of the fleet's own."""
    controller = ET.Element("controller", type="scsi", index=str(index), model="virtio-scsi")
    ET.SubElement(controller, "alias", name=SCSI_MARK)
    return ET.tostring(controller, encoding="unicode")


def _new_element(target: Target, device: str, *, mark: bool) -> ET.Element:
    disk = ET.Element("disk", type="file", device=device)
    ET.SubElement(disk, "driver", name="qemu", type="raw")
    ET.SubElement(disk, "target", {"dev": target.dev} if target.dev else {}, bus=target.bus)
    ET.SubElement(disk, "readonly")
    if mark:
        ET.SubElement(disk, "alias", name=MARK)
    return disk


def _exchange(disk: ET.Element, path: str | None, policy: StartupPolicy) -> None:
    """Put a file into a drive's element, or take out what is in it; what follows from the medium goes with it.

    The policy goes with the medium, too: it is written again with each.
    """
    for tag in ("source", "backingStore", "mirror"):
        for found in disk.findall(tag):
            disk.remove(found)
    disk.set("type", "file")
    target, driver = disk.find("target"), disk.find("driver")
    if target is not None:
        target.attrib.pop("tray", None)
    if path is None:
        return
    if driver is None:
        driver = ET.Element("driver", name="qemu")
        disk.insert(0, driver)
    driver.set("type", "raw")
    disk.insert(1, ET.Element("source", file=path, startupPolicy=_possible(policy, disk.get("device", Device.DISK))))


def _possible(policy: StartupPolicy, device: str) -> StartupPolicy:
    """Give the nearest policy that this kind of disk can have: `requisite` is for removable media only."""
    return StartupPolicy.MANDATORY if policy is StartupPolicy.REQUISITE and device == Device.DISK else policy


def with_media(text: str, media: Mapping[str, str | None], policy: StartupPolicy = StartupPolicy.OPTIONAL) -> str:
    """Return a domain's XML with other files in some drives (target name -> path), or none: for a saved VM."""
    domain = read_xml(text)
    for disk in domain.iterfind("devices/disk"):
        target = disk.find("target")
        dev = "" if target is None else target.get("dev", "")
        if dev in media:
            _exchange(disk, media[dev], policy)
    return ET.tostring(domain, encoding="unicode")
