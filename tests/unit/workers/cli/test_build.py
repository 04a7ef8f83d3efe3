import json
import stat
from pathlib import Path

import pytest

from configdrive.iso.read import read
from tests.unit.documents import document
from tests.unit.workers.cli.conftest import Run
from workers.cli.errors import ExitCode

GUEST = {"password": "Hunter2", "user_data": {"text": "#cloud-config\n"}, "metadata": {"local_hostname": "web-1"}}
EVENT = json.dumps(document("start", hypervisor="kvm", guest=GUEST, label="config-2"))


def test_a_drive_is_built_listed_and_shown_without_a_fleet(run: Run, tmp_path: Path) -> None:
    drive = tmp_path / "drive.iso"
    listed = run("build", "-", "--list", "-o", str(drive), stdin=EVENT)
    shown = run("build", "-", "--show", "openstack/latest/user_data", stdin=EVENT)
    summary = json.loads(run("build", "-", "--list", "--json", stdin=EVENT).stdout)

    assert {listed.exit_code, shown.exit_code} == {ExitCode.DONE}, listed.output
    volume = read(drive.read_bytes())
    names = {path for path, node in volume.primary.items() if not node.is_directory}
    assert volume.label == summary["label"] == "config-2"
    assert {line.split()[1] for line in listed.stdout.splitlines()[1:]} == names == set(summary["files"])
    assert stat.S_IMODE(drive.stat().st_mode) == 0o600
    assert shown.stdout == "#cloud-config\n"
    assert "Hunter2" not in listed.output


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (["--list"], json.dumps(document("stop", hypervisor="kvm")), "brings nothing for a drive"),
        (["--show", "openstack/latest/userdata"], EVENT, "did you mean openstack/latest/user_data?"),
        (["--list"], "{", "invalid_event"),
        ([], EVENT, "--output, --list or --show"),
    ],
)
def test_what_cannot_be_built_or_shown_is_said_with_a_way_on(run: Run, args: list[str], stdin: str, words: str) -> None:
    refused = run("build", "-", *args, stdin=stdin)
    assert refused.exit_code != ExitCode.DONE
    assert words in f"{refused.output} {refused.exception}{getattr(refused.exception, 'remedy', '')}"
