"""What `configdrive-guest` makes of a drive that the fleet built: under four shells, in a real kernel."""

from tests.drives import VM
from tests.integration.guest.conftest import KEYS, PASSWORD, USER_DATA, Stage
from tests.integration.guest.guest import opens

CLONE = "5b1d7c0e-8a4f-4d0b-9c36-2f7e1a60d9b4"
"""The uuid of a VM that was made of the other one."""

SHOW = """
show shadow </etc/shadow
show runs </root/runs
"""


def test_password_keys_and_user_data_are_applied_once(stage: Stage) -> None:
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
    for seen in stage.play(scenario, stage.drive()):
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
            f"instance:   {VM.uuid}",
            "password:   waits to be set (root)",
            "ssh keys:   2",
            f"user data:  {len(USER_DATA)} bytes, a script",
            "network:    not described",
        ]
        assert "password:   set (root)\n" in seen.text("after.out")
        assert "a script, executed\n" in seen.text("after.out")
        everything = b"".join(value for name, value in seen.parts.items() if name.endswith((".out", ".err", "applied")))
        assert PASSWORD.encode() not in everything
        assert PASSWORD.encode()[:8] not in everything


def test_the_password_is_no_programs_argument(stage: Stage) -> None:
    """A trace of the shell shows every argument of every command."""
    scenario = """
    shell="$shell -x"
    step traced guest apply
    show shadow </etc/shadow
    """
    for seen in stage.play(scenario, stage.drive(password="swordfish")):
        assert opens(seen.text("shadow"), "root", "swordfish")
        assert "chpasswd" in seen.text("traced.err")
        assert "swordfish" not in seen.text("traced.err") + seen.text("traced.out")


def test_another_password_counts_and_so_does_the_same_for_another_vm(stage: Stage) -> None:
    """The third drive is that of a VM that was made of the first one; only the uuid says so."""
    scenario = """
    configure DEVICE=/dev/drive-a; step one guest apply
    configure DEVICE=/dev/drive-b; step two guest apply password userdata; show shadow.two </etc/shadow
    configure DEVICE=/dev/drive-a; step back guest apply password; show shadow.back </etc/shadow
    show runs </root/runs
    configure DEVICE=/dev/drive-c; step other guest apply; step none guest apply password
    show runs.clone </root/runs
    """
    drives = [
        stage.drive(password="one"),
        stage.drive(password="two", instance=None),
        stage.drive(password="one", uuid=CLONE),
    ]
    for seen in stage.play(scenario, *drives):
        assert [seen.code(step) for step in ("one", "two", "back", "other", "none")] == [0] * 5
        assert opens(seen.text("shadow.two"), "root", "two")
        assert opens(seen.text("shadow.back"), "root", "one")
        assert "is set" in seen.text("other.err")
        assert "was set before" in seen.text("none.err")
        assert seen["runs"] == b"run\n"
        assert seen["runs.clone"] == b"run\nrun\n"


def test_the_keys_of_an_ordinary_user_are_merged_and_stay_his(stage: Stage) -> None:
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
    for seen in stage.play(scenario, stage.drive()):
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


def test_selinux_is_asked_to_label_the_keys(stage: Stage) -> None:
    """`restorecon` is played: Debian has SELinux off."""
    scenario = """
    mount -t tmpfs tmpfs /usr/local/sbin
    printf '#!/bin/sh\\necho "$*" >/mnt/labelled\\n' >/usr/local/sbin/restorecon
    chmod 755 /usr/local/sbin/restorecon
    step apply guest apply ssh-keys
    show labelled </mnt/labelled
    """
    for seen in stage.play(scenario, stage.drive()):
        assert seen["labelled"] == b"-R /root/.ssh\n"


def test_a_link_in_a_home_directory_leads_nowhere(stage: Stage) -> None:
    scenario = """
    configure SSH_USER=alice
    ln -s /etc /home/alice/.ssh
    before=$(ls -la /etc | md5sum)
    step apply guest apply ssh-keys
    [ "$before" = "$(ls -la /etc | md5sum)" ] && echo same | show etc
    """
    for seen in stage.play(scenario, stage.drive()):
        assert seen.code("apply") == 1
        assert "ssh keys of alice could not be written" in seen.text("apply.err")
        assert seen["etc"] == b"same\n"


def test_get_prints_each_thing_as_it_is(stage: Stage) -> None:
    scenario = """
    for item in userdata password ssh-keys network metadata 'metadata vm_id' 'metadata vm-id' 'metadata Role' \
      'metadata a-b' 'metadata none' 'metadata ../x' 'metadata ' everything; do
      step "$(echo "$item" | tr ' ' =)" guest get $item
    done
    step empty-key guest get metadata ''
    """
    for seen in stage.play(scenario, stage.drive()):
        assert seen["userdata.out"] == USER_DATA
        assert seen.text("password.out") == PASSWORD
        assert seen.text("ssh-keys.out") == "\n".join(key.key for key in KEYS)
        keys = ["Role", "a-b", "instance_id", "public_keys", "text", "uuid", "vm_id"]
        assert seen.text("metadata.out").splitlines() == keys
        assert seen["metadata=vm_id.out"] == seen["metadata=vm-id.out"] == b"14"
        assert seen["metadata=Role.out"] == b"web"
        assert seen["metadata=a-b.out"] == b"hyphen"
        assert (seen.code("network"), seen.code("metadata=none")) == (6, 6)
        assert (seen.code("metadata=../x"), seen.code("everything"), seen.code("empty-key")) == (2, 2, 2)


def test_user_data_that_is_no_script_is_left_to_others(stage: Stage) -> None:
    scenario = """
    for device in a b c d; do
      configure DEVICE=/dev/drive-$device
      step $device guest apply userdata
    done
    show runs </root/runs
    """
    drives = [
        stage.drive(user_data=b"#cloud-config\nhostname: x\n"),
        stage.drive(user_data=b"\x1f\x8b\x00binary"),
        stage.drive(user_data=None),
        stage.drive(user_data=b"#!/bin/sh\r\necho windows >>/root/runs\r\nexit 7\r\n"),
    ]
    for seen in stage.play(scenario, *drives):
        assert [seen.code(device) for device in "abcd"] == [0, 0, 0, 1], seen
        assert "left to cloud-init" in seen.text("a.err")
        assert "no script" in seen.text("b.err")
        assert seen["c.err"] == b""
        assert "the user data ended with code 7" in seen.text("d.err")
        assert seen["runs"] == b"windows\n"


def test_a_script_is_executed_by_cloud_init_or_by_us(stage: Stage) -> None:
    """What cloud-init leaves in /run under each policy of ds-identify; it is booted in tests/long/guest_program.py."""
    scenario = """
    leave() {
      mkdir -p /run/cloud-init
      touch /run/cloud-init/status.json
      if [ "$1" = late ]; then (sleep 1; leave configdrive) & return; fi
      printf '{"ds": {"meta_data": {"platform": "none"}},\n "v1": {\n  "cloud_name": "",\n  "platform": "%s"\n}}' "$1" \
        >/run/cloud-init/instance-data.json
    }
    for platform in configdrive nocloud late; do
      leave $platform
      step $platform guest apply userdata
      rm -r /run/cloud-init
    done
    ls /root | show before
    leave none
    step none guest apply userdata
    rm -r /run/cloud-init
    rm -r /var/lib/configdrive-guest
    step off guest apply userdata
    show runs </root/runs
    """
    for seen in stage.play(scenario, stage.drive()):
        for platform in ("configdrive", "nocloud", "late"):
            assert "left to cloud-init" in seen.text(f"{platform}.err"), seen
        assert seen["before"] == b""
        assert (seen.code("none"), seen.code("off")) == (0, 0)
        assert seen["runs"] == b"run\nrun\n"


def test_the_user_is_the_default_one_of_cloud_init_when_there_is_it(stage: Stage) -> None:
    scenario = """
    mkdir -p /etc/cloud /run/cloud-init
    printf 'users: [default]\nsystem_info:\n  # who\n  default_user:\n    lock_passwd: true\n    name: alice # here\n' \
      >/etc/cloud/cloud.cfg
    step file guest apply password ssh-keys
    show shadow.file </etc/shadow
    show keys.file </home/alice/.ssh/authorized_keys
    echo 'alice:*' | chpasswd -e
    rm -r /var/lib/configdrive-guest
    printf '{\n "merged_cfg": {"system_info": {\n   "default_user": {\n    "groups": [],\n    "name": "bob"\n   }}}}' \
      >/run/cloud-init/instance-data-sensitive.json
    touch /run/cloud-init/status.json
    (sleep 1; echo 'bob:x:1600:1600::/home/alice:/bin/sh' >>/etc/passwd; echo 'bob:!:19000::::::' >>/etc/shadow) &
    step late guest apply password
    show shadow.late </etc/shadow
    touch /run/cloud-init/result.json
    sed -i /bob/d /etc/passwd /etc/shadow
    step gone guest apply password
    rm /etc/cloud/cloud.cfg
    sed -i 's/merged_cfg/merged_system_cfg/; s/"bob"/"alice"/' /run/cloud-init/instance-data-sensitive.json
    step newer guest status
    configure PASSWORD_USER=alice
    step named guest status
    """
    for seen in stage.play(scenario, stage.drive()):
        assert [seen.code(step) for step in ("file", "late", "gone", "named")] == [0] * 4, seen
        assert opens(seen.text("shadow.file"), "alice", PASSWORD)
        assert seen.text("keys.file").splitlines() == [key.key for key in KEYS]
        assert opens(seen.text("shadow.late"), "bob", PASSWORD)
        assert "the password of root is set" in seen.text("gone.err")
        assert "(alice)" in seen.text("newer.out")
        assert "waits to be set (alice)" in seen.text("named.out")


def test_a_user_who_comes_later_keeps_a_password_of_its_own(stage: Stage) -> None:
    scenario = """
    configure PASSWORD_USER=carol SSH_USER=nobodysname USER_DATA=no
    step absent guest apply
    echo 'carol:x:1700:1700::/home/alice:/bin/sh' >>/etc/passwd
    echo 'carol:*:19000::::::' >>/etc/shadow
    cp /etc/shadow /mnt/locked
    echo 'carol:her own' | chpasswd
    step own guest apply password
    show shadow </etc/shadow
    cp /mnt/locked /etc/shadow
    rm -r /var/lib/configdrive-guest
    step locked guest apply password
    show shadow.locked </etc/shadow
    """
    for seen in stage.play(scenario, stage.drive()):
        assert [seen.code(step) for step in ("absent", "own", "locked")] == [1, 0, 0], seen
        assert "there is no user carol" in seen.text("absent.err")
        assert "there is no user nobodysname" in seen.text("absent.err")
        assert "USER_DATA=no" in seen.text("absent.err")
        assert opens(seen.text("shadow"), "carol", "her own")
        assert opens(seen.text("shadow.locked"), "carol", PASSWORD)


def test_managed_keys_go_with_the_drives_and_added_ones_stay(stage: Stage) -> None:
    scenario = """
    mkdir /root/.ssh
    printf '# mine\nssh-rsa AAAAB3Nz mine' >/root/.ssh/authorized_keys
    for step in 1:add:a 2:managed:b 3:managed:a 4:managed:c 5:add:a; do
      configure SSH_KEYS=$(echo $step | cut -d : -f 2) DEVICE=/dev/drive-${step##*:}
      step ${step%%:*} guest apply ssh-keys
      if [ $step = 1:add:a ]; then sed -i /bob/d /root/.ssh/authorized_keys; fi
      show keys.${step%%:*} </root/.ssh/authorized_keys
    done
    """
    alice, bob = (key.key for key in KEYS)
    mine = ["# mine", "ssh-rsa AAAAB3Nz mine", alice]
    for seen in stage.play(scenario, stage.drive(), stage.drive(keys=KEYS[1:]), stage.drive(keys=())):
        assert [seen.code(step) for step in "12345"] == [0] * 5, seen
        assert seen.text("keys.1").splitlines() == mine
        for step in "23":
            *before, first, key, last = seen.text(f"keys.{step}").splitlines()
            assert (before, key) == (mine, bob), "what somebody else has written stays outside of the marks"
            assert first.startswith("# Keys of the config drive")
            assert last.startswith("# End of the keys")
        assert "1 new, 0 gone" in seen.text("2.err")
        assert "0 new, 0 gone" in seen.text("3.err")
        assert seen.text("keys.4").splitlines() == mine
        assert "0 new, 1 gone" in seen.text("4.err")
        assert seen.text("keys.5").splitlines() == [*mine, bob]


def test_linked_keys_stay_a_link(stage: Stage) -> None:
    scenario = """
    configure SSH_USER=alice
    mkdir -m 700 /home/alice/.ssh
    ln -s ../keys /home/alice/.ssh/authorized_keys
    install -m 640 /dev/null /home/alice/keys
    chown -hR alice:alice /home/alice
    step apply guest apply ssh-keys
    readlink /home/alice/.ssh/authorized_keys | show link
    show keys </home/alice/keys
    stat -c '%a %U' /home/alice/keys | show mode
    ls -A /home/alice/.ssh | show there
    """
    for seen in stage.play(scenario, stage.drive()):
        assert seen.code("apply") == 0, seen
        assert seen.text("link") == "../keys\n"
        assert seen.text("keys").splitlines() == [key.key for key in KEYS]
        assert (seen.text("mode"), seen.text("there")) == ("640 alice\n", "authorized_keys\n")


def test_user_data_is_executed_where_var_is_noexec(stage: Stage) -> None:
    scenario = """
    mount -t tmpfs -o noexec tmpfs /var/lib
    step apply guest apply userdata
    show log </var/log/configdrive-guest-userdata.log
    """
    script = b'#! /bin/sh -ue \necho "$-" "$0"\necho $unset\n'
    for seen in stage.play(scenario, stage.drive(user_data=script)):
        assert seen.code("apply") == 1, seen
        log = seen.text("log").splitlines()
        assert {"u", "e"} <= set(log[0].split()[0])
        assert log[0].endswith(" /var/lib/configdrive-guest/user-data")
        assert "unset" in log[1]
