"""Writes the guest's libvirt XML."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from rigs.guest.kernel import GuestKernel

Bus = Literal["ide", "sata", "scsi", "virtio"]

# `quiet` and the rest keep the boot short under emulation and the console free of the kernel's own lines.
_COMMAND_LINE = "console=ttyS0 quiet loglevel=1 panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable audit=0"


# A q35 takes a device while it runs only where a port was left free; libvirt leaves none.
_SPARE_PORTS = range(1, 9)


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

    @property
    def xml(self) -> str:
        """The `<disk>` element."""
        source = f"<source file={quoteattr(str(self.path))}/>" if self.path else ""
        return (
            f"<disk type='file' device='{'cdrom' if self.cdrom else 'disk'}'><driver name='qemu' type='{self.format}'/>"
            f"{source}<target dev='{self.target}' bus='{self.bus}'/>{'<readonly/>' if self.cdrom else ''}</disk>"
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """The guest's hardware, and what its init is told.

    Attributes:
        type: "pc" (i440fx, IDE) or "q35" (SATA; needs the generic kernel to read from it).
        label: the label that the guest looks for.
        wait: seconds after which it says that there is no drive.
        append: more of the kernel's command line.
    """

    type: Literal["pc", "q35"] = "pc"
    label: str = "config"
    wait: int = 10
    append: str = ""


_PLAIN = Machine()


def domain_xml(  # noqa: PLR0913  # each is one element of the domain
    name: str,
    vm_uuid: uuid.UUID | str,
    guest: GuestKernel,
    console: Path,
    *,
    disks: Sequence[Disk] = (),
    machine: Machine = _PLAIN,
    terminal: bool = False,
) -> str:
    """Return the XML of a domain that boots the guest under emulation (TCG).

    Args:
        name: the domain's name.
        vm_uuid: its uuid.
        guest: what it boots.
        console: the file its serial console is written to; emptied whenever the domain is started.
        disks: its disks; the root disk, whose storage counts as the VM's primary storage, first.
        machine: its hardware.
        terminal: `console` is a Unix socket, of at most 107 bytes, that QEMU makes when the domain is started.
    """
    kind, mode = ("unix", " mode='bind'") if terminal else ("file", "")
    port = f"type='{kind}'><source{mode} path={quoteattr(str(console))}/><target port='0'/>"
    ports = "".join(f"<controller type='pci' index='{index}' model='pcie-root-port'/>" for index in _SPARE_PORTS)
    words = f"{_COMMAND_LINE} configdrive.label={machine.label} configdrive.wait={machine.wait} {machine.append}"
    return f"""
<domain type='qemu'>
  <name>{escape(name)}</name><uuid>{vm_uuid}</uuid><memory unit='MiB'>160</memory><vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine.type}'>hvm</type>
    <kernel>{escape(str(guest.kernel))}</kernel><initrd>{escape(str(guest.initrd))}</initrd>
    <cmdline>{escape(words)}</cmdline>
  </os>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <devices>
    {"".join(disk.xml for disk in disks)}
    {f"<controller type='pci' index='0' model='pcie-root'/>{ports}" if machine.type == "q35" else ""}
    <controller type='usb' index='0' model='none'/>
    <serial {port}</serial><console {port}</console>
    <memballoon model='none'/>
  </devices>
</domain>"""
