"""The image, read by programs that others have written: names, contents, modes and the label."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from configdrive.drive_data import VmData
from tests.drives import files_of, secret, write_image
from tests.integration.image.conftest import Drive
from tests.support import find_program, require_rig

PACKAGES = {
    "blkid": "util-linux",
    "isoinfo": "genisoimage",
    "xorriso": "xorriso",
    "bsdtar": "libarchive-tools",
    "7zz": "7zip",
}
FILE, DIRECTORY = "-r-xr-xr-x", "dr-xr-xr-x"


def run(program: str, *arguments: str | Path) -> bytes:
    """Run a reader, and return what it prints."""
    with require_rig():
        path = find_program(program, PACKAGES[program])
    # This machine's time zone and language must not matter.
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run([path, *arguments], capture_output=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def output(program: str, *arguments: str | Path) -> str:
    return run(program, *arguments).decode()


LISTINGS = {
    "isoinfo": ("-l -R -i {image}", r"\[ *\d+ \d\d\]  (.*) "),
    "xorriso": ("-indev {image} -find / -exec lsdl --", r"'/(.*)'"),
    "bsdtar": ("-tvf {image}", r"(.*?)(?: link to .*)?"),
}
"""How a reader is asked for modes, owners and dates, and how it writes a name behind them."""
UNPACKINGS = {
    "xorriso": "-osirrox on -indev {image} -extract / {target}",
    "bsdtar": "-xf {image} -C {target}",
    "7zz": "x -o{target} {image}",  # as Windows shows it
}


def words(command: str, drive: Drive, target: Path | str = "") -> list[str]:
    return [word.format(image=drive.path, target=target) for word in command.split()]


def test_blkid_finds_the_label(drive: Drive) -> None:
    shown = dict(line.split("=", 1) for line in output("blkid", "-o", "export", "-p", drive.path).splitlines())
    assert shown["LABEL"] == drive.label
    assert shown["TYPE"] == "iso9660"
    assert shown["VERSION"] == r"Joliet\ Extension"
    assert shown["UUID"] == "2017-03-10-10-23-00-00"


def test_isoinfo_sees_both_extensions(drive: Drive) -> None:
    shown = output("isoinfo", "-d", "-i", drive.path)
    assert f"Volume id: {drive.label}\n" in shown
    assert "Joliet with UCS level 3 found" in shown
    assert "Rock Ridge signatures version 1 found" in shown
    assert f"Volume size is: {drive.path.stat().st_size // 2048}\n" in shown


@pytest.mark.parametrize("program", LISTINGS)
def test_modes_and_owners(program: str, drive: Drive) -> None:
    command, name = LISTINGS[program]
    modes = {}
    folder = ""
    for line in output(program, *words(command, drive)).splitlines():
        folder = line.removeprefix("Directory listing of /") if line.startswith("Directory listing of /") else folder
        found = re.fullmatch(rf"(\S{{10}}) +\d+ +0 +0 +\d+ Mar 10  ?2017 {name}", line)
        assert found or not line or "Directory" in line, line
        if found and found[2] not in {"", ".", ".."}:
            modes[folder + found[2]] = found[1]
    assert modes == dict.fromkeys(drive.directories, DIRECTORY) | dict.fromkeys(drive.files, FILE)


@pytest.mark.parametrize("program", UNPACKINGS)
def test_everything_is_unpacked(program: str, drive: Drive, tmp_path: Path) -> None:
    target = tmp_path / "unpacked"
    target.mkdir()
    said = output(program, *words(UNPACKINGS[program], drive, target))
    assert "Everything is Ok" in said or program != "7zz"
    everything = list(target.rglob("*"))
    directories = {path for path in everything if path.is_dir()}
    for path in directories:
        path.chmod(0o755)  # so that the test's folder can be removed by an ordinary user
    assert {path.relative_to(target).as_posix() for path in directories} == set(drive.directories)
    assert {
        path.relative_to(target).as_posix(): path.read_bytes() for path in everything if path not in directories
    } == dict(drive.files)


def test_isoinfo_reads_the_same_through_each_extension(full: Drive) -> None:
    for path, wanted in full.files.items():
        for tree, name in (("-R", f"/{path}"), ("-J", f"/{path}"), ("-s", f"/{path};1")):
            assert run("isoinfo", tree, "-i", full.path, "-x", name) == wanted


def test_the_primary_tree_has_lower_case_names_with_a_version(full: Drive) -> None:
    """Ironic opens exactly this path."""
    names = output("isoinfo", "-f", "-i", full.path).splitlines()
    assert "/openstack/latest/network_data.json;1" in names
    assert "/cloudstack/metadata/public-keys.txt;1" in names


def test_bsdtar_prints_each_file_alone(full: Drive) -> None:
    """For the second file of a shared content it prints nothing, and ends well."""
    for path, wanted in full.files.items():
        assert run("bsdtar", "-xOf", full.path, path) == wanted, path


def test_of_large_user_data_bsdtar_prints_one_of_the_two_files(tmp_path: Path) -> None:
    """Which one, the readers' page says."""
    large = os.urandom(2**17)
    drive = write_image(tmp_path / "drive.iso", files_of(VmData(user_data=secret(large)), None))
    assert run("bsdtar", "-xOf", drive, "cloudstack/userdata/user_data.txt") == large
    assert run("bsdtar", "-xOf", drive, "openstack/latest/user_data") == b""
