"""The program mounts in a Linux kernel that knows ISO 9660: user-mode Linux, with this machine's own `mount`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.guest.guest import PROGRAM, SHELLS
from tests.integration.image.linux import run_in_linux
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.guest.conftest import Drive

# `get` prints into a pipe that holds less: the drive stays mounted until the pipe is read to its end.
SCRIPT = """
mount -t tmpfs tmpfs /run
cp {program} /mnt/program
mkfifo /mnt/pipe
{shell} /mnt/program get userdata >/mnt/pipe 2>/mnt/err &
exec 3</mnt/pipe
head -c 1 <&3 >/dev/null
grep configdrive-guest /proc/mounts
stat -c '%a' /run/configdrive-guest /run/configdrive-guest/work.*
cat <&3 | wc -c
wait
cat /mnt/err
grep -c configdrive-guest /proc/mounts
ls -A /run/configdrive-guest | wc -l
"""
MORE_THAN_A_PIPE_HOLDS = 3_000_000


@pytest.mark.parametrize("shell", SHELLS)
def test_the_mount_is_private_and_harmless_and_goes_away(drive: Drive, tmp_path: Path, shell: str) -> None:
    path = drive(user_data=b"x" * MORE_THAN_A_PIPE_HOLDS)
    with require_rig():
        find_program(SHELLS[shell].split()[0], shell)
        printed = run_in_linux(path, SCRIPT.format(program=PROGRAM, shell=SHELLS[shell]), tmp_path)
    mounted, private, inside, *after = printed.splitlines()
    device, directory, kind, options, *_ = mounted.split()
    assert (device, kind) == ("/dev/ubda", "iso9660")
    assert directory.startswith("/run/configdrive-guest/work.")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
    assert (private, inside) == ("700", "700")
    assert int(after[0]) > 0
    assert after[1:] == ["0", "0"]
