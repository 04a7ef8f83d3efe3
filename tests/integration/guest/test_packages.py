"""The packages: complete, the same bytes whenever they are built; systemd takes the units, each shell the scripts."""

import os
import subprocess
import time
from pathlib import Path

import pytest

import configdrive
from tests.integration.guest.guest import PROGRAM, SHELLS, SOURCES
from tests.support import find_program, require, require_rig

ROOT = SOURCES.parents[1]
SCRIPTS = [
    PROGRAM,
    *(SOURCES / name for name in ("install.sh", "packages.sh", "udev/changed")),
    *sorted((SOURCES / "sysv").iterdir()),
    *sorted((SOURCES / "openrc").iterdir()),
    *sorted((SOURCES / "packaging/debian").glob("p*")),
    *sorted((ROOT / "deploy/packages/debian").glob("p*")),
    *(ROOT / "deploy" / name for name in ("entrypoint.sh", "compose/init.sh")),
]
EVERYWHERE = {
    "/etc/default/configdrive-guest",
    "/usr/lib/configdrive-guest/changed",
    "/usr/lib/systemd/system/configdrive-guest.service",
    "/usr/lib/systemd/system/configdrive-userdata.service",
    "/usr/lib/udev/rules.d/90-configdrive-guest.rules",
    "/usr/sbin/configdrive-guest",
    "/usr/share/doc/configdrive-guest/README.md",
    "/usr/share/man/man8/configdrive-guest.8.gz",
}
DEBIAN_ONLY = {
    "/etc/init.d/configdrive-guest",
    "/etc/init.d/configdrive-userdata",
    "/usr/share/doc/configdrive-guest/changelog.gz",
    "/usr/share/doc/configdrive-guest/copyright",
}
NEWER = "99.0"

# A root in which there is nothing but rpm's database, busybox, and a package of what ours asks for.
BASE = """
Name: base
Version: 1
Release: 1
Summary: What a system has
License: none
BuildArch: noarch
Provides: /bin/sh, /usr/sbin/chpasswd, coreutils, util-linux, gawk
%description
That.
%files
"""
BARE = r"""
set -eu
exec 2>&1
export LC_ALL=C
cd "$1"
mkdir -p bin dev usr/bin var/tmp
cp "$(command -v busybox)" bin/busybox
for applet in sh cat echo; do ln -s busybox bin/$applet; done
printf '#!/bin/sh\necho "$*" >>/calls\n' >usr/bin/systemctl
chmod 755 usr/bin/systemctl
mknod -m 666 dev/null c 1 3
in_root() { command rpm --force-debian --root "$PWD" "$@"; }
rpm() {
  echo "rpm $1 $2"
  in_root "$@"
  if [ -e calls ]; then cat calls; rm calls; fi
}
set -- "$@" --define "_topdir $PWD/../base" --define "_rpmdir $PWD/.." --define "_build_name_fmt base.rpm"
rpmbuild -bb --quiet "$4" "$5" "$6" "$7" "$8" "$9" ../base.spec
command rpm --root "$PWD" --initdb
in_root --install ../base.rpm
rpm --install "$2"
echo LABEL=mine >etc/default/configdrive-guest
rpm --upgrade "$3"
cat etc/default/configdrive-guest
chroot . /bin/sh /usr/sbin/configdrive-guest --version
rpm --erase configdrive-guest
find etc usr run -name '*configdrive*' 2>/dev/null || :
"""


def run(program: str, package: str, *arguments: str | Path) -> str:
    with require_rig():
        path = find_program(program, package)
    done = subprocess.run([path, *arguments], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(directory: Path, umask: int, **settings: str) -> dict[str, bytes]:
    with require_rig():
        find_program("dpkg-deb", "dpkg")
        find_program("rpmbuild", "rpm")
    subprocess.run(
        [SOURCES / "packages.sh", directory],
        check=True,
        capture_output=True,
        timeout=600,
        umask=umask,
        env=os.environ | settings,
    )
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    build(directory, 0o022)
    return directory


def the(packages: Path, ending: str) -> Path:
    [path] = packages.glob(f"*{ending}")
    return path


def test_shellcheck_finds_nothing_and_each_shell_reads_every_script() -> None:
    run("shellcheck", "shellcheck", "-s", "sh", *SCRIPTS)
    for shell in SHELLS.values():
        program, *words = shell.split()
        for script in SCRIPTS:
            run(program, program, *words, "-n", script)


def test_the_same_sources_give_the_same_packages(packages: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # another second on the clock
    assert {path.name: path.read_bytes() for path in packages.iterdir()} == build(tmp_path, 0o077)


def test_the_debian_package_is_whole_and_lintian_finds_no_error(packages: Path) -> None:
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
    assert set(files) == EVERYWHERE | DEBIAN_ONLY
    assert (owners, modes) == ({"root/root"}, {"drwxr-xr-x"})
    assert files["/usr/sbin/configdrive-guest"] == files["/usr/lib/configdrive-guest/changed"] == "-rwxr-xr-x"
    assert files["/usr/lib/udev/rules.d/90-configdrive-guest.rules"] == "-rw-r--r--"
    kept = set(run("dpkg-deb", "dpkg", "--info", path, "conffiles").split())
    assert kept == {name for name in files if name.startswith("/etc/")}
    assert "E: " not in run("lintian", "lintian", "--allow-root", "--fail-on", "error", path)


def test_the_rpm_is_whole_and_rpmlint_finds_no_error(packages: Path) -> None:
    """But that nobody has signed it, which is for those who give it to others."""
    path = the(packages, ".rpm")
    assert path.name == f"configdrive-guest-{configdrive.__version__}-1.noarch.rpm"
    listed = run("rpm", "rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", path).splitlines()
    files = {name: mode for mode, name in (line.split() for line in listed) if mode.startswith("-")}
    assert set(files) == EVERYWHERE
    assert files["/usr/sbin/configdrive-guest"] == "-rwxr-xr-x"
    assert run("rpm", "rpm", "-qp", "--configfiles", path).split() == ["/etc/default/configdrive-guest"]
    assert " 0 errors" in run("rpmlint", "rpmlint", "-c", SOURCES / "packaging/rpm/rpmlint.toml", path)


def test_rpm_installs_upgrades_and_removes_it(packages: Path, tmp_path: Path) -> None:
    """By rpm itself, in a root of its own, with its scripts and its dependencies; systemctl is played."""
    require(os.geteuid() == 0, "rpm wants root")
    build(tmp_path / "newer", 0o022, VERSION=NEWER)
    (tmp_path / "base.spec").write_text(BASE)
    (tmp_path / "root").mkdir()
    with require_rig():
        find_program("busybox", "busybox-static")
    said = run(
        "sh", "dash", "-c", BARE, "bare", tmp_path / "root", the(packages, ".rpm"), the(tmp_path / "newer", ".rpm")
    )
    units = "configdrive-guest.service configdrive-userdata.service"
    assert said.splitlines() == [
        f"rpm --install {the(packages, '.rpm')}",
        f"enable {units}",
        "daemon-reload",
        f"rpm --upgrade {the(tmp_path / 'newer', '.rpm')}",
        "daemon-reload",
        "daemon-reload",
        "LABEL=mine",
        f"configdrive-guest {NEWER}",
        "rpm --erase configdrive-guest",
        "warning: /etc/default/configdrive-guest saved as /etc/default/configdrive-guest.rpmsave",
        f"disable {units}",
        "daemon-reload",
        "etc/default/configdrive-guest.rpmsave",
    ]


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
    for name in ("dpkg", "dpkg-deb", "dpkg-split", "tar", "rm", "sh", "ldconfig", "start-stop-daemon", "diff"):
        with require_rig():
            (tmp_path / "bin" / name).symlink_to(find_program(name, "dpkg"))
    dpkg = ["env", "coreutils", "-i", f"PATH={tmp_path / 'bin'}", "dpkg", *options]
    run(*dpkg, "--install", the(packages, ".deb"))
    said = run("sh", "dash", root / "usr/sbin/configdrive-guest", "--version")
    assert said == f"configdrive-guest {configdrive.__version__}\n"
    run(*dpkg, "--purge", "configdrive-guest")
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
