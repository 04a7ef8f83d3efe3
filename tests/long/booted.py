"""A booted Debian under QEMU without KVM: its root disk, its config drive, its console and its SSH server."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Final

import asyncssh

from configdrive.drive_data import Address, Nic
from rigs.process import Daemon, RigError, find_program, free_port, tail
from tests.long import pace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.long.debian import Debian

USER: Final = "debian"  # cloud-init's default user here
MAC: Final = "02:00:5e:10:00:33"
# QEMU's user network, said to the guest by nothing but our drive.
NIC: Final = Nic(
    MAC,
    default=True,
    dns=(ip_address("10.0.2.3"),),
    addresses=(Address(ip_interface("10.0.2.33/24"), gateway=ip_address("10.0.2.2")),),
)
BOOT: Final = 600.0
"""Seconds of a quiet machine after which a boot has failed."""

_KERNEL: Final = "console=ttyS0 quiet nokaslr mitigations=off no_timer_check tsc=reliable audit=0"


class Guest:
    """The booted machine.

    Args:
        qemu: runs it.
        console: the file of its serial console.
        port: of this machine, which leads to its SSH server.
    """

    def __init__(self, qemu: Daemon, console: Path, port: int) -> None:
        self.qemu = qemu
        self.console = console
        self._port = port

    def printed(self) -> str:
        """Return what is on the console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_for(self, text: str) -> None:
        """Wait until it is on the console.

        Raises:
            RigError: it never was; QEMU has ended.
        """

        def there() -> bool:
            self._see_that_it_runs()
            return text in self.printed()

        pace.wait_until(there, f"{text!r} on the console", timeout=BOOT)

    def run(
        self, command: str, user: str = USER, *, key: asyncssh.SSHKey | None = None, password: str | None = None
    ) -> str:
        """Log in with a key or a password only, and return what the command prints.

        Raises:
            asyncssh.PermissionDenied: the login was refused.
        """
        return asyncio.run(self._run(command, user, key, password))

    def _see_that_it_runs(self) -> None:
        if not self.qemu.running:
            raise RigError("QEMU has ended")

    async def _run(self, command: str, user: str, key: asyncssh.SSHKey | None, password: str | None) -> str:
        limit = 60 * pace.slowness()
        async with asyncssh.connect(
            "127.0.0.1",
            self._port,
            username=user,
            known_hosts=None,  # its host keys are made at this boot
            client_keys=[] if key is None else [key],
            password=password,
            preferred_auth="publickey" if key else "password",
            agent_path=None,
            config=None,
            connect_timeout=limit,
            login_timeout=limit,
        ) as connection:
            done = await connection.run(command, check=True)
            return str(done.stdout)


@contextlib.contextmanager
def booted(debian: Debian, disk: Path, drive: Path) -> Iterator[Guest]:
    """Boot it; at the end it is switched off as by its power cord.

    Args:
        debian: whose kernel it boots.
        disk: its root disk (qcow2), which keeps what is changed.
        drive: the image in its CD drive.
    """
    console, port = disk.with_suffix(".console"), free_port()
    console.unlink(missing_ok=True)
    daemon = Daemon(
        [
            find_program("qemu-system-x86_64", "qemu-system-x86"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "768"),
            *("-kernel", str(debian.kernel), "-initrd", str(debian.initrd), "-append", _KERNEL),
            *("-drive", f"file={disk},format=qcow2,if=virtio,cache=unsafe"),
            *("-drive", f"file={drive},format=raw,if=ide,media=cdrom,readonly=on"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.33:22"),
            *("-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="),
            *("-device", "virtio-rng-pci", "-serial", f"file:{console}"),
        ],
        disk.with_suffix(".log"),
    )
    daemon.start()
    try:
        yield Guest(daemon, console, port)
    finally:
        with contextlib.suppress(FileNotFoundError):
            print(tail(console, 60))  # noqa: T201  # pytest shows it when a test fails
        daemon.kill()


def overlay(root: Path, disk: Path) -> Path:
    """Make a disk (qcow2) that has what is on `root` (raw), and keeps what is changed; return it."""
    command = [
        find_program("qemu-img", "qemu-utils"),
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        str(root),
        "-F",
        "raw",
        str(disk),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return disk
