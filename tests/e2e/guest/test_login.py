"""From an event to a login: a real Debian takes password, keys and user data from the drive that the fleet attached.

A real worker, a real libvirtd and QEMU, Debian's own login, PAM, chpasswd and udev; our package as it is installed.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from configdrive.contract.outcome import Status
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.guest import Disk, Machine, domain_xml
from rigs.guest.debian import DebianGuest, Terminal
from rigs.libvirt import LibvirtHost
from rigs.process import wait_until
from tests.e2e.orchestrator import Orchestrator
from tests.support import find_program, require_rig

libvirt = pytest.importorskip("libvirt")

PACKAGES = Path(__file__).parents[3] / "guest" / "linux" / "packages.sh"
STARTS = {
    f"/etc/rcS.d/S{number}{name}": f"/etc/init.d/{name}"
    for number, name in ((10, "configdrive-guest"), (11, "configdrive-userdata"))
}
FIRST, SECOND = "pa$$: \"one\" 'x'", "three\\3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBX/n6vr4GrJSYCkHPkw+I7IRSMI2qngzAPk/25P3XQ/ alice@example"
USER_DATA = "#!/bin/sh\necho started >>/root/marks\n"
GUEST = {
    "password": FIRST,
    "ssh_keys": [{"name": "alice", "key": KEY}],
    "user_data": {"text": USER_DATA},
    "metadata": {"instance_id": "i-2-77-VM"},
}


class DebianVm(Orchestrator):
    """A VM whose guest is the small Debian with our package: its orchestrator, and who sits at its console."""

    hypervisor, host = "kvm", "h1"

    def __init__(self, host: LibvirtHost, fleet: Fleet, directory: Path) -> None:
        self.script, self.fleet = VmScript(), fleet
        self._console = directory / "tty"
        guest, packages = DebianGuest.prepare(), directory / "packages"
        find_program("dpkg-deb", "dpkg")
        subprocess.run([PACKAGES, packages], check=True, capture_output=True, timeout=600)
        root = host.create_disk("primary", f"{self.script.uuid}.raw", format_="raw", mib=1)
        guest.make_disk(root, packages, STARTS)
        names, boots = (self.script.name, self.script.uuid), (guest.boot, self._console)
        disks, machine = [Disk("vda", "virtio", root)], Machine(append="nosmp")
        xml = domain_xml(*names, *boots, disks=disks, machine=machine, terminal=True)
        self._connection = libvirt.open(host.uri)
        self._domain = self._connection.defineXML(xml)

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


@pytest.fixture
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianVm]:
    """A VM that is defined and off, on a host of a fleet with a worker."""
    with require_rig():
        host = LibvirtHost(tmp_path_factory.mktemp("kvm"))
        host.start()
    with host:
        host.define_pool("primary", tmp_path_factory.mktemp("primary"))
        inventory = f"[kvm.hosts.h1]\nuri = {json.dumps(host.uri)}\n"
        with require_rig():
            fleet = Fleet(tmp_path_factory.mktemp("fleet"), inventory, hypervisor="kvm")
        with fleet:
            with require_rig():
                vm = DebianVm(host, fleet, tmp_path_factory.mktemp("c"))
            yield vm
            vm.close()


def test_password_keys_and_user_data_are_there_at_the_first_login_and_a_reset_is_while_the_guest_runs(
    vm: DebianVm,
) -> None:
    """One boot, with a drive that is exchanged later; what a second boot finds is played in tests/integration/guest."""
    started = vm.send("start", guest=GUEST)
    assert (started.status, started.facts["attach"]) == (Status.APPLIED, "inserted"), started.facts
    with closing(vm.power_on(FIRST, SECOND)) as terminal:
        assert terminal.log_in("root", FIRST)
        terminal.run("while ps | grep -q '[c]onfigdrive-guest apply'; do sleep 1; done")  # the user data
        assert terminal.run("cat /root/marks /root/.ssh/authorized_keys").splitlines() == ["started", KEY]
        assert terminal.run("stat -c %a:%U /root/.ssh /root/.ssh/authorized_keys").split() == ["700:root", "600:root"]
        assert terminal.run("configdrive-guest get metadata instance_id") == "i-2-77-VM"
        status = terminal.run("configdrive-guest status")
        assert "drive:      /dev/sr" in status
        assert "password:   set (root)" in status
        assert "a script, executed" in status
        assert terminal.run("ls /run/configdrive-guest").split() == ["booted", "lock"], "nothing is left lying about"
        assert terminal.run("grep -c configdrive-guest /proc/mounts") == "0"
        assert terminal.run("readlink -f /dev/disk/by-label/config").startswith("/dev/sr")

        reset = vm.send("password_reset", guest={"password": SECOND}, apply="now")
        assert (reset.status, reset.facts["attach"]) == (Status.APPLIED, "inserted"), reset.facts
        terminal.log_out()
        wait_until(lambda: terminal.log_in("root", SECOND), "udev to tell of the new drive", timeout=60, interval=3)
        terminal.log_out()
        assert not terminal.log_in("root", FIRST)
        assert FIRST not in terminal.printed
    assert vm.send("stop").status is Status.APPLIED
