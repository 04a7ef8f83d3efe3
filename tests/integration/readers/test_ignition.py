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
FETCHED, TIMED_OUT = "ignition: 0", "ignition: 124"


def fetch(drive: Path, scratch: Path, seconds: int) -> list[str]:
    """Return what it says for each of its platforms, three lines each, and then what it left mounted."""
    with require_rig():
        script = (HERE / "ignition.sh").read_text()
        for name, value in {"ignition": foreign.ignition(), "seconds": seconds}.items():
            script = script.replace(f"{{{name}}}", quote(str(value)))
        return run_in_linux(drive, script, scratch).splitlines()
    raise AssertionError


@pytest.mark.parametrize("label", LABELS)
def test_what_it_fetches_with_each_label(label: str, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive.iso", label, user_data=json.dumps(CONFIG).encode())
    said = fetch(drive, tmp_path, seconds=4 if label == "config" else 60)
    assert len(said) == 6, "nothing is left mounted"
    for code, fetched, missed in (said[:3], said[3:]):
        if label == "config":
            # It would wait for ever, and with it the boot.
            assert (code, fetched) == (TIMED_OUT, "nothing")
            assert int(missed) > 1
        else:
            assert code == FETCHED
            document = json.loads(fetched)
            assert [file["path"] for file in document["storage"]["files"]] == ["/etc/from-the-drive"]
