"""`configdrive cloudstack` at the keyboard: files and pipes, and what is said when something is not set."""

import json
import re
import socket
from pathlib import Path

import pytest

from rigs.process import LOOPBACK
from rigs.redis import RedisServer
from tests.integration.cloudstack.site import AdapterSite, started
from workers.cli.errors import ExitCode
from workers.cloudstack.gate_tokens import new_token
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES
from workers.config.keys import public_text, read_keys

TEMPLATE = Path(__file__).parents[3] / "deploy" / "redis" / "users.acl.template"


def test_lines_are_taken_from_a_pipe_and_each_is_reported(site: AdapterSite, running: str) -> None:
    lines = [started(running, 1), b"", started(running, 1), b"no JSON", b'{"CloudStack": "works!"}']
    shown = site.inside("read", "-", stdin=b"\n".join(lines))

    assert shown.exit_code == ExitCode.FAILED  # for the dead letter
    said = shown.stdout.splitlines()
    assert [line.split(":")[1].strip() for line in said[:-1]] == ["published", "duplicate", "dead_letter", "ignored"]
    assert said[0].startswith(f"line 1 of VM {running}: published: VM.START Completed: start")
    assert said[-1] == "1 dead_letter, 1 duplicate, 1 ignored, 1 published"
    assert site.types(running) == ["start"]


def test_a_file_is_taken_and_shown_as_json(site: AdapterSite, running: str, tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    path.write_bytes(b"{" * (MAX_PAYLOAD_BYTES * 2) + b"\n" + started(running))
    shown = site.inside("read", str(path), "--json")

    first, second = map(json.loads, shown.stdout.splitlines())
    assert (first["line"], first["result"]) == (1, "dead_letter")
    assert (second["line"], second["result"], second["vm_uuid"]) == (2, "published", running)
    assert len(second["events"]) == 1


@pytest.mark.parametrize(
    ("command", "missing", "said"),
    [
        (["read", "-"], {"URL": ""}, "cloudstack.url"),
        (["read", "-"], {"URL": "http://cloudstack.example/client/api"}, "https"),
        (["read", "-"], {"KEY_FILE": "/nowhere"}, "cloudstack.key_file"),
        (["read", "-"], {"CA_FILE": "/nowhere"}, "cloudstack.ca_file"),
        (["webhook"], {"WEBHOOK_SECRET_FILE": "/nowhere"}, "cloudstack.webhook_secret_file"),
        (["webhook"], {"WEBHOOK_CERTIFICATE": "/nowhere"}, "webhook_certificate_key"),
        (
            ["webhook"],
            {"WEBHOOK_CERTIFICATE": "/nowhere/a.pem", "WEBHOOK_CERTIFICATE_KEY": "/nowhere/a.key"},
            "certificate /nowhere/a.pem and key /nowhere/a.key cannot be used: No such file or directory",
        ),
        (["amqp"], {}, "cloudstack.amqp_url"),
        (["amqp"], {"AMQP_URL": "https://u:Hunter2@rabbit.example/"}, "begins with amqps://"),
        (["amqp"], {"AMQP_URL": "amqp://u:Hunt/er2@rabbit.example/"}, "no letter or digit is written %XX"),
        (
            ["amqp"],
            {"AMQP_URL": "amqps://a:b@127.0.0.1:1/", "AMQP_CA_FILE": "/nowhere/ca.pem"},
            "cloudstack.amqp_ca_file: /nowhere/ca.pem cannot be read",
        ),
    ],
)
def test_what_is_not_set_is_reported_with_its_name(
    site: AdapterSite, command: list[str], missing: dict[str, str], said: str
) -> None:
    own = {f"CONFIGDRIVE_CLOUDSTACK__{name}": value for name, value in missing.items()}
    shown = site.inside(*command, environment=own)

    assert shown.exit_code == ExitCode.MISCONFIGURED
    assert said in shown.stderr
    assert "Hunt" not in shown.stderr


@pytest.mark.parametrize("server", ["webhook", "gate"])
def test_a_port_that_is_taken_is_named(site: AdapterSite, tmp_path: Path, server: str) -> None:
    new_token(tmp_path / "tokens", "kvm-01")
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        shown = site.run(server, f"--port={port}", GATE_TOKENS_FILE=str(tmp_path / "tokens"))

    assert shown.returncode == ExitCode.MISCONFIGURED
    assert f"configdrive: {LOOPBACK}:{port}: Address already in use" in shown.stderr
    assert "give another --port" in shown.stderr


def rules_of(user: str) -> list[str]:
    """Return what a user of Redis may, rule by rule, without name and password."""
    (line,) = (line for line in TEMPLATE.read_text().splitlines() if line.startswith(f"user {user} "))
    rules: list[str] = re.findall(r"\([^)]*\)|\S+", line)
    return rules[4:]


def test_redis_user_for_it_is_a_publisher_with_a_memory_and_dead_letters_that_calls_no_functions() -> None:
    own, publisher = rules_of("cloudstack"), rules_of("publisher")

    assert [rule for rule in own if rule not in publisher] == [
        "+multi",
        "+exec",
        "(+evalsha +get +set +del +exists +pexpire ~@prefix@cloudstack:*)",
        "(+lpush +ltrim %W~@prefix@dead)",
    ]
    assert [rule for rule in publisher if rule not in own] == ["+fcall"]


def test_that_user_is_enough(site: AdapterSite, redis_server: RedisServer, running: str) -> None:
    words = [rule.replace("@prefix@", site.fleet.settings.key_prefix) for rule in rules_of("cloudstack")]
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", f"cloudstack-{running}", "on", ">its-password", *words)
    url = site.fleet.settings.redis_url.get_secret_value().replace("//", f"//cloudstack-{running}:its-password@")
    (key,) = read_keys(site.fleet.settings.keys_file)
    own = {"CONFIGDRIVE_REDIS_URL": url, "CONFIGDRIVE_PUBLIC_KEY": public_text(key)}
    lines = [started(running, 1), started(running, 1), b"no JSON"]
    shown = site.inside("read", "-", stdin=b"\n".join(lines), environment=own)

    assert shown.stdout.splitlines()[-1] == "1 dead_letter, 1 duplicate, 1 published", shown.stderr
    assert site.types(running) == ["start"]
