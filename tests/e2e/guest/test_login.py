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

FIRST, SECOND = "pa$$: \"one\" 'x'", "three\\3"
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


def test_password_keys_and_user_data_are_there_at_the_first_login_and_a_reset_is_while_the_guest_runs(
    vm: DebianVm,
) -> None:
    """One boot, with a drive that is exchanged later; what a second boot finds is played in tests/integration/guest."""
    started = vm.send("start", guest=GUEST)
    assert (started.status, started.facts["attach"]) == (Status.APPLIED, "inserted"), started.facts
    with vm.power_on(FIRST, SECOND) as terminal:
        assert terminal.log_in("root", FIRST)
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

        reset = vm.send("password_reset", guest={"password": SECOND}, apply="now")
        assert (reset.status, reset.facts["attach"]) == (Status.APPLIED, "inserted"), reset.facts
        terminal.log_out()
        wait_until(lambda: terminal.log_in("root", SECOND), "udev to tell of the new drive", timeout=60, interval=3)
        terminal.log_out()
        assert not terminal.log_in("root", FIRST)
        assert FIRST not in terminal.printed
    assert vm.send("stop").status is Status.APPLIED
