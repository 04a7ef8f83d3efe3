"""A VM whose guest is the small Debian: what its orchestrator sends, and who sits at its console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt

from rigs.cloud import VmScript
from rigs.guest import Disk, Machine, domain_xml
from rigs.guest.debian import Terminal, with_terminal
from tests.e2e.orchestrator import Orchestrator

if TYPE_CHECKING:
    from pathlib import Path

    from rigs.fleet import Fleet
    from rigs.guest.debian import DebianGuest
    from rigs.libvirt import LibvirtHost

STARTS = {
    f"/etc/rcS.d/S{number}{name}": f"/etc/init.d/{name}"
    for number, name in ((10, "configdrive-guest"), (11, "configdrive-userdata"))
}


class DebianVm(Orchestrator):
    """One VM on the host `h1`.

    Args:
        host: is started and has the pool `primary`.
        fleet: gets the events.
        guest: what it boots.
        package: the directory of our Debian package.
        console: the path of its console's socket.
    """

    hypervisor = "kvm"

    def __init__(self, host: LibvirtHost, fleet: Fleet, guest: DebianGuest, package: Path, console: Path) -> None:
        self.script, self.fleet, self.host = VmScript(), fleet, "h1"
        self._console = console
        self._connection = libvirt.open(host.uri)
        root = host.create_disk("primary", f"{self.script.uuid}.raw", format_="raw", mib=1)
        guest.make_disk(root, package, STARTS)
        disks, machine = [Disk("vda", "virtio", root)], Machine(append="nosmp")
        xml = domain_xml(self.script.name, self.script.uuid, guest.boot, console, disks=disks, machine=machine)
        self._domain = self._connection.defineXML(with_terminal(xml, console))

    def power_on(self, *secrets: str) -> Terminal:
        """Switch it on, and sit down at its console. The passwords that will be typed are kept out of errors."""
        self._domain.create()
        return Terminal(self._console, secrets)

    def close(self) -> None:
        """Take it away."""
        if self._domain.isActive():
            self._domain.destroy()
        self._domain.undefine()
        self._connection.close()
