"""A stock Debian 12 with cloud-init boots three times with our drive: nobody but root can read a password in it.

What is searched for, and by whom, stands in the user data, which cloud-init runs as root at the end of each boot.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from configdrive.drive_data import Metadata, VmData
from rigs.process import find_program
from tests.drives import files_of, secret, write_image
from tests.long import pace
from tests.long.debian import Debian
from tests.long.uml import boot, bootable
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.timeout(pace.NEVER_HANGS)

# Of each password one part is the same in whatever form it is written down, so that it can be looked for.
FIRST: Final = "swordfish4711"
LATER: Final = "goldfish0815"

_SEARCH: Final = r"""#!/bin/sh
exec >/dev/console 2>&1
echo
echo "source: $(cat /run/cloud-init/cloud-id)"
echo "set: $(grep -c '^debian:\$' /etc/shadow)"
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
mkdir -p /var/lib/cloud/scripts/per-boot
cat >/var/lib/cloud/scripts/per-boot/search.sh <<'SEARCH_END'
{_SEARCH}SEARCH_END
chmod 700 /var/lib/cloud/scripts/per-boot/search.sh
/var/lib/cloud/scripts/per-boot/search.sh
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What one boot came to: the files with a trace, by who looked and the trace."""

    printed: str

    def files(self, who: str, trace: str) -> list[str]:
        """Return the files in which this user has found this trace."""
        line = re.search(rf"^{who} {trace}:(.*)$", self.printed, re.MULTILINE)
        assert line is not None, self.printed[-3000:]
        return line[1].split()


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Found]:
    """The first boot, a second one, and one after a reset, with a drive that has another password."""
    directory = tmp_path_factory.mktemp("secrets")
    with require_rig():
        find_program("linux.uml", "user-mode-linux")
        root = bootable(Debian.prepare().root, directory / "root.ext4")
    data = VmData(metadata=Metadata(local_hostname="web-33"), user_data=secret(_USER_DATA.encode()))
    first = write_image(directory / "first.iso", files_of(data, f"Grün \"und\" 'blau'\\1 {FIRST}"), "config-2")
    later = write_image(directory / "later.iso", files_of(data, f"anders {LATER}"), "config-2")
    drives, disk = (first, first, later), directory / "disk.cow"
    try:
        return [Found(boot(root, disk, drive, ends_with="the search has ended")) for drive in drives]
    finally:
        shutil.rmtree(directory)


def test_the_drive_was_read_and_its_password_set(boots: Sequence[Found]) -> None:
    for found in boots:
        assert "source: configdrive" in found.printed
        assert "set: 1" in found.printed
    assert any("/var/lib/cloud/" in name for name in boots[0].files("root", FIRST))


@pytest.mark.parametrize("trace", [FIRST, LATER])
def test_nobody_but_root_finds_a_password_after_the_first_boot_the_second_and_a_reset(
    boots: Sequence[Found], trace: str
) -> None:
    for found in boots:
        assert found.files("nobody", trace) == []
        assert "nobody reads the drive" not in found.printed
