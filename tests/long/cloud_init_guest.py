"""A stock Debian 12 with cloud-init boots three times with our drive: all of it arrives, only root finds a password.

What is looked at and searched for, and by whom, stands in the user data, which cloud-init runs as root at the end of
each boot.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Final

import asyncssh
import pytest

from configdrive.drive_data import Address, Metadata, Nic, SshKey, VmData
from rigs.process import find_program
from tests.drives import VM, files_of, secret, write_image
from tests.long.debian import stock_root
from tests.long.uml import MAC, boot, bootable
from tests.support import require_rig

pytestmark = pytest.mark.timeout(0)  # its waits end by themselves

# Said to the guest by nothing but our drive.
NIC: Final = Nic(
    MAC,
    default=True,
    dns=(ip_address("10.0.2.3"),),
    addresses=(Address(ip_interface("10.0.2.33/24"), gateway=ip_address("10.0.2.2")),),
)

# Of each password one part is the same in whatever form it is written down, so that it can be looked for.
FIRST: Final = "swordfish4711"
LATER: Final = "goldfish0815"
PASSWORD: Final = f"Grün \"und\" 'blau'\\1 {FIRST}"

_SEARCH: Final = r"""#!/bin/sh
exec >/dev/console 2>&1
echo
state=/var/lib/cloud
echo "source: $(cat /run/cloud-init/cloud-id $state/data/instance-id $state/instance/datasource | tr '\n' ' ')"
echo "name: $(hostname)"
echo "address: $(ip -4 -o address show to 10.0.2.0/24)"
echo "route: $(ip route show default)"
echo "ran as: $(id -un)"
echo "keys: $(cat /home/debian/.ssh/authorized_keys)"
lets_in() { # who it is that is let in by such a login, if anybody
  setsid ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1 "$@" \
    debian@127.0.0.1 id -un </dev/null
}
chmod 600 /given/key
echo "by key: $(lets_in -o PreferredAuthentications=publickey -i /given/key)"
for answer in right wrong; do
  export SSH_ASKPASS=/root/$answer SSH_ASKPASS_REQUIRE=force
  echo "by the $answer password: $(lets_in -o PreferredAuthentications=password)"
done
for who in root nobody; do
  for trace in TRACES; do
    find='trace=$(cat); find / -path /proc -prune -o -path /sys -prune -o -type f -print0 2>/dev/null |
      xargs -0r grep -laF -e "$trace" 2>/dev/null'
    as="setpriv --reuid=$who --regid=$(id -g $who) --clear-groups"
    echo "$who $trace: $(echo $trace | $as sh -c "$find" | tr '\n' ' ')"
  done
done
setpriv --reuid=nobody --regid=$(id -g nobody) --clear-groups sh -c 'test -r /dev/ubdb && echo "nobody reads the drive"'
echo "the search has ended"
systemctl poweroff --no-block
""".replace("TRACES", f"{FIRST} {LATER}")

_USER_DATA: Final = f"""#!/bin/sh
for answer in right wrong; do
  cat >/root/$answer <<'ANSWER_END'
#!/bin/sh
sed "s/\\$/$(case $0 in *wrong) echo x ;; esac)/" <<'PASSWORD_END'
{PASSWORD}
PASSWORD_END
ANSWER_END
  chmod 700 /root/$answer
done
mkdir -p /var/lib/cloud/scripts/per-boot
cat >/var/lib/cloud/scripts/per-boot/search.sh <<'SEARCH_END'
{_SEARCH}SEARCH_END
chmod 700 /var/lib/cloud/scripts/per-boot/search.sh
/var/lib/cloud/scripts/per-boot/search.sh
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What one boot came to."""

    printed: str

    def __getitem__(self, name: str) -> str:
        """Return what was printed behind a name."""
        line = re.search(rf"^{name}: ?(.*)$", self.printed, re.MULTILINE)
        assert line is not None, self.printed[-3000:]
        return line[1].strip()


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519", "alice@example")


@pytest.fixture(scope="module")
def boots(key: asyncssh.SSHKey, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Found]:
    """The first boot, a second one, and one after a reset, with a drive that has another password."""
    directory = tmp_path_factory.mktemp("secrets")
    key.write_private_key(str(directory / "key"))
    with require_rig():
        find_program("linux.uml", "user-mode-linux")
        root = bootable(stock_root(), directory / "root.ext4", files=[directory / "key"])
    data = VmData(
        metadata=Metadata(local_hostname="web-33", instance_id="i-2-14-VM"),
        user_data=secret(_USER_DATA.encode()),
        ssh_keys=(SshKey("alice", key.export_public_key("openssh").decode().strip()),),
        nics=(NIC,),
    )
    first = write_image(directory / "first.iso", files_of(data, PASSWORD), "config-2")
    later = write_image(directory / "later.iso", files_of(data, f"anders {LATER}"), "config-2")
    drives, disk = (first, first, later), directory / "disk.cow"
    try:
        return [Found(boot(root, disk, drive, ends_with="the search has ended", nic=True)) for drive in drives]
    finally:
        shutil.rmtree(directory)


def test_source_name_address_keys_password_and_user_data_are_those_of_the_drive(
    boots: Sequence[Found], key: asyncssh.SSHKey
) -> None:
    for found in boots:
        source, instance, *kind = found["source"].split()
        assert (source, instance) == ("configdrive", VM.uuid)
        assert "DataSourceConfigDrive" in kind[0]
        assert (found["name"], found["ran as"]) == ("web-33", "root")
        assert "10.0.2.33/24" in found["address"]
        assert found["route"].startswith("default via 10.0.2.2 ")
        assert found["keys"] == key.export_public_key("openssh").decode().strip()
        assert (found["by key"], found["by the right password"], found["by the wrong password"]) == ("debian",) * 2 + (
            "",
        )
        assert PASSWORD not in found.printed
    assert any("/var/lib/cloud/" in name for name in boots[0][f"root {FIRST}"].split())


@pytest.mark.parametrize("trace", [FIRST, LATER])
def test_nobody_but_root_finds_a_password_after_the_first_boot_the_second_and_a_reset(
    boots: Sequence[Found], trace: str
) -> None:
    for found in boots:
        assert found[f"nobody {trace}"] == ""
        assert "nobody reads the drive" not in found.printed
