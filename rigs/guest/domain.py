"""Writes the guest's libvirt XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from pathlib import Path

    from rigs.guest.kernel import GuestKernel

Bus = Literal["ide", "sata", "scsi", "virtio"]

# `quiet` and the rest keep the boot short under emulation and the console free of the kernel's own lines.
_COMMAND_LINE = "console=ttyS0 quiet loglevel=1 panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable audit=0"


# A q35 takes a device while it runs only where a port was left free; libvirt leaves none.
_SPARE_PORTS = 8


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk or CD drive.

    Attributes:
        target: its name in the domain, such as `vda` or `hdd`; it decides the slot.
        bus: what it hangs on. A CD drive cannot be on "virtio".
        path: the file; none is an empty CD drive.
        format: the file's form.
        cdrom: a CD drive, read-only.
    """

    target: str
    bus: Bus
    path: Path | None = None
    format: Literal["raw", "qcow2"] = "raw"
    cdrom: bool = False

    def element(self) -> ET.Element:
        """Return the `<disk>` element."""
        disk = ET.Element("disk", type="file", device="cdrom" if self.cdrom else "disk")
        ET.SubElement(disk, "driver", name="qemu", type=self.format)
        if self.path:
            ET.SubElement(disk, "source", file=str(self.path))
        ET.SubElement(disk, "target", dev=self.target, bus=self.bus)
        if self.cdrom:
            ET.SubElement(disk, "readonly")
        return disk


@dataclass(frozen=True, slots=True)
class Machine:
    """The guest's hardware, and what its init is told.

    Attributes:
        type: "pc" (i440fx, IDE) or "q35" (SATA; needs the generic kernel to read from it).
        memory: MiB.
        label: the label that the guest looks for.
        wait: seconds after which it says that there is no drive.
        append: more of the kernel's command line.
    """

    type: Literal["pc", "q35"] = "pc"
    memory: int = 160
    label: str = "config"
    wait: int = 10
    append: str = ""


def domain_xml(  # noqa: PLR0913  # each is one element of the domain
    name: str,
    vm_uuid: uuid.UUID | str,
    guest: GuestKernel,
    console: Path,
    *,
    disks: Sequence[Disk] = (),
    machine: Machine | None = None,
) -> str:
    """Return the XML of a domain that boots the guest under emulation (TCG).

    Args:
        name: the domain's name.
        vm_uuid: its uuid.
        guest: what it boots.
        console: the file its serial console is written to; emptied whenever the domain is started.
        disks: its disks; the root disk, whose storage counts as the VM's primary storage, first.
        machine: its hardware; a `Machine()` otherwise.
    """
    machine = machine or Machine()
    domain = ET.Element("domain", type="qemu")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "uuid").text = str(vm_uuid)
    ET.SubElement(domain, "memory", unit="MiB").text = str(machine.memory)
    ET.SubElement(domain, "vcpu").text = "1"
    boot = ET.SubElement(domain, "os")
    ET.SubElement(boot, "type", arch="x86_64", machine=machine.type).text = "hvm"
    ET.SubElement(boot, "kernel").text = str(guest.kernel)
    ET.SubElement(boot, "initrd").text = str(guest.initrd)
    ET.SubElement(boot, "cmdline").text = _command_line(machine)
    ET.SubElement(ET.SubElement(domain, "features"), "acpi")
    ET.SubElement(domain, "on_reboot").text = "destroy"
    devices = ET.SubElement(domain, "devices")
    devices.extend(disk.element() for disk in disks)
    if machine.type == "q35":
        ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
        for index in range(1, _SPARE_PORTS + 1):
            ET.SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    ET.SubElement(devices, "controller", type="usb", index="0", model="none")
    for kind in ("serial", "console"):
        port = ET.SubElement(devices, kind, type="file")
        ET.SubElement(port, "source", path=str(console))
        ET.SubElement(port, "target", port="0")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")


def _command_line(machine: Machine) -> str:
    words = [_COMMAND_LINE, f"configdrive.label={machine.label}", f"configdrive.wait={machine.wait}"]
    if machine.append:
        words.append(machine.append)
    return " ".join(words)
