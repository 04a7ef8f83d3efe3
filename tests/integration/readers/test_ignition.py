"""Ignition's own stage "fetch" reads our drives in a Linux kernel; its later stages change disks and are not run."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

import pytest

from tests.integration.image.linux import run_in_linux
from tests.integration.readers import foreign
from tests.integration.readers.drives import LABELS, write_drive
from tests.support import require_rig

HERE = Path(__file__).parent
CONFIG = {"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/etc/from-the-drive"}]}}
TIMED_OUT = "124"


def fetch(drive: Path, platform: str, scratch: Path, seconds: int) -> tuple[str, str, int, list[str]]:
    """Return its exit code, the configuration it fetched, how often it missed the drive, and what it left mounted."""
    with require_rig():
        script = (HERE / "ignition.sh").read_text()
        for name, value in {"ignition": foreign.ignition(), "platform": platform, "seconds": seconds}.items():
            script = script.replace(f"{{{name}}}", quote(str(value)))
        printed = run_in_linux(drive, script, scratch)
        code, fetched, missed, *left = printed.splitlines()
        return code.removeprefix("ignition: "), fetched, int(missed), left
    raise AssertionError


@pytest.mark.parametrize("platform", ["cloudstack", "openstack"])
@pytest.mark.parametrize("label", LABELS)
def test_what_it_fetches_with_each_label(label: str, platform: str, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive.iso", label, user_data=json.dumps(CONFIG).encode())
    code, fetched, missed, left = fetch(drive, platform, tmp_path, seconds=4 if label == "config" else 30)
    assert left == []
    if label == "config":
        # It would wait for ever, and with it the boot.
        assert (code, fetched) == (TIMED_OUT, "nothing")
        assert missed > 1
        return
    assert code == "0"
    document = json.loads(fetched)
    assert [file["path"] for file in document["storage"]["files"]] == ["/etc/from-the-drive"]
