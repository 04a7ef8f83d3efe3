"""A VM whose guest is the small Debian: what its orchestrator sends, and who sits at its console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libvirt

from rigs.cloud import VmScript
from rigs.guest import Disk, Machine, domain_xml
from rigs.guest.debian import Terminal, with_terminal
from rigs.process import RigError, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from configdrive.contract.outcome import Outcome
    from rigs.fleet import Fleet
    from rigs.guest.debian import DebianGuest
    from rigs.libvirt import LibvirtHost

STARTS = {
    f"/etc/rcS.d/S{number}{name}": f"/etc/init.d/{name}"
    for number, name in ((10, "configdrive-guest"), (11, "configdrive-userdata"))
}


class DebianVm:
    """One VM on the host `h1`.

    Args:
        host: is started and has the pool `primary`.
        fleet: gets the events.
        guest: what it boots.
        package: the directory of our Debian package.
        console: the path of its console's socket.
    """

    def __init__(self, host: LibvirtHost, fleet: Fleet, guest: DebianGuest, package: Path, console: Path) -> None:
        self.script = VmScript()
        self._fleet = fleet
        self._console = console
        self._connection = libvirt.open(host.uri)
        root = host.create_disk("primary", f"{self.script.uuid}.raw", format_="raw", mib=1)
        # It is known when there is none yet: to look five times again would be a quarter of the boot.
        guest.make_disk(root, package, STARTS, {"/etc/default/configdrive-guest": "WAIT=1\n"})
        disks = [Disk("vda", "virtio", root)]
        # Where a drive can come while the VM runs.
        machine = Machine(scsi=True, append="nosmp")
        xml = domain_xml(self.script.name, self.script.uuid, guest.boot, console, disks=disks, machine=machine)
        self._domain = self._connection.defineXML(with_terminal(xml, console))

    def send(self, kind: str, **data: Any) -> Outcome:  # noqa: ANN401 - fields of an event
        """Publish the VM's next event and wait for its outcome.

        Raises:
            RigError: there was none within 300 s.
        """
        receipt = self._fleet.publisher.publish(self.script.event(kind, hypervisor="kvm", **data))
        assert receipt.accepted
        outcome = self._fleet.publisher.wait(receipt, 300)
        if outcome is None:
            raise RigError(f"no outcome of {kind}\n{self._fleet.log[-3000:]}")
        return outcome

    def power_on(self, *secrets: str) -> Terminal:
        """Switch it on, and sit down at its console. The passwords that will be typed are kept out of errors."""
        self._domain.create()
        return Terminal(self._console, secrets)

    def wait_off(self) -> None:
        """Wait until the guest has shut itself down."""
        wait_until(lambda: not self._domain.isActive(), "the guest to shut down", timeout=30, interval=0.1)

    def close(self) -> None:
        """Take it away."""
        if self._domain.isActive():
            self._domain.destroy()
        self._domain.undefine()
        self._connection.close()
