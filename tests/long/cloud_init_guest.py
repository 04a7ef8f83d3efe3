"""A stock Debian 12 with cloud-init boots with our drive: host name, keys, password, addresses and user data arrive."""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Final

import asyncssh
import pytest

from configdrive.model import Address, Metadata, Nic, SshKey, VmData
from rigs.process import Daemon, find_program, tail
from tests.drives import VM, files_of, secret, write_image
from tests.long.debian import Debian
from tests.support import free_port, require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(1200)  # seconds; debootstrap and a boot under emulation, on a busy machine

PASSWORD: Final = "Grün \"und\" 'blau'\\1"
USER: Final = "debian"  # cloud-init's default user here
MAC: Final = "02:00:5e:10:00:33"
# QEMU's user network, said to the guest by nothing but our drive.
NIC: Final = Nic(
    MAC,
    default=True,
    dns=(ip_address("10.0.2.3"),),
    addresses=(Address(ip_interface("10.0.2.33/24"), gateway=ip_address("10.0.2.2")),),
)
DONE: Final = "the user data has run"
USER_DATA: Final = f"#!/bin/sh\nid -un >/var/tmp/ran-as\necho '{DONE}' >/dev/console\n"


class Guest:
    """The booted machine: its serial console, and its SSH server on a port of this machine."""

    def __init__(self, qemu: Daemon, console: Path, port: int) -> None:
        self.qemu = qemu
        self.console = console
        self._port = port

    def wait_until_done(self) -> None:
        """Wait until cloud-init has come to its last stage."""
        self.qemu.wait_ready(lambda: DONE in self.printed(), timeout=600)

    def printed(self) -> str:
        """Return what is on the console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def run(self, command: str, *, key: asyncssh.SSHKey | None = None, password: str | None = None) -> str:
        """Log in with a key or a password only, and return what the command prints.

        Raises:
            asyncssh.PermissionDenied: the login was refused.
        """
        return asyncio.run(self._run(command, key, password))

    async def _run(self, command: str, key: asyncssh.SSHKey | None, password: str | None) -> str:
        async with asyncssh.connect(
            "127.0.0.1",
            self._port,
            username=USER,
            known_hosts=None,  # its host keys are made at this boot
            client_keys=[] if key is None else [key],
            password=password,
            preferred_auth="publickey" if key else "password",
            agent_path=None,
            config=None,
            connect_timeout=60,
            login_timeout=60,
        ) as connection:
            done = await connection.run(command, check=True)
            return str(done.stdout)


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="module")
def drive(key: asyncssh.SSHKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    public = key.export_public_key("openssh").decode().strip()
    data = VmData(
        metadata=Metadata(local_hostname="web-33", instance_id="i-2-14-VM", availability_zone="zone1"),
        user_data=secret(USER_DATA.encode()),
        ssh_keys=(SshKey("alice", f"{public} alice@example"),),
        nics=(NIC,),
    )
    path = tmp_path_factory.mktemp("drive") / "drive.iso"
    return write_image(path, files_of(data, PASSWORD), "config-2")


@pytest.fixture(scope="module")
def guest(drive: Path) -> Iterator[Guest]:
    with require_rig():
        debian = Debian.prepare()
        qemu = find_program("qemu-system-x86_64", "qemu-system-x86")
    console, port = drive.parent / "console", free_port()
    daemon = Daemon(
        [
            qemu,
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "768"),
            *("-kernel", str(debian.kernel), "-initrd", str(debian.initrd)),
            *("-append", "console=ttyS0 quiet nokaslr mitigations=off no_timer_check tsc=reliable audit=0"),
            *("-drive", f"file={debian.root},format=raw,if=virtio,snapshot=on"),
            *("-drive", f"file={drive},format=raw,if=ide,media=cdrom,readonly=on"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.33:22"),
            *("-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="),
            *("-device", "virtio-rng-pci", "-serial", f"file:{console}"),
        ],
        drive.parent / "qemu.log",
    )
    daemon.start()
    booted = Guest(daemon, console, port)
    try:
        booted.wait_until_done()
        yield booted
    finally:
        with contextlib.suppress(FileNotFoundError):
            print(tail(console, 60))  # noqa: T201  # pytest shows it when a test fails
        daemon.kill()


def test_the_source_is_our_drive(guest: Guest, key: asyncssh.SSHKey) -> None:
    assert guest.run("cat /run/cloud-init/cloud-id; readlink -f /dev/disk/by-label/config-2", key=key).split() == [
        "configdrive",
        "/dev/sr0",
    ]
    assert "DataSourceConfigDrive" in guest.run("cat /var/lib/cloud/instance/datasource", key=key)
    assert guest.run("cat /var/lib/cloud/data/instance-id", key=key).strip() == VM.uuid


def test_it_has_its_name_and_address(guest: Guest, key: asyncssh.SSHKey) -> None:
    assert guest.run("hostname", key=key).strip() == "web-33"
    assert "10.0.2.33/24" in guest.run("ip -4 -o address show to 10.0.2.0/24", key=key)
    assert "default via 10.0.2.2" in guest.run("ip route", key=key)


def test_the_users_keys_are_those_of_the_drive(guest: Guest, key: asyncssh.SSHKey) -> None:
    assert guest.run("cat ~/.ssh/authorized_keys", key=key).splitlines() == [
        f"{key.export_public_key('openssh').decode().strip()} alice@example",
    ]
    with pytest.raises(asyncssh.PermissionDenied):
        guest.run("true", key=asyncssh.generate_private_key("ssh-ed25519"))


def test_the_password_of_the_drive_logs_in_and_no_other(guest: Guest) -> None:
    assert guest.run("id -un", password=PASSWORD).strip() == USER
    with pytest.raises(asyncssh.PermissionDenied):
        guest.run("true", password=f"{PASSWORD}x")
    assert PASSWORD not in guest.printed()


def test_the_user_data_was_run_as_root(guest: Guest, key: asyncssh.SSHKey) -> None:
    assert guest.run("cat /var/tmp/ran-as", key=key).strip() == "root"
