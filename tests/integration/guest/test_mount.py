"""The program mounts in a Linux kernel that knows ISO 9660: user-mode Linux, with this machine's own `mount`."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from tests.integration.guest.guest import PROGRAM, SHELLS
from tests.integration.image.linux import run_in_linux
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.guest.conftest import Stage

# `get` prints into a pipe that holds less: the drive stays mounted until the pipe is read to its end.
SCRIPT = """
mount -t tmpfs tmpfs /run
cp {program} /mnt/program
mkfifo /mnt/pipe
for shell in {shells}; do
  $shell /mnt/program get userdata >/mnt/pipe 2>/mnt/err &
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
done
"""
MORE_THAN_A_PIPE_HOLDS = 200_000


def test_the_mount_is_private_and_harmless_and_goes_away(stage: Stage, tmp_path: Path) -> None:
    path = stage.drive(user_data=b"x" * MORE_THAN_A_PIPE_HOLDS)
    with require_rig():
        for name, shell in SHELLS.items():
            find_program(shell.split()[0], name)
        shells = " ".join(map(quote, SHELLS.values()))
        printed = run_in_linux(path, SCRIPT.format(program=PROGRAM, shells=shells), tmp_path)
    lines = printed.splitlines()
    assert len(lines) == 6 * len(SHELLS), printed
    for mounted, *modes, left, mounts, files in (lines[at : at + 6] for at in range(0, len(lines), 6)):
        device, directory, kind, options, *_ = mounted.split()
        assert (device, kind) == ("/dev/ubda", "iso9660")
        assert directory.startswith("/run/configdrive-guest/work.")
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
        assert modes == ["700", "700"]
        assert int(left) > 0
        assert (mounts, files) == ("0", "0")
