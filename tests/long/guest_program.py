"""A stock Debian 12 with our package, with and without cloud-init: resets reach who logs in, user data runs once.

`make test-guest-program` runs it.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import asyncssh
import pytest

from configdrive.model import Metadata, SshKey, VmData, VmUuid
from tests.drives import VM, files_of, secret, write_image
from tests.long import pace
from tests.long.booted import NIC, USER, booted, changed, copy, overlay
from tests.long.debian import Debian
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.long.booted import Guest

pytestmark = pytest.mark.timeout(pace.NEVER_HANGS)

PACKAGES: Final = Path(__file__).parents[2] / "guest" / "linux" / "packages.sh"
OLD, NEW = "1.0", "2.0"
FIRST, SECOND, THIRD = "pa$$: \"one\" 'x'", "the second one", "three\\3"
CLONE: Final = "5b1d7c0e-8a4f-4d0b-9c36-2f7e1a60d9b4"
USER_DATA: Final = "#!/bin/sh\necho run >>/var/tmp/runs\n"
RUNS: Final = "cat /var/tmp/runs"

# As a template maker does it; the network is for the boots in which cloud-init does not bring it up.
INSTALL: Final = """
dpkg --install /old.deb >/dev/null
printf '[Match]\\nName=en* eth*\\n[Network]\\nAddress=10.0.2.33/24\\n' >/etc/systemd/network/99-static.network
systemctl enable systemd-networkd.service 2>/dev/null
echo LABEL=config-2 >>/etc/default/configdrive-guest
"""
NO_CLOUD_INIT: Final = """
dpkg --purge cloud-init >/dev/null 2>&1
useradd --create-home --shell /bin/bash debian
echo PASSWORD_USER=debian >>/etc/default/configdrive-guest
"""
DISABLED: Final = f"""
echo 'debian:{THIRD}' | chpasswd
systemctl disable configdrive-guest.service configdrive-userdata.service 2>/dev/null
dpkg --install /new.deb >/dev/null
"""


class Drive(Protocol):
    """Makes a config drive as the fleet does."""

    def __call__(self, password: str, *, uuid: str = VM.uuid, instance: str | None = "i-2-14-VM") -> Path: ...


class Boot(Protocol):
    """Boots a disk with a drive, until all is done that a boot does."""

    def __call__(
        self, disk: Path, drive: Path, append: str = "", user: str = USER
    ) -> AbstractContextManager[Guest]: ...


@pytest.fixture(scope="module")
def debian() -> Debian:
    with require_rig():
        find_program("qemu-system-x86_64", "qemu-system-x86")
        return Debian.prepare()


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="module")
def bare(debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that has both versions of our package in its root, and none installed."""
    directory = tmp_path_factory.mktemp("bare")
    for name, version in (("old", OLD), ("new", NEW)):
        command = ["env", f"VERSION={version}", str(PACKAGES), str(directory / name)]
        subprocess.run(command, check=True, capture_output=True)
    root = directory / "root.ext4"
    copy(debian.root, root)
    for name in ("old", "new"):
        [package] = (directory / name).glob("*.deb")
        command = [find_program("debugfs", "e2fsprogs"), "-w", "-R", f"write {package} {name}.deb", str(root)]
        subprocess.run(command, check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def root(bare: Path) -> Path:
    """With cloud-init and our package."""
    changed(bare, INSTALL, bare.with_name("with-cloud-init.ext4"))
    return bare.with_name("with-cloud-init.ext4")


@pytest.fixture
def drive(key: asyncssh.SSHKey, tmp_path: Path) -> Drive:
    public = key.export_public_key("openssh").decode().strip()

    def make(password: str, *, uuid: str = VM.uuid, instance: str | None = "i-2-14-VM") -> Path:
        data = VmData(
            metadata=Metadata(instance_id=instance, extra={"uuid": "another"}),
            user_data=secret(USER_DATA.encode()),
            ssh_keys=(SshKey("alice", f"{public} alice@example"),),
            nics=(NIC,),
        )
        files = files_of(data, password, replace(VM, uuid=VmUuid(uuid)))
        return write_image(tmp_path / f"{len(list(tmp_path.iterdir()))}.iso", files, "config-2")

    return make


@pytest.fixture
def boot(debian: Debian, key: asyncssh.SSHKey) -> Boot:
    @contextmanager
    def run(disk: Path, drive: Path, append: str = "", user: str = USER) -> Iterator[Guest]:
        with booted(debian, disk, drive, append=append) as guest:
            guest.wait_for_ssh(user, key=key)
            yield guest
            guest.run("sync", user, key=key)

    return run


def test_the_package_is_installed_upgraded_and_removed(bare: Path, tmp_path: Path) -> None:
    """In a chroot of Debian 12; what was disabled stays so."""
    script = """
    export LC_ALL=C.UTF-8
    state() { systemctl is-enabled configdrive-guest.service configdrive-userdata.service 2>/dev/null | tr '\\n' ' '; }
    say() { echo "$* $(state)"; }
    dpkg --install /old.deb >/dev/null; say installed
    dpkg --install /new.deb >/dev/null; say upgraded
    systemctl disable configdrive-userdata.service 2>/dev/null
    echo LABEL=mine >/etc/default/configdrive-guest
    dpkg --install /old.deb >/dev/null 2>&1; say one
    cat /etc/default/configdrive-guest
    configdrive-guest --version
    dpkg --remove configdrive-guest >/dev/null; say removed
    dpkg --install /new.deb >/dev/null; say again
    dpkg --purge configdrive-guest >/dev/null 2>&1; say purged
    find / -xdev -name '*configdrive-*' ! -path '/var/lib/dpkg/*'
    """
    assert changed(bare, script, tmp_path / "root.ext4").splitlines() == [
        "installed enabled enabled ",
        "upgraded enabled enabled ",
        "one enabled disabled ",
        "LABEL=mine",
        f"configdrive-guest {OLD}",
        "removed masked masked ",
        "again enabled disabled ",
        "purged ",
    ]


def test_with_cloud_init_a_reset_reaches_its_user_and_a_clone_has_its_own(
    root: Path, drive: Drive, boot: Boot, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """The user is made by cloud-init. The second drive has no instance id; the policy of ds-identify is `search`."""
    disk = overlay(root, tmp_path / "disk.qcow2")
    with boot(disk, drive(FIRST)) as guest:
        assert guest.lets_in(FIRST)
        assert guest.run(RUNS, key=key) == "run\n"
    clone = tmp_path / "clone.qcow2"
    shutil.copyfile(disk, clone)
    with boot(disk, drive(SECOND, instance=None)) as guest:
        assert guest.lets_in(SECOND)
        assert not guest.lets_in(FIRST)
        assert guest.run(RUNS, key=key) == "run\n"
        assert SECOND not in guest.printed()
    with boot(clone, drive(THIRD, uuid=CLONE)) as guest:
        assert guest.lets_in(THIRD)
        assert not guest.lets_in(FIRST)
        assert guest.run(RUNS, key=key) == "run\nrun\n"


@pytest.mark.parametrize(("policy", "user"), [("enabled", USER), ("disabled", "root")])
def test_the_script_runs_once_whatever_the_policy(  # noqa: PLR0913, PLR0917  # fixtures
    root: Path, drive: Drive, boot: Boot, key: asyncssh.SSHKey, tmp_path: Path, policy: str, user: str
) -> None:
    """Where cloud-init is off there is no user of its own, so password and keys are root's."""
    with boot(overlay(root, tmp_path / "disk.qcow2"), drive(FIRST), f"ci.di.policy={policy}", user) as guest:
        assert guest.run(RUNS, user, key=key) == "run\n"
        assert policy == "disabled" or guest.lets_in(FIRST)
        if user == "root":
            assert "password:   set (root)" in guest.run("configdrive-guest status", user, key=key)


def test_without_cloud_init_a_reset_reaches_the_user_and_a_clone_has_its_own(
    root: Path, drive: Drive, boot: Boot, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    changed(root, NO_CLOUD_INIT, tmp_path / "root.ext4")
    disk = overlay(tmp_path / "root.ext4", tmp_path / "disk.qcow2")
    with boot(disk, drive(FIRST)) as guest:
        assert guest.lets_in(FIRST)
        assert guest.run(RUNS, key=key) == "run\n"
    with boot(disk, drive(SECOND, instance=None)) as guest:
        assert guest.lets_in(SECOND)
        assert not guest.lets_in(FIRST)
        assert guest.run(RUNS, key=key) == "run\n"
    with boot(disk, drive(THIRD, uuid=CLONE)) as guest:
        assert guest.lets_in(THIRD)
        assert guest.run(RUNS, key=key) == "run\nrun\n"


def test_disabled_units_do_nothing_after_an_upgrade(root: Path, debian: Debian, drive: Drive, tmp_path: Path) -> None:
    changed(root, NO_CLOUD_INIT + DISABLED, tmp_path / "root.ext4")
    with booted(debian, overlay(tmp_path / "root.ext4", tmp_path / "disk.qcow2"), drive(FIRST)) as guest:
        guest.wait_for_ssh(password=THIRD)
        assert not guest.lets_in(FIRST)
        assert guest.run("ls /var/tmp", password=THIRD) == ""
