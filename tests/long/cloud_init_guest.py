"""A stock Debian 12 with cloud-init boots with our drive: host name, keys, password, addresses and user data arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncssh
import pytest

from configdrive.drive_data import Metadata, SshKey, VmData
from tests.drives import VM, files_of, secret, write_image
from tests.long import pace
from tests.long.booted import NIC, USER, booted, overlay
from tests.long.debian import Debian
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.long.booted import Guest

pytestmark = pytest.mark.timeout(pace.NEVER_HANGS)

PASSWORD: Final = "Grün \"und\" 'blau'\\1"
DONE: Final = "the user data has run"
USER_DATA: Final = f"#!/bin/sh\nid -un >/var/tmp/ran-as\necho '{DONE}' >/dev/console\n"


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
        disk = overlay(debian.root, drive.parent / "disk.qcow2")
    with booted(debian, disk, drive) as guest:
        guest.wait_for(DONE)
        yield guest


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
