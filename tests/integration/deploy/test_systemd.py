"""deploy/systemd: units that systemd accepts, that give away little, and whose commands and environment work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.deploy.compose import ROOT
from tests.rigs.process import Daemon, find_program
from tests.rigs.redis import RedisServer
from tests.rigs.worker import CONFIGDRIVE
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
MOST_EXPOSED = 2.0
"""Of ten; `systemd-analyze security` calls what is below it "OK", and 9.6 is a unit that says nothing."""


@pytest.fixture(scope="module")
def analyze() -> str:
    with require_rig():
        return find_program("systemd-analyze", "systemd")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would be installed, with the program where it is here."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/configdrive/bin/configdrive", CONFIGDRIVE)
        (tmp_path / unit.name.replace("@.", "@simulated.")).write_text(text)
    return tmp_path


def test_systemd_accepts_them_and_finds_them_confined(analyze: str, installed: Path) -> None:
    files = sorted(map(str, installed.glob("*.service")))
    assert len(files) == 4
    said = subprocess.run(
        [analyze, "verify", "--man=no", *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    for file in files:
        words = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSED * 10)}", file]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 0, told.stdout


class Unit:
    """A unit's service section, with the specifiers filled in as systemd would."""

    def __init__(self, file: Path, instance: str, directory: Path) -> None:
        specifiers = {"%i": instance, "%d": str(directory / "credentials"), "%t": str(directory / "run"), "%%": "%"}
        self.lines: list[tuple[str, str]] = []
        for line in file.read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                filled = re.sub("%[idt%]", lambda found: specifiers[found[0]], value)
                self.lines.append((name, filled))

    def all(self, name: str) -> list[str]:
        return [value for one, value in self.lines if one == name]

    def command(self) -> list[str]:
        (line,) = self.all("ExecStart")
        if found := re.fullmatch(r"/bin/sh -c '(.*)'", line):
            return ["/bin/sh", "-c", found[1].replace("$$", "$")]
        return line.split()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server:
        yield server


@pytest.mark.parametrize(
    ("unit", "instance", "says"),
    [
        ("configdrive-worker@simulated", "simulated:2", "simulated:2@.* ready"),
        ("configdrive-wake", "", "waking on all queues every 1 s"),
        ("configdrive-sweep", "", "sweeping all storages every 3600 s"),
        ("configdrive-flower", "", "Visit me at http"),
    ],
)
def test_the_units_commands_run_with_the_units_environment(  # noqa: PLR0913, PLR0917  # fixtures
    installed: Path, tmp_path: Path, redis: RedisServer, unit: str, instance: str, says: str
) -> None:
    spec = Unit(installed / f"{unit}.service", instance, tmp_path)
    sources = {
        "settings.toml": f'redis_url = "{redis.url}"\n',
        "flower.toml": f'redis_url = "{redis.url}"\n',
        "flower-login": "admin:swordfish\n",
    }
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "run/configdrive").mkdir(parents=True)
    (tmp_path / "inventory.toml").write_text(
        f'[simulated]\ndirectory = "{tmp_path}/world"\n[simulated.hosts.h1]\nstorages = {{ primary = {{}} }}\n'
    )
    for one in spec.all("LoadCredential"):
        name, source = one.split(":")
        made = credentials / name
        if name == "keys.json":
            environment = {"CONFIGDRIVE_KEYS_FILE": str(made), "PATH": "/usr/bin:/bin"}
            subprocess.run([CONFIGDRIVE, "keys", "generate"], env=environment, check=True, capture_output=True)
        else:
            made.write_text(sources[Path(source).name])
        made.chmod(0o400)
    stated = dict(one.split("=", 1) for one in spec.all("Environment"))
    stated["PATH"] = f"{Path(CONFIGDRIVE).parent}:/usr/bin:/bin"
    if "CONFIGDRIVE_INVENTORY" in stated:
        stated["CONFIGDRIVE_INVENTORY"] = str(tmp_path / "inventory.toml")
    log = tmp_path / "log"
    daemon = Daemon(spec.command(), log, {**stated, "CREDENTIALS_DIRECTORY": str(credentials)})
    daemon.start()
    try:
        daemon.wait_ready(lambda: re.search(says, log.read_text()), timeout=30)
        if health := stated.get("CONFIGDRIVE_HEALTH_FILE"):
            wait_until(Path(health).exists, "a sign of life", timeout=30)
    finally:
        daemon.stop(timeout=20)
    assert "swordfish" not in log.read_text()


def test_documented_credentials_are_the_ones_that_units_load() -> None:
    """A file that a unit loads and nobody tells how to make would be found missing at the first start."""
    told = (ROOT / "docs/how-to/deploy/systemd.md").read_text()
    wanted = {
        source
        for unit in UNITS
        for source in re.findall(r"^LoadCredential=[^:]+:(.+)$", unit.read_text(), re.MULTILINE)
    }
    assert wanted
    for path in wanted:
        assert path in told
