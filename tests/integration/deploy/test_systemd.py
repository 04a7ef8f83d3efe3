"""deploy/systemd: units that systemd accepts, that give away little, and whose commands and environment work."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.certificates import Certificates
from rigs.fleet import keys_in
from rigs.process import LOOPBACK, Daemon, find_program, free_port
from rigs.redis import RedisServer
from rigs.worker import CONFIGDRIVE
from tests.integration.deploy.compose import ROOT
from tests.support import require_rig, wait_until
from workers.cloudstack.gate_tokens import new_token
from workers.config.keys import public_text

UNITS = sorted(file for file in (ROOT / "deploy/systemd").glob("*.service") if file.is_file())
DROP_INS = sorted((ROOT / "deploy/systemd").glob("*.service.d/*.conf"))
MOST_EXPOSED = 2.0
"""Of ten; `systemd-analyze security` calls what is below it "OK", and 9.6 is a unit that says nothing."""


@pytest.fixture(scope="module")
def analyze() -> str:
    with require_rig():
        return find_program("systemd-analyze", "systemd")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would be installed, with the program where it is here; drop-ins beside them."""
    for file in (*UNITS, *DROP_INS):
        text = file.read_text().replace("/opt/configdrive/bin/configdrive", CONFIGDRIVE)
        made = tmp_path / "units" / file.relative_to(ROOT / "deploy/systemd")
        made = made.with_name(made.name.replace("@.", "@simulated."))
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
    return tmp_path / "units"


def test_systemd_accepts_them_and_finds_them_confined(analyze: str, installed: Path) -> None:
    files = [str(file) for file in sorted(installed.glob("*.service")) if file.is_file()]
    assert (len(files), len(DROP_INS)) == (6, 1)
    said = subprocess.run(
        [analyze, "verify", "--man=no", *files], capture_output=True, text=True, timeout=300, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    for file in files:
        words = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSED * 10)}", file]
        reported = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert reported.returncode == 0, reported.stdout


class Unit:
    """A unit's service section, with drop-ins added and the specifiers filled in as systemd would."""

    def __init__(self, files: list[Path], instance: str, directory: Path) -> None:
        specifiers = {"%i": instance, "%d": str(directory / "credentials"), "%t": str(directory / "run"), "%%": "%"}
        self.lines: list[tuple[str, str]] = []
        for line in "\n".join(file.read_text() for file in files).splitlines():
            name, equals, value = line.partition("=")
            if equals and not value and name != "CapabilityBoundingSet":  # an empty one takes back those before it
                self.lines = [one for one in self.lines if one[0] != name]
            elif equals and not line.startswith("#"):
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


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("pki"), LOOPBACK)


@pytest.mark.parametrize(
    ("unit", "instance", "drop_ins", "says"),
    [
        ("configdrive-worker@simulated", "simulated:2", [], "simulated:2@.* ready"),
        ("configdrive-wakeup", "", [], "waking on all queues every 1 s"),
        ("configdrive-storage-sweep", "", [], "sweeping all storages every 3600 s"),
        ("configdrive-flower", "", [], "Visit me at http"),
        ("configdrive-cloudstack", "", [], "RabbitMQ is away"),
        ("configdrive-cloudstack", "", ["webhook.conf"], "listening on"),
        ("configdrive-cloudstack-gate", "", [], "listening on"),
    ],
)
def test_the_units_commands_run_with_the_units_environment(  # noqa: PLR0913, PLR0917  # fixtures
    installed: Path,
    tmp_path: Path,
    redis: RedisServer,
    certificates: Certificates,
    unit: str,
    instance: str,
    drop_ins: list[str],
    says: str,
) -> None:
    files = [installed / f"{unit}.service", *(installed / f"{unit}.service.d" / one for one in drop_ins)]
    spec = Unit(files, instance, tmp_path)
    sources = {
        "settings.toml": f'redis_url = "{redis.url}"\n',
        "flower.toml": f'redis_url = "{redis.url}"\n',
        "flower-login": "admin:swordfish\n",
        "cloudstack.toml": cloudstack_settings(redis.url, tmp_path),
        "cloudstack.keys": "api-key\nswordfish\n",
        "webhook.secret": "swordfish\n",
    }
    for server in ("webhook", "gate"):
        sources[f"{server}.pem"] = (certificates.directory / "servercert.pem").read_text()
        sources[f"{server}.key"] = (certificates.directory / "serverkey.pem").read_text()
    new_token(tmp_path / "gate.tokens", "kvm1.dc.example")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for one in spec.all("RuntimeDirectory"):
        (tmp_path / "run" / one).mkdir(parents=True)
    (tmp_path / "inventory.toml").write_text(
        f'[simulated]\ndirectory = "{tmp_path}/world"\n[simulated.hosts.h1]\nstorages = {{ primary = {{}} }}\n'
    )
    for one in spec.all("LoadCredential"):
        name, source = one.split(":")
        made = credentials / name
        if name == "keys.json":
            keys_in(made)
        else:
            made.write_text(sources[Path(source).name])
        made.chmod(0o400)
    stated = dict(one.split("=", 1) for one in spec.all("Environment"))
    stated["PATH"] = f"{Path(CONFIGDRIVE).parent}:/usr/bin:/bin"
    for name, value in stated.items():
        stated[name] = value.replace("/etc/configdrive", str(tmp_path))
    log = tmp_path / "log"
    command = [re.sub("^844[34]$", "0", word).replace("0.0.0.0", LOOPBACK) for word in spec.command()]  # noqa: S104  # to be replaced
    daemon = Daemon(command, log, {**stated, "CREDENTIALS_DIRECTORY": str(credentials)})
    daemon.start()
    try:
        daemon.wait_ready(lambda: re.search(says, log.read_text()), timeout=30)
        if health := stated.get("CONFIGDRIVE_HEALTH_FILE"):
            wait_until(Path(health).exists, "a sign of life", timeout=30)
    finally:
        daemon.stop(timeout=20)
    assert "swordfish" not in log.read_text()


def cloudstack_settings(redis_url: str, directory: Path) -> str:
    """Return what an adapter needs, with a CloudStack and a RabbitMQ that are away."""
    (key,) = keys_in(directory / "publishers.json")
    return (
        f'redis_url = "{redis_url}"\npublic_key = "{public_text(key)}"\n'
        f'[cloudstack]\nurl = "http://{LOOPBACK}:{free_port()}/client/api"\n'
        f'amqp_url = "amqp://configdrive:swordfish@{LOOPBACK}:{free_port()}/"\n'
    )


def test_documented_credentials_are_the_ones_that_units_load() -> None:
    """A file that a unit loads and nobody tells how to make would be found missing at the first start."""
    reported = "".join((ROOT / "docs/how-to" / page).read_text() for page in ("deploy/systemd.md", "cloudstack.md"))
    wanted = {
        source
        for unit in (*UNITS, *DROP_INS)
        for source in re.findall(r"^LoadCredential=[^:]+:(.+)$", unit.read_text(), re.MULTILINE)
    }
    assert wanted
    for path in wanted:
        assert path in reported
