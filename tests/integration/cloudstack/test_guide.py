"""The commands of docs/how-to/cloudstack.md, run one after the other: folders, names and ports are the test's own."""

import os
import subprocess
from pathlib import Path

import pytest

from docs.blocks import PAGES, ROOT, commands_for
from rigs.cloudstack import API_KEY, SECRET_KEY
from rigs.process import LOOPBACK, free_port
from rigs.rabbitmq import RabbitMq
from rigs.worker import CONFIGDRIVE
from tests.integration.cloudstack.site import AdapterSite
from tests.support import find_program
from workers.config.keys import public_text, read_keys

HOST = "kvm1.dc.example"


@pytest.fixture
def settings(site: AdapterSite, rabbitmq: RabbitMq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Write the two files that the guide begins with; returns what stands in the place of each of its names."""
    monkeypatch.setattr(site.cloudstack, "vms", {})  # or doctor looks at what other tests have left
    etc = tmp_path / "etc"
    own = site.fleet.settings
    (key,) = read_keys(own.keys_file)
    (tmp_path / "cloudstack.keys").write_text(f"{API_KEY}\n{SECRET_KEY}\n")
    (tmp_path / "cloudstack.toml").write_text(
        f'redis_url = "{own.redis_url.get_secret_value()}"\nkey_prefix = "{own.key_prefix}"\n'
        f'public_key = "{public_text(key)}"\n'
        f'[cloudstack]\nurl = "{site.cloudstack.url}"\nca_file = "{site.cloudstack.ca_file}"\n'
        f'key_file = "{etc}/cloudstack.keys"\namqp_url = "{rabbitmq.url}"\n'
        f'gate_tokens_file = "{etc}/gate.tokens"\ngate_certificate = "{etc}/gate.pem"\n'
        f'gate_certificate_key = "{etc}/gate.key"\n'
    )
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    return {
        "/etc/configdrive": str(etc),
        "/etc/cloudstack/agent": str(tmp_path / "agent"),
        "DNS:gate.example": f"IP:{LOOPBACK}",
        "gate.example": LOOPBACK,
        "8444": str(free_port()),
    }


def test_the_guide_s_commands_lead_to_a_gate_that_a_host_reaches_trusts_and_is_known_to(
    site: AdapterSite, settings: dict[str, str], tmp_path: Path
) -> None:
    find_program("curl", "curl")
    begun, certified, looked, installed, asked = commands_for(__file__, PAGES / "how-to" / "cloudstack.md")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CONFIGDRIVE_")}
    environment = {**clean, "PATH": f"{Path(CONFIGDRIVE).parent}:{os.environ['PATH']}"}

    def run(commands: str, **more: str) -> subprocess.CompletedProcess[str]:
        for name, own in settings.items():
            commands = commands.replace(name, own)
        words = ["bash", "-euo", "pipefail", "-c", commands]
        return subprocess.run(
            words, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, check=False, timeout=600
        )

    for commands in (begun, certified):
        done = run(commands)
        assert done.returncode == 0, done.stderr
    etc, agent = tmp_path / "etc", tmp_path / "agent"
    modes = {file.name: file.stat().st_mode & 0o777 for file in etc.iterdir()}
    assert modes == {
        **dict.fromkeys(("cloudstack.toml", "cloudstack.keys", "gate.key", "gate.pem"), 0o600),
        "gate.tokens": 0o644,
    }

    done = run(looked, CONFIGDRIVE_SETTINGS=str(etc / "cloudstack.toml"))
    said = [line for line in done.stdout.splitlines() if "cloudstack " in line]
    assert len(said) > 8, done.stdout + done.stderr
    assert [line for line in said if not line.lstrip().startswith("OK")] == []
    assert f"knows the hosts {HOST}" in done.stdout

    own = {"CONFIGDRIVE_SETTINGS": str(etc / "cloudstack.toml")}
    site.adapter("gate", "--address", LOOPBACK, "--port", settings["8444"], environment=own)
    (tmp_path / "gate.pem").write_bytes((etc / "gate.pem").read_bytes())  # carried to the host
    done = run(installed)
    assert done.returncode == 0, done.stderr
    assert (agent / "configdrive-gate.token").stat().st_mode & 0o777 == 0o600
    assert {file.name for file in (agent / "hooks").iterdir()} == {
        "libvirt-vm-xml-transformer.groovy",
        "configdrive-gate.groovy",
    }
    done = run(asked)
    assert (done.returncode, done.stdout) == (0, f"{HOST}\n"), done.stderr
    (agent / "configdrive-gate.token").write_text("guessed\n")
    assert "401" in run(asked).stderr
