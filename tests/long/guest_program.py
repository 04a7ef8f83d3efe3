"""A stock Debian 12 with our package, with and without cloud-init: resets reach who logs in, user data runs once.

Who can log in, by SSH and from inside of the guest, a unit of its template asks at the end of each boot.
`make test-guest-program` runs it.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncssh
import pytest

from configdrive.drive_data import Metadata, SshKey, VmData
from configdrive.model import VmUuid
from tests.drives import VM, files_of, secret, write_image
from tests.long.debian import stock_root
from tests.long.uml import boot, bootable, changed
from tests.support import find_program, require_rig

pytestmark = pytest.mark.timeout(0)  # its waits end by themselves

PACKAGES: Final = Path(__file__).parents[2] / "guest" / "linux" / "packages.sh"
OLD, NEW = "1.0", "2.0"
USER: Final = "debian"  # cloud-init's default user here
FIRST, SECOND, THIRD = "pa$$: \"one\" 'x'", "the second one", "three\\3"
PASSWORDS: Final = (FIRST, SECOND, THIRD)
CLONE: Final = "5b1d7c0e-8a4f-4d0b-9c36-2f7e1a60d9b4"
USER_DATA: Final = "#!/bin/sh\necho run >>/var/tmp/runs\n"
DONE: Final = "@@ done"

# Prints who can log in, and what the user data has left; a password only by its number.
PROBE: Final = r"""#!/bin/sh
exec >/dev/console 2>&1
systemctl is-system-running --wait >/dev/null
while systemctl -q is-active configdrive-userdata; do sleep 1; done
lets_in() {
  setsid ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1 "$@" true
}
echo
for user in debian root; do
  for number in 0 1 2; do
    export SSH_ASKPASS=/given/ask$number SSH_ASKPASS_REQUIRE=force
    lets_in -o PreferredAuthentications=password $user@127.0.0.1 </dev/null && echo "@@ password $user $number"
  done
  lets_in -o PreferredAuthentications=publickey -i /given/key $user@127.0.0.1 </dev/null && echo "@@ key $user"
done
[ -e /var/tmp/runs ] && echo "@@ runs $(grep -c run /var/tmp/runs)"
configdrive-guest status | sed -n 's/^password: */@@ status /p'
echo "@@ done"
systemctl poweroff --no-block
"""
UNIT: Final = """
[Service]
ExecStart=/probe
[Install]
WantedBy=multi-user.target
"""

# As a template maker does it.
TEMPLATE: Final = f"""
cat >/probe <<'END_OF_PROBE'
{PROBE}END_OF_PROBE
cat >/etc/systemd/system/probe.service <<'END_OF_UNIT'
{UNIT}END_OF_UNIT
chmod 755 /probe /given/ask*
chmod 600 /given/key
systemctl enable probe.service 2>/dev/null
"""
INSTALL: Final = """
dpkg --install /given/old.deb >/dev/null
echo LABEL=config-2 >>/etc/default/configdrive-guest
"""
NO_CLOUD_INIT: Final = """
dpkg --purge cloud-init >/dev/null 2>&1
useradd --create-home --shell /bin/bash debian
ssh-keygen -A >/dev/null
echo PASSWORD_USER=debian >>/etc/default/configdrive-guest
"""
DISABLED: Final = f"""
printf '%s\\n' 'debian:{THIRD}' | chpasswd  # what echo does with a backslash is the shell's choice
systemctl disable configdrive-guest.service configdrive-userdata.service 2>/dev/null
dpkg --install /given/new.deb >/dev/null
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probe saw at the end of a boot."""

    printed: str

    def who(self, kind: str) -> set[str]:
        """Return who can log in: `user number` by a password, `user` by the key."""
        return set(re.findall(rf"^@@ {kind} (.*)$", self.printed, re.MULTILINE))

    @property
    def runs(self) -> int:
        """How often the user data ran."""
        found = re.search(r"^@@ runs (\d+)$", self.printed, re.MULTILINE)
        return 0 if found is None else int(found[1])

    @property
    def status(self) -> str:
        """What the program says of the password."""
        found = re.search(r"^@@ status (.*)$", self.printed, re.MULTILINE)
        return "" if found is None else found[1]


@dataclass(frozen=True, slots=True)
class Template:
    """A root file system, the directory for what is made of it, and the public key on each drive."""

    root: Path
    directory: Path
    key: str

    def boot(  # what is on the drive, and what it is booted with
        self,
        password: str,
        *,
        uuid: str = VM.uuid,
        instance: str | None = "i-2-14-VM",
        disk: str = "disk",
        append: str = "",
    ) -> Seen:
        """Boot a VM of it with a drive as the fleet makes it, to the end of all that a boot does."""
        data = VmData(
            metadata=Metadata(instance_id=instance, extra={"uuid": "another"}),
            user_data=secret(USER_DATA.encode()),
            ssh_keys=(SshKey("alice", f"{self.key} alice@example"),),
        )
        files = files_of(data, password, replace(VM, uuid=VmUuid(uuid)))
        drive = write_image(self.directory / "drive.iso", files, "config-2")
        printed = boot(self.root, self.directory / f"{disk}.cow", drive, ends_with=DONE, append=append)
        assert not any(one in printed for one in PASSWORDS)
        return Seen(printed)

    def clone(self, disk: str, target: str) -> None:
        """Copy what one VM has changed, for another one."""
        shutil.copyfile(self.directory / f"{disk}.cow", self.directory / f"{target}.cow")

    def changed(self, script: str) -> "Template":
        """Return another template, which a script was run in."""
        changed(self.root, script, self.directory / "root.ext4")
        return replace(self, root=self.directory / "root.ext4")


@pytest.fixture(scope="module")
def debian() -> Path:
    with require_rig():
        find_program("linux.uml", "user-mode-linux")
        return stock_root()


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="module")
def given(key: asyncssh.SSHKey, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """What the templates are made with: both versions of our package, the key, and what says each password."""
    directory = tmp_path_factory.mktemp("given")
    for name, version in (("old", OLD), ("new", NEW)):
        command = ["env", f"VERSION={version}", str(PACKAGES), str(directory / version)]
        subprocess.run(command, check=True, capture_output=True)
        [package] = (directory / version).glob("*.deb")
        package.rename(directory / f"{name}.deb")
    key.write_private_key(str(directory / "key"))
    for number, password in enumerate(PASSWORDS):
        (directory / f"ask{number}").write_text(f"#!/bin/sh\ncat <<'END'\n{password}\nEND\n")
    return [path for path in directory.iterdir() if path.is_file()]


@pytest.fixture(scope="module")
def root(debian: Path, given: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With cloud-init and our package."""
    directory = tmp_path_factory.mktemp("root")
    return bootable(debian, directory / "root.ext4", f"{TEMPLATE}{INSTALL}", given)


@pytest.fixture
def template(root: Path, key: asyncssh.SSHKey, tmp_path: Path) -> Template:
    return Template(root, tmp_path, key.export_public_key("openssh").decode().strip())


def test_the_package_is_installed_upgraded_and_removed(debian: Path, given: Sequence[Path], tmp_path: Path) -> None:
    """In a chroot of Debian 12; what was disabled stays so."""
    script = """
    export LC_ALL=C.UTF-8
    state() { systemctl is-enabled configdrive-guest.service configdrive-userdata.service 2>/dev/null | tr '\\n' ' '; }
    say() { echo "$* $(state)"; }
    dpkg --install /given/old.deb >/dev/null; say installed
    dpkg --install /given/new.deb >/dev/null; say upgraded
    systemctl disable configdrive-userdata.service 2>/dev/null
    echo LABEL=mine >/etc/default/configdrive-guest
    dpkg --install /given/old.deb >/dev/null 2>&1; say one
    cat /etc/default/configdrive-guest
    configdrive-guest --version
    dpkg --remove configdrive-guest >/dev/null; say removed
    dpkg --install /given/new.deb >/dev/null; say again
    dpkg --purge configdrive-guest >/dev/null 2>&1; say purged
    find / -xdev -name '*configdrive-*' ! -path '/var/lib/dpkg/*' ! -path '/given/*'
    """
    bare = bootable(debian, tmp_path / "bare.ext4", files=given)
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


def test_with_cloud_init_a_reset_reaches_its_user_and_a_clone_has_its_own(template: Template) -> None:
    """The user is made by cloud-init. The second drive has no instance id; the policy of ds-identify is `search`."""
    first = template.boot(FIRST)
    assert (first.who("password"), first.who("key"), first.runs) == ({f"{USER} 0"}, {USER}, 1)
    template.clone("disk", "clone")
    reset = template.boot(SECOND, instance=None)
    assert (reset.who("password"), reset.who("key"), reset.runs) == ({f"{USER} 1"}, {USER}, 1)
    cloned = template.boot(THIRD, uuid=CLONE, disk="clone")
    assert (cloned.who("password"), cloned.who("key"), cloned.runs) == ({f"{USER} 2"}, {USER}, 2)
    again = template.boot(THIRD, uuid=CLONE, disk="clone")
    assert (again.who("password"), again.runs) == ({f"{USER} 2"}, 2)


@pytest.mark.parametrize("instance", ["i-2-14-VM", None])
@pytest.mark.parametrize(("policy", "user"), [("enabled", USER), ("disabled", "root")])
def test_the_script_runs_once_whatever_the_policy(
    template: Template, policy: str, user: str, instance: str | None
) -> None:
    """Where cloud-init is off there is no user of its own, so both are root's, whom sshd lets in by the key alone."""
    for _boot in ("the first", "the second"):
        seen = template.boot(FIRST, instance=instance, append=f"ci.di.policy={policy}")
        assert (seen.runs, seen.who("key")) == (1, {user})
        assert seen.who("password") == ({f"{USER} 0"} if user == USER else set())
        assert seen.status == f"set ({user})"


def test_without_cloud_init_a_reset_reaches_the_user_and_a_clone_has_its_own(template: Template) -> None:
    template = template.changed(NO_CLOUD_INIT)
    first = template.boot(FIRST)
    assert (first.who("password"), first.who("key"), first.runs) == ({f"{USER} 0"}, {USER}, 1)
    reset = template.boot(SECOND, instance=None)
    assert (reset.who("password"), reset.who("key"), reset.runs) == ({f"{USER} 1"}, {USER}, 1)
    cloned = template.boot(THIRD, uuid=CLONE)
    assert (cloned.who("password"), cloned.runs) == ({f"{USER} 2"}, 2)


def test_disabled_units_do_nothing_after_an_upgrade(template: Template) -> None:
    seen = template.changed(NO_CLOUD_INIT + DISABLED).boot(FIRST)
    assert (seen.who("password"), seen.who("key"), seen.runs) == ({f"{USER} 2"}, set(), 0)
