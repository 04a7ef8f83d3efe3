"""What the Windows module takes for granted agrees with the drive, the Linux program, cloudbase-init and its guide."""

import importlib
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from configdrive.contents.render import MAX_BYTES
from configdrive.drive_data import VmData
from tests.drives import KEYS, SEED, files_of, secret
from tests.unit.guest.powershell import MODULE, WINDOWS, commands, root

REPOSITORY: Final = WINDOWS.parents[1]
GUIDE: Final = REPOSITORY / "docs" / "how-to" / "guest-windows.md"


def source(name: str) -> str:
    return (MODULE / name).read_text()


def table(script: str, name: str) -> dict[str, int]:
    """Return a hash table of numbers as it stands in a script."""
    [body] = re.findall(rf"^\$script:{name} = @\{{\n(.*?)^\}}", source(script), re.MULTILINE | re.DOTALL)
    return {key: int(number) for key, number in re.findall(r"^ +(\w+) += (\d+)", body, re.MULTILINE)}


def test_the_paths_are_those_of_the_drive() -> None:
    data = VmData(metadata=SEED, user_data=secret(b"#ps1\n"), ssh_keys=KEYS)
    there = {*files_of(data, "secret"), "openstack/latest/network_data.json"}
    read = {path.replace("\\", "/") for path in re.findall(r"'((?:cloudstack|openstack)\\[^']+)'", source("Drive.ps1"))}
    assert read <= there
    assert len(read) == 9


def test_it_takes_a_drive_as_large_as_the_fleet_makes() -> None:
    assert "userdata   = 64MB" in source("Drive.ps1")
    assert MAX_BYTES == 64 * 2**20


def test_exit_codes_are_those_of_the_linux_program() -> None:
    linux = (REPOSITORY / "guest" / "linux" / "configdrive-guest").read_text()
    listed = linux.partition("\n# Exit codes.\n")[2].partition("\n\n")[0]
    codes = {name.replace("_", "").lower(): int(code) for name, code in re.findall(r"(?m)^([A-Z_]+)=(\d)\b", listed)}
    windows = {name.lower(): number for name, number in table("ConfigDriveGuest.psm1", "ExitCode").items()}
    assert windows == {"done": 0} | codes


def test_every_event_that_is_written_has_a_number_and_a_row_in_the_guide() -> None:
    ids = table("Log.ps1", "EventId")
    assert len(set(ids.values())) == len(ids)
    written = set()
    for path in MODULE.glob("*.ps1"):
        for command in commands(root(path)):
            if command.name in {"Write-GuestEvent", "Write-GuestFailure"}:
                written.update(re.findall(r"-Name '(\w+)'", command.text))
            written.update(re.findall(r"-Failure '(\w+)'", command.text))
    assert written == set(ids)
    once = set(re.findall(r"'(\w+)'", source("Log.ps1").partition("$script:SaidOnce = @(")[2].partition(")")[0]))
    assert once < set(ids)
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", GUIDE.read_text(), re.MULTILINE)}
    assert set(ids.values()) <= rows


def test_each_setting_is_known_shown_and_explained() -> None:
    known = dict(re.findall(r"^        (\w+) += (\S+)$", source("Settings.ps1").partition("$path")[0], re.MULTILINE))
    shown = dict(re.findall(r"^    # (\w+) = (\S+)$", (WINDOWS / "settings.psd1").read_text(), re.MULTILINE))
    assert known == shown
    assert len(known) == 5
    for name in known:
        assert f"`{name}`" in GUIDE.read_text()


@pytest.mark.parametrize(
    ("user_data", "kind"),
    [
        (b"#ps1\nGet-Date", "ps1"),
        (b"#ps1\r\n", "ps1"),
        (b"#ps1_sysnative\r\nx", "ps1"),
        (b"#ps1_x86 \n", "ps1_x86"),
        (b"rem cmd\r\ndir", "cmd"),
        (b"rem  cmd\n", "cmd"),
        (b"#ps1x\n", None),
        (b"#ps1", None),
        (b" #ps1\n", None),
        (b"REM CMD\n", None),
        (b"#cloud-config\n#ps1\n", None),
        (b"", None),
        (b"\xff\xfe\0", None),
    ],
)
def test_what_counts_as_a_script_is_as_in_cloudbase_init(
    user_data: bytes, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where cloudbase-init writes the script it would run
    patterns = dict(re.findall(r"^\$script:(\w+)Pattern = '(.+)'$", source("Scripts.ps1"), re.MULTILINE))
    kinds = {"PowerShell": "ps1", "PowerShellX86": "ps1_x86", "Cmd": "cmd"}
    beginning = user_data[:64].decode("latin-1")
    ours = [kinds[name] for name, pattern in patterns.items() if re.search(pattern, beginning)]
    assert ours == ([] if kind is None else [kind])
    theirs: Any = importlib.import_module("cloudbaseinit.plugins.common.userdatautils")
    executors: Any = importlib.import_module("cloudbaseinit.plugins.common.execcmd")
    wanted = {"ps1": executors.PowershellSysnative, "ps1_x86": executors.Powershell, "cmd": executors.Shell, None: None}
    found = theirs.get_command(user_data)
    assert (None if found is None else type(found)) is wanted[kind]
