"""Drives that are not as they should be: nothing hangs, nothing of them is applied, and the message says why."""

import os
from pathlib import Path

from tests.integration.guest.conftest import KEYS, USER_DATA, Stage
from tests.integration.guest.guest import opens

PASSWORD = "cloudstack/password/vm_password.txt"
USER = "cloudstack/userdata/user_data.txt"
PUBLIC_KEYS = "cloudstack/metadata/public_keys.txt"
MIB = 2**20


VM_ID = {"cloudstack/metadata/vm_id.txt": b"14"}
"""What the forged drives have besides."""


def test_no_drive(stage: Stage) -> None:
    scenario = """
    configure WAIT=1
    for command in apply status 'get password'; do step ${command%% *} guest $command; done
    """
    for seen in stage.play(scenario):
        assert [seen.code(command) for command in ("apply", "status", "get")] == [3, 3, 3]
        assert seen.text("apply.err") == "configdrive-guest: no drive with the label config\n"


def test_two_drives_with_the_same_label(stage: Stage) -> None:
    scenario = """
    before=$(cat /etc/shadow)
    step both guest apply
    [ "$before" = "$(cat /etc/shadow)" ] && echo same | show shadow
    configure DEVICE=/dev/drive-b
    step named guest get password
    """
    for seen in stage.play(scenario, stage.drive(), stage.drive(password="second", label="CONFIG")):
        assert seen.code("both") == 4
        assert seen.text("both.err").count("/dev/loop") == 2
        assert "DEVICE" in seen.text("both.err")
        assert seen["shadow"] == b"same\n"
        assert seen["named.out"] == b"second"


def test_other_labels_and_other_file_systems_are_not_touched(stage: Stage, tmp_path: Path) -> None:
    """The second has the label where ISO 9660 has it, but is a swap area; the third ends too early."""
    fake = tmp_path / "fake"
    fake.write_bytes(stage.drive().read_bytes().replace(b"CD001", b"CD007"))
    short = tmp_path / "short"
    short.write_bytes(stage.drive().read_bytes()[: 20 * 2048])
    scenario = """
    configure WAIT=0
    step apply guest apply
    for device in b c; do configure WAIT=0 DEVICE=/dev/drive-$device; step $device guest apply; done
    """
    for seen in stage.play(scenario, stage.drive(label="config-2"), fake, short):
        assert seen.code("apply") in {3, 5}
        assert seen.code("b") == 3
        assert seen.code("c") == 5
        assert "/dev/loop" in seen.text("c.err")


def test_the_label_counts_in_whatever_case(stage: Stage) -> None:
    labels = ("seed", "CONFIG", "Config-2")
    scenario = "\n".join(f"configure LABEL={one.lower()}; step {one} guest get metadata vm_id" for one in labels)
    for seen in stage.play(scenario, *(stage.drive(label=label) for label in labels)):
        assert [seen[f"{label}.out"] for label in labels] == [b"14"] * 3, seen


def test_it_is_found_by_each_way_alone(stage: Stage) -> None:
    """By udev's link, by blkid, and by looking at the CD drives."""
    scenario = """
    step blkid guest get metadata vm_id
    hide blkid
    step nothing guest get metadata vm_id
    ln -s "$(readlink -f /dev/drive-a)" /dev/disk/by-label/config
    step link guest get metadata vm_id
    rm /dev/disk/by-label/config
    cp -a "$(readlink -f /dev/drive-a)" /dev/sr0
    step cd guest get metadata vm_id
    """
    for seen in stage.play(scenario, stage.drive()):
        assert [seen.code(way) for way in ("blkid", "nothing", "link", "cd")] == [0, 3, 0, 0], seen


def test_huge_files_are_left_alone(stage: Stage) -> None:
    tree = stage.tree(
        VM_ID | {USER: USER_DATA, PASSWORD: b"x" * 1025, PUBLIC_KEYS: KEYS[0].key.encode() * 20_000},
    )
    os.truncate(tree / USER, 65 * MIB)
    scenario = """
    step apply guest apply
    ls /root /var/lib/configdrive-guest 2>/dev/null | show left
    step status guest status
    """
    for seen in stage.play(scenario, stage.forged(tree)):
        assert seen.code("apply") == 1
        for item in ("password", "ssh-keys", "userdata"):
            assert f"the {item} on " in seen.text("apply.err")
        assert seen.text("apply.err").count("larger than") == 3
        assert b"user-data" not in seen["left"]
        assert b"runs" not in seen["left"]
        assert f"{65 * MIB} bytes, a script" in seen.text("status.out")


PASSWORDS = {
    b"swordfish\r\n": "swordfish",
    b"swordfish\n": "swordfish",
    b"  two  words ": "  two  words ",
    b"\xe9\xff\x80": "\udce9\udcff\udc80",  # no UTF-8, and a password all the same
    b"sword\0fish": None,
    b"sword\rfish": None,
    b"sword\nfish": None,
    b"sword\x1bfish\n": None,
    b"\r\n": None,
}
"""What stands on the drive, and what is set; what is none leaves the one that was there."""


def test_passwords(stage: Stage) -> None:
    scenario = """
    echo 'root:as it was' | chpasswd
    cp /etc/shadow /mnt/shadow
    for device in /dev/drive-?; do
      configure DEVICE=$device
      rm -rf /var/lib/configdrive-guest
      cp /mnt/shadow /etc/shadow
      step ${device#/dev/drive-} guest apply
      show shadow.${device#/dev/drive-} </etc/shadow
    done
    """
    drives = [stage.forged(stage.tree(VM_ID | {PASSWORD: content})) for content in PASSWORDS]
    for seen in stage.play(scenario, *drives):
        for device, (content, password) in zip("abcdefghi", PASSWORDS.items(), strict=True):
            assert seen.code(device) == (0 if password or not content.strip() else 1), (content, seen)
            assert opens(seen.text(f"shadow.{device}"), "root", password or "as it was"), (content, seen)
            assert "fish" not in seen.text(f"{device}.err")


def test_keys_with_line_ends_of_windows_and_rubbish(stage: Stage) -> None:
    first, second = (key.key.encode() for key in KEYS)
    lines = [first, b"rubbish", b"\xff\0\x1b]0;x\x07", b"ssh-rsa !", b"", first, second + b"\0"]
    tree = stage.tree(VM_ID | {PUBLIC_KEYS: b"\r\n".join(lines)})
    scenario = """
    step apply guest apply
    show keys </root/.ssh/authorized_keys
    """
    for seen in stage.play(scenario, stage.forged(tree)):
        assert seen.code("apply") == 0
        assert seen["keys"] == first + b"\n" + second + b"\n"


def test_links_pipes_and_odd_names(stage: Stage) -> None:
    """Nothing outside of the drive is read through it, and a pipe does not hold anybody."""
    odd = ("a b.txt", "new\nline.txt", "-n.txt", "\x1b[31m.txt", "ümlaut.txt", "$(id).txt")
    tree = stage.tree(VM_ID | {f"cloudstack/metadata/{name}": b"odd" for name in odd})
    (tree / "cloudstack/password").mkdir()
    (tree / PASSWORD).symlink_to("/etc/hostname")
    (tree / "cloudstack/userdata").symlink_to("/mnt/outside")
    os.mkfifo(tree / PUBLIC_KEYS)
    (tree / "cloudstack/metadata/folder.txt").mkdir()
    scenario = """
    mkdir /mnt/outside
    printf '#!/bin/sh\\necho outside >/root/runs\\n' >/mnt/outside/user_data.txt
    step apply guest apply
    step keys guest get metadata
    for item in password ssh-keys userdata; do step $item guest get $item; done
    ls -A /root | show root
    """
    for seen in stage.play(scenario, stage.forged(tree)):
        assert seen.code("apply") == 0, seen
        assert seen["root"] == b""
        assert seen["keys.out"] == b"-n\nvm_id\n"
        assert [seen.code(item) for item in ("password", "ssh-keys", "userdata")] == [6, 6, 6]


def test_a_drive_that_is_no_config_drive(stage: Stage) -> None:
    for seen in stage.play("step apply guest apply", stage.forged(stage.tree({"readme": b"x"}))):
        assert seen.code("apply") == 5
        assert "holds no config drive" in seen.text("apply.err")


def test_user_data_that_cannot_be_executed(stage: Stage) -> None:
    scenario = "step apply guest apply userdata\nstep again guest apply userdata"
    for seen in stage.play(scenario, stage.drive(user_data=b"#!/no/such\0interpreter \xff\nx\n")):
        assert seen.code("apply") == 1
        assert "the user data ended with code 12" in seen.text("apply.err")
        assert seen.code("again") == 0


def test_a_configuration_that_makes_no_sense(stage: Stage) -> None:
    settings = ("LABEL='a b'", "LABEL=", "WAIT=soon", "USER_DATA=perhaps", "PASSWORD_USER='x:y'", "SSH_KEYS=no")
    scenario = "\n".join(f'configure "{one}"; step {at} guest apply' for at, one in enumerate(settings))
    for seen in stage.play(scenario, stage.drive()):
        for at, one in enumerate(settings):
            assert seen.code(str(at)) == 2, one
            assert one.partition("=")[0] in seen.text(f"{at}.err")


def test_user_data_is_executed_though_its_log_cannot_be_written(stage: Stage) -> None:
    scenario = """
    rm -r /var/log
    step apply guest apply userdata
    show runs </root/runs
    show log </var/lib/configdrive-guest/user-data.log
    """
    for seen in stage.play(scenario, stage.drive()):
        assert seen.code("apply") == 0
        assert seen["runs"] == b"run\n"
        assert b"/user-data" in seen["log"]


def test_runs_at_the_same_time_wait_for_one_another(stage: Stage) -> None:
    scenario = """
    guest apply 2>/mnt/err-1 & guest apply 2>/mnt/err-2 &
    step third guest apply
    wait
    cat /mnt/err-* | show others
    show runs </root/runs
    # A run that was killed while it held the lock, and what is left of an older version's.
    configure WAIT=50 LABEL=other
    $shell $program apply 2>/dev/null & pid=$!
    until [ -d /run/configdrive-guest/work.*/drive ] && ! flock -n /run/configdrive-guest/lock true; do sleep 0.1; done
    kill -KILL $pid
    rm /etc/default/configdrive-guest
    step stale guest apply
    rm -r /run/configdrive-guest/work.*
    """
    for seen in stage.play(scenario, stage.drive()):
        assert (seen.code("third"), seen.code("stale")) == (0, 0), seen
        assert seen["runs"] == b"run\n"
        assert (seen.text("others") + seen.text("third.err")).count("is set\n") == 1


def test_a_run_that_is_ended_leaves_nothing(stage: Stage) -> None:
    """`play` sees that nothing is left; the consumer of a pipe may go away, too."""
    scenario = """
    configure WAIT=30 LABEL=other
    $shell $program apply 2>/dev/null & pid=$!
    sleep 1
    kill -TERM $pid
    wait $pid
    echo $? | show ended.code
    rm /etc/default/configdrive-guest
    guest get userdata | true
    """
    for seen in stage.play(scenario, stage.drive(user_data=b"x" * MIB)):
        assert seen.code("ended") == 143


def test_without_chpasswd(stage: Stage) -> None:
    """Then passwd, as on BusyBox; pw, of FreeBSD, is played, since no Debian has it."""
    scenario = """
    hide chpasswd
    step passwd guest apply password
    show shadow </etc/shadow
    mount -t tmpfs tmpfs /usr/local/sbin
    printf '#!/bin/sh\\necho "$*" >/mnt/arguments; cat >/mnt/input\\n' >/usr/local/sbin/pw
    chmod 755 /usr/local/sbin/pw
    rm -r /var/lib/configdrive-guest
    step pw guest apply password
    show arguments </mnt/arguments
    show input </mnt/input
    """
    for seen in stage.play(scenario, stage.drive(password="sword: $fish\\n")):
        assert (seen.code("passwd"), seen.code("pw")) == (0, 0), seen
        assert opens(seen.text("shadow"), "root", "sword: $fish\\n")
        assert seen.text("arguments") == "usermod root -h 0\n"
        assert seen.text("input") == "sword: $fish\\n\n"


def test_a_refused_password_is_reported_and_tried_again(stage: Stage) -> None:
    scenario = """
    mount -t tmpfs tmpfs /usr/local/sbin
    hide chpasswd
    printf '#!/bin/sh\\nread -r p; echo "pw: $p is too easy" >&2; exit 1\\n' >/usr/local/sbin/pw
    chmod 755 /usr/local/sbin/pw
    step first guest apply password
    printf '#!/bin/sh\\necho "pw: too easy" >&2; exit 1\\n' >/usr/local/sbin/pw
    step second guest apply password
    """
    for seen in stage.play(scenario, stage.drive(password="swordfish")):
        assert (seen.code("first"), seen.code("second")) == (1, 1)
        assert "swordfish" not in seen.text("first.err")
        assert "pw: too easy" in seen.text("second.err")
