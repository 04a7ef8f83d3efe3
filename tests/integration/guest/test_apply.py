"""What `configdrive-guest` makes of a drive that the fleet built: under four shells, in a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.guest.conftest import KEYS, PASSWORD, USER_DATA
from tests.integration.guest.guest import opens

if TYPE_CHECKING:
    from tests.integration.guest.conftest import Drive, Play

SHOW = """
show shadow </etc/shadow
show runs </root/runs
"""


def test_password_keys_and_user_data_are_applied_once(drive: Drive, play_in: Play) -> None:
    scenario = f"""
    readlink -f /dev/drive-a | show device
    step before guest status
    step first guest apply
    {SHOW}
    show keys </root/.ssh/authorized_keys
    stat -c '%a %U:%G %n' /root/.ssh /root/.ssh/authorized_keys /var/lib/configdrive-guest/applied | show modes
    stat -c %a /var/log/configdrive-guest-userdata.log | show log.mode
    show log </var/log/configdrive-guest-userdata.log
    show applied </var/lib/configdrive-guest/applied
    echo 'root:chosen by its owner' | chpasswd
    step second guest apply
    show shadow.second </etc/shadow
    show runs.second </root/runs
    show keys.second </root/.ssh/authorized_keys
    step after guest status
    """
    for seen in play_in([drive()], scenario):
        assert seen.code("first") == 0, seen
        assert opens(seen.text("shadow"), "root", PASSWORD), seen
        assert seen.text("keys").splitlines() == [key.key for key in KEYS]
        assert seen.text("modes").splitlines() == [
            "700 root:root /root/.ssh",
            "600 root:root /root/.ssh/authorized_keys",
            "600 root:root /var/lib/configdrive-guest/applied",
        ]
        assert seen["log"] == b"/var/lib/configdrive-guest/user-data \xe9\xff\n"
        assert seen.text("log.mode") == "600\n"
        assert seen["runs"] == b"run\n"

        # Nothing is done a second time.
        assert seen.code("second") == 0
        assert opens(seen.text("shadow.second"), "root", "chosen by its owner")
        assert seen["runs.second"] == b"run\n"
        assert seen["keys.second"] == seen["keys"]

        assert seen.text("before.out").splitlines() == [
            f"drive:      {seen.text('device').strip()}, label config, made 2017-03-10 10:23:00 UTC",
            "instance:   i-2-14-VM",
            "password:   waits to be set",
            "ssh keys:   2",
            f"user data:  {len(USER_DATA)} bytes, a script",
            "network:    not described",
        ]
        assert "password:   set\n" in seen.text("after.out")
        assert "a script, executed\n" in seen.text("after.out")
        everything = b"".join(value for name, value in seen.parts.items() if name.endswith((".out", ".err", "applied")))
        assert PASSWORD.encode() not in everything
        assert PASSWORD.encode()[:8] not in everything


def test_the_password_is_no_programs_argument(drive: Drive, play_in: Play) -> None:
    """A trace of the shell shows every argument of every command."""
    scenario = """
    shell="$shell -x"
    step traced guest apply
    show shadow </etc/shadow
    """
    for seen in play_in([drive(password="swordfish")], scenario):
        assert opens(seen.text("shadow"), "root", "swordfish")
        assert "chpasswd" in seen.text("traced.err")
        assert "swordfish" not in seen.text("traced.err") + seen.text("traced.out")


def test_another_password_counts_and_so_does_the_same_for_another_vm(drive: Drive, play_in: Play) -> None:
    """The third drive is that of a VM whose template was made of the first one."""
    scenario = """
    configure DEVICE=/dev/drive-a; step one guest apply
    configure DEVICE=/dev/drive-b; step two guest apply password; show shadow.two </etc/shadow
    configure DEVICE=/dev/drive-a; step back guest apply password; show shadow.back </etc/shadow
    configure DEVICE=/dev/drive-c; step other guest apply; step none guest apply password
    show runs </root/runs
    """
    drives = [drive(password="one"), drive(password="two"), drive(password="one", instance="i-2-15-VM")]
    for seen in play_in(drives, scenario):
        assert [seen.code(step) for step in ("one", "two", "back", "other", "none")] == [0] * 5
        assert opens(seen.text("shadow.two"), "root", "two")
        assert opens(seen.text("shadow.back"), "root", "one")
        assert "is set" in seen.text("other.err")
        assert "was set before" in seen.text("none.err")
        assert seen["runs"] == b"run\nrun\n"


def test_the_keys_of_an_ordinary_user_are_merged_and_stay_his(drive: Drive, play_in: Play) -> None:
    scenario = """
    configure PASSWORD_USER=alice
    mkdir -m 755 /home/alice/.ssh
    printf '# mine\\nfrom="10.0.0.0/8" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice other one\\nssh-rsa AAAAB3Nz old' \
      >/home/alice/.ssh/authorized_keys
    chown -R alice:alice /home/alice
    step apply guest apply
    step again guest apply
    show keys </home/alice/.ssh/authorized_keys
    show shadow </etc/shadow
    stat -c '%a %U:%G' /home/alice/.ssh /home/alice/.ssh/authorized_keys | show modes
    """
    for seen in play_in([drive()], scenario):
        assert (seen.code("apply"), seen.code("again")) == (0, 0), seen
        assert seen.text("keys").splitlines() == [
            "# mine",
            'from="10.0.0.0/8" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice other one',
            "ssh-rsa AAAAB3Nz old",
            KEYS[1].key,
        ]
        assert seen.text("modes").splitlines() == ["700 alice:alice", "600 alice:alice"]
        assert opens(seen.text("shadow"), "alice", PASSWORD)
        assert "ssh keys of alice: 1 new" in seen.text("apply.err")
        assert "ssh keys of alice: 0 new" in seen.text("again.err")


def test_selinux_is_asked_to_label_the_keys(drive: Drive, play_in: Play) -> None:
    """`restorecon` is played: Debian has SELinux off."""
    scenario = """
    mount -t tmpfs tmpfs /usr/local/sbin
    printf '#!/bin/sh\\necho "$*" >/mnt/labelled\\n' >/usr/local/sbin/restorecon
    chmod 755 /usr/local/sbin/restorecon
    step apply guest apply ssh-keys
    show labelled </mnt/labelled
    """
    for seen in play_in([drive()], scenario):
        assert seen["labelled"] == b"-R /root/.ssh\n"


def test_a_link_in_a_home_directory_leads_nowhere(drive: Drive, play_in: Play) -> None:
    scenario = """
    configure SSH_USER=alice
    ln -s /etc /home/alice/.ssh
    before=$(ls -la /etc | md5sum)
    step apply guest apply ssh-keys
    [ "$before" = "$(ls -la /etc | md5sum)" ] && echo same | show etc
    """
    for seen in play_in([drive()], scenario):
        assert seen.code("apply") == 1
        assert "ssh keys of alice could not be written" in seen.text("apply.err")
        assert seen["etc"] == b"same\n"


def test_get_prints_each_thing_as_it_is(drive: Drive, play_in: Play) -> None:
    scenario = """
    for item in userdata password ssh-keys network metadata 'metadata vm_id' 'metadata vm-id' 'metadata Role' \
      'metadata a-b' 'metadata none' 'metadata ../x' 'metadata ' everything; do
      step "$(echo "$item" | tr ' ' =)" guest get $item
    done
    step empty-key guest get metadata ''
    """
    for seen in play_in([drive()], scenario):
        assert seen["userdata.out"] == USER_DATA
        assert seen.text("password.out") == PASSWORD
        assert seen.text("ssh-keys.out") == "\n".join(key.key for key in KEYS)
        assert seen.text("metadata.out").splitlines() == ["Role", "a-b", "instance_id", "public_keys", "vm_id"]
        assert seen["metadata=vm_id.out"] == seen["metadata=vm-id.out"] == b"14"
        assert seen["metadata=Role.out"] == b"web"
        assert seen["metadata=a-b.out"] == b"hyphen"
        assert (seen.code("network"), seen.code("metadata=none")) == (6, 6)
        assert (seen.code("metadata=../x"), seen.code("everything"), seen.code("empty-key")) == (2, 2, 2)


def test_user_data_that_is_no_script_is_left_to_others(drive: Drive, play_in: Play) -> None:
    scenario = """
    for device in a b c d e; do
      configure DEVICE=/dev/drive-$device
      mkdir -p /run/cloud-init
      if [ $device = d ]; then echo 'datasource_list: [ ConfigDrive, None ]' >/run/cloud-init/cloud.cfg; fi
      step $device guest apply userdata
      rm -rf /run/cloud-init
    done
    show runs </root/runs
    """
    drives = [
        drive(user_data=b"#cloud-config\nhostname: x\n"),
        drive(user_data=b"\x1f\x8b\x00binary"),
        drive(user_data=None),
        drive(user_data=USER_DATA),
        drive(user_data=b"#!/bin/sh\r\necho windows >>/root/runs\r\nexit 7\r\n"),
    ]
    for seen in play_in(drives, scenario):
        assert [seen.code(device) for device in "abcde"] == [0, 0, 0, 0, 1], seen
        assert "left to cloud-init" in seen.text("a.err")
        assert "no script" in seen.text("b.err")
        assert seen["c.err"] == b""
        assert "left to cloud-init" in seen.text("d.err")
        assert "the user data ended with code 7" in seen.text("e.err")
        assert seen["runs"] == b"windows\n"
