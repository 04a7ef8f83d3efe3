"""The packages: complete, the same bytes whenever they are built; and systemd takes the units."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import configdrive
from tests.integration.guest.guest import PROGRAM, SHELLS, SOURCES
from tests.support import find_program, require, require_rig

SCRIPTS = [
    PROGRAM,
    *(SOURCES / name for name in ("install.sh", "packages.sh", "udev/changed", "sysv/configdrive-guest")),
    SOURCES / "openrc/configdrive-guest",
    *sorted((SOURCES / "packaging/debian").glob("p*")),
]
EVERYWHERE = {
    "/etc/default/configdrive-guest",
    "/usr/lib/configdrive-guest/changed",
    "/usr/lib/systemd/system/configdrive-guest.service",
    "/usr/lib/systemd/system/configdrive-userdata.service",
    "/usr/lib/udev/rules.d/90-configdrive-guest.rules",
    "/usr/sbin/configdrive-guest",
    "/usr/share/doc/configdrive-guest/README.md",
}


def run(program: str, package: str, *arguments: str | Path) -> str:
    with require_rig():
        path = find_program(program, package)
    done = subprocess.run([path, *arguments], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(directory: Path, umask: int) -> dict[str, bytes]:
    with require_rig():
        find_program("dpkg-deb", "dpkg")
        find_program("rpmbuild", "rpm")
    subprocess.run([SOURCES / "packages.sh", directory], check=True, capture_output=True, timeout=600, umask=umask)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    build(directory, 0o022)
    return directory


def the(packages: Path, ending: str) -> Path:
    [path] = packages.glob(f"*{ending}")
    return path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(SOURCES)))
def test_shellcheck_finds_nothing(script: Path) -> None:
    run("shellcheck", "shellcheck", "-s", "sh", script)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_every_script(shell: str) -> None:
    program, *words = SHELLS[shell].split()
    for script in SCRIPTS:
        run(program, program, *words, "-n", script)


def test_the_same_sources_give_the_same_packages(packages: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # another second on the clock
    assert {path.name: path.read_bytes() for path in packages.iterdir()} == build(tmp_path, 0o077)


def test_the_debian_package(packages: Path) -> None:
    path = the(packages, ".deb")
    assert path.name == f"configdrive-guest_{configdrive.__version__}_all.deb"
    modes, owners, files = set[str](), set[str](), {}
    for line in run("dpkg-deb", "dpkg", "--contents", path).splitlines():
        mode, owner, *_, name = line.split()
        owners.add(owner)
        if mode.startswith("-"):
            files[name.removeprefix(".")] = mode
        else:
            modes.add(mode)
    assert set(files) == {*EVERYWHERE, "/etc/init.d/configdrive-guest"}
    assert (owners, modes) == ({"root/root"}, {"drwxr-xr-x"})
    assert files["/usr/sbin/configdrive-guest"] == files["/usr/lib/configdrive-guest/changed"] == "-rwxr-xr-x"
    assert files["/usr/lib/udev/rules.d/90-configdrive-guest.rules"] == "-rw-r--r--"
    kept = set(run("dpkg-deb", "dpkg", "--info", path, "conffiles").split())
    assert kept == {name for name in files if name.startswith("/etc/")}


def test_the_rpm(packages: Path) -> None:
    path = the(packages, ".rpm")
    assert path.name == f"configdrive-guest-{configdrive.__version__}.noarch.rpm"
    listed = run("rpm", "rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", path).splitlines()
    files = {name: mode for mode, name in (line.split() for line in listed) if mode.startswith("-")}
    assert set(files) == EVERYWHERE
    assert files["/usr/sbin/configdrive-guest"] == "-rwxr-xr-x"
    assert run("rpm", "rpm", "-qp", "--configfiles", path).split() == ["/etc/default/configdrive-guest"]


def test_the_installed_program_says_the_version(packages: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "dpkg", "-x", the(packages, ".deb"), tmp_path)
    said = run("sh", "dash", tmp_path / "usr/sbin/configdrive-guest", "--version")
    assert said == f"configdrive-guest {configdrive.__version__}\n"


def test_dpkg_installs_and_removes_it(packages: Path, tmp_path: Path) -> None:
    """Into a directory, with the scripts that run then; what they call is not there but systemctl, which is offline."""
    require(os.geteuid() == 0, "dpkg wants root")
    root = tmp_path / "root"
    for name in ("updates", "info"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    options = [f"--root={root}", "--force-not-root", "--force-depends", "--force-script-chrootless", "--log=/dev/null"]
    # Without `systemctl` on the path the scripts must come through as well.
    (tmp_path / "bin").mkdir()
    for name in ("dpkg-deb", "dpkg-split", "tar", "rm", "sh", "ldconfig", "start-stop-daemon", "diff"):
        with require_rig():
            (tmp_path / "bin" / name).symlink_to(find_program(name, "dpkg"))
    environment = {"PATH": str(tmp_path / "bin")}

    def dpkg(*words: str | Path) -> None:
        with require_rig():
            program = find_program("dpkg", "dpkg")
        done = subprocess.run(
            [program, *options, *words], check=False, capture_output=True, text=True, env=environment, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr

    dpkg("--install", the(packages, ".deb"))
    assert (root / "usr/sbin/configdrive-guest").exists()
    dpkg("--purge", "configdrive-guest")
    assert not (root / "usr/sbin/configdrive-guest").exists()
    assert not (root / "etc/default/configdrive-guest").exists()


@pytest.mark.parametrize("init", ["systemd", "openrc", "sysv"])
def test_it_is_installed_by_hand_and_keeps_a_changed_configuration(tmp_path: Path, init: str) -> None:
    for setting in ("LABEL=config-2", "LABEL=mine"):
        run("sh", "dash", SOURCES / "install.sh", "--init", init, tmp_path)
        if setting == "LABEL=config-2":
            (tmp_path / "etc/default/configdrive-guest").write_text("LABEL=mine\n")
    assert (tmp_path / "etc/default/configdrive-guest").read_text() == "LABEL=mine\n"
    assert (tmp_path / "etc/init.d/configdrive-guest").exists() == (init != "systemd")


def test_systemd_takes_the_units(packages: Path, tmp_path: Path) -> None:
    """In a directory that holds nothing but the package and what the units refer to."""
    run("dpkg-deb", "dpkg", "-x", the(packages, ".deb"), tmp_path)
    units = tmp_path / "usr/lib/systemd/system"
    for name in ("sysinit", "basic", "shutdown", "local-fs", "network-online", "multi-user"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    said = run(
        *("systemd-analyze", "systemd", "verify", f"--root={tmp_path}", "--recursive-errors=no", "--man=no"),
        *("configdrive-guest.service", "configdrive-userdata.service"),
    )
    assert "configdrive" not in said
