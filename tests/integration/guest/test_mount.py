"""The program mounts in a Linux kernel that knows ISO 9660: user-mode Linux, with this machine's own `mount`.

What else depends on the shell is played under each of them (`guest.py`), there with a file system in ISO 9660's place.
"""

from pathlib import Path

from tests.integration.guest.conftest import Stage
from tests.integration.guest.guest import PROGRAM
from tests.integration.image.linux import run_in_linux
from tests.support import require_rig

# `get` prints into a pipe that holds less: the drive stays mounted until the pipe is read to its end.
SCRIPT = f"""
mount -t tmpfs tmpfs /run
cp {PROGRAM} /mnt/program
mkfifo /mnt/pipe
sh /mnt/program get userdata >/mnt/pipe 2>/mnt/err &
exec 3</mnt/pipe
head -c 1 <&3 >/dev/null
grep configdrive-guest /proc/mounts
stat -c '%a' /run/configdrive-guest /run/configdrive-guest/work.*
cat <&3 | wc -c
exec 3<&-
wait
cat /mnt/err
grep -c configdrive-guest /proc/mounts
ls -A /run/configdrive-guest | wc -l
"""
MORE_THAN_A_PIPE_HOLDS = 200_000


def test_the_mount_is_private_and_harmless_and_goes_away(stage: Stage, tmp_path: Path) -> None:
    path = stage.drive(user_data=b"x" * MORE_THAN_A_PIPE_HOLDS)
    with require_rig():
        printed = run_in_linux(path, SCRIPT, tmp_path)
    mounted, *modes, left, mounts, files = printed.splitlines()
    device, directory, kind, options, *_ = mounted.split()
    assert (device, kind) == ("/dev/ubda", "iso9660")
    assert directory.startswith("/run/configdrive-guest/work.")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
    assert modes == ["700", "700"]
    assert int(left) > 0
    assert (mounts, files) == ("0", "0")
