"""From an event to a login: a real Debian takes password, keys and user data from the drive that the fleet attached.

A real worker, a real libvirtd and QEMU, Debian's own login, PAM, chpasswd and udev; our package as it is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.contract.outcome import Status
from rigs.process import wait_until

if TYPE_CHECKING:
    from rigs.guest.debian import Terminal
    from tests.e2e.guest.vm import DebianVm

FIRST, SECOND, THIRD = "pa$$: \"one\" 'x'", "the second one", "three\\3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBX/n6vr4GrJSYCkHPkw+I7IRSMI2qngzAPk/25P3XQ/ alice@example"
USER_DATA = "#!/bin/sh\necho started >>/root/marks\n"
GUEST = {
    "password": FIRST,
    "ssh_keys": [{"name": "alice", "key": KEY}],
    "user_data": {"text": USER_DATA},
    "metadata": {"instance_id": "i-2-77-VM"},
}


def marks(terminal: Terminal) -> str:
    """Wait for the user data, which is executed in the background, and return what it has left."""
    terminal.run("while ps | grep -q '[c]onfigdrive-guest apply'; do sleep 1; done")
    return terminal.run("cat /root/marks")


def test_password_keys_and_user_data_arrive_and_so_does_each_reset(vm: DebianVm) -> None:
    """Two boots: one without a drive, which then comes and is exchanged; one that finds the drive of a later reset."""
    with vm.power_on(FIRST, SECOND, THIRD) as terminal:
        terminal.expect("no drive with the label config")
        terminal.expect("login: $")
        outcome = vm.send("start", guest=GUEST)
        assert (outcome.status, outcome.facts["attach"]) == (Status.APPLIED, "hot_added"), outcome.facts
        terminal.enter("")
        wait_until(lambda: terminal.log_in("root", FIRST), "udev to tell of the drive", timeout=60, interval=3)
        assert marks(terminal) == "started"
        assert terminal.run("cat /root/.ssh/authorized_keys") == KEY
        assert terminal.run("stat -c %a:%U /root/.ssh /root/.ssh/authorized_keys").split() == ["700:root", "600:root"]
        assert terminal.run("configdrive-guest get metadata instance_id") == "i-2-77-VM"
        status = terminal.run("configdrive-guest status")
        assert "drive:      /dev/sr" in status
        assert "password:   set (root)" in status
        assert "a script, executed" in status
        assert terminal.run("ls /run/configdrive-guest").split() == ["booted", "lock"], "nothing is left lying about"
        assert terminal.run("grep -c configdrive-guest /proc/mounts") == "0"
        assert terminal.run("readlink -f /dev/disk/by-label/config").startswith("/dev/sr")
        assert vm.send("password_reset", guest={"password": THIRD}, apply="now").status is Status.APPLIED

        terminal.log_out()
        wait_until(lambda: terminal.log_in("root", THIRD), "udev to tell of the new drive", timeout=60, interval=3)
        terminal.log_out()
        assert not terminal.log_in("root", FIRST)
        assert terminal.log_in("root", THIRD)

        assert vm.send("password_reset", guest={"password": SECOND}).facts["password"] == "pending"
        terminal.enter("poweroff")
        vm.wait_off()
        assert FIRST not in terminal.printed
    assert vm.send("stop").status is Status.APPLIED

    assert vm.send("start").status is Status.APPLIED
    with vm.power_on(FIRST, SECOND, THIRD) as terminal:
        assert not terminal.log_in("root", THIRD)
        assert terminal.log_in("root", SECOND)
        assert marks(terminal) == "started", "not a second time: it is the same VM"
        assert terminal.run("grep -c . /root/.ssh/authorized_keys") == "1"
