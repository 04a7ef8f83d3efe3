import base64
import json
from pathlib import Path
from typing import Any

import pytest

from configdrive.contract.events import ContentEvent, parse
from configdrive.contract.guest_data import GuestData
from configdrive.contract.sealing import guest_of
from tests.unit.workers.cli.conftest import Run
from workers.cli.errors import ExitCode
from workers.config.key_ring import make_sealer
from workers.config.settings import load_settings

UUID = "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"
VM = ("--vm", UUID.upper(), "--name", "i-2-14-VM", "--hypervisor", "kvm", "--host", "kvm-01", "--sequence", "3")
PASSWORD = "Hunter2-of-the-guest"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAsJlvzmnOzaeizU+2dWdX7Y6pvUqaOWjNcyLvcUJcPN me@laptop"


def printed(run: Run, *args: str, stdin: str | bytes = "") -> dict[str, Any]:
    run("keys", "generate")
    shown = run("event", *args, stdin=stdin)
    assert shown.exit_code == ExitCode.DONE, shown.stderr
    event: dict[str, Any] = json.loads(shown.stdout)
    parse(shown.stdout)
    return event


@pytest.mark.parametrize(
    ("command", "options", "kind", "data"),
    [
        ("deploy", [], "deploy", {}),
        ("deploy", ["--start"], "deploy", {"start": True}),
        ("start", ["--storage", "pool-1", "--zone", "z1"], "start", {"primary_storage": "pool-1", "zone": "z1"}),
        ("stop", [], "stop", {}),
        ("stop", ["--not-booted"], "stop", {"booted": False}),
        ("migrate", ["--destination", "kvm-02"], "migrate", {"destination": "kvm-02"}),
        (
            "migrate",
            ["--destination", "kvm-02", "--phase", "prepare"],
            "migrate",
            {"destination": "kvm-02", "phase": "prepare"},
        ),
        ("update", ["--now", "--label", "config-2"], "update", {"apply": "now", "label": "config-2"}),
        ("update", ["--password-delivered"], "update", {"password_delivered": True}),
        ("start", ["--no-password-enabled"], "start", {"password_enabled": False}),
        ("start", ["--attach", "orchestrator"], "start", {"attach": "orchestrator"}),
        ("start", ["--presentation", "disk"], "start", {"presentation": "disk"}),
        ("start", ["--instance-id", "again-2"], "start", {"guest": {"instance_id": "again-2"}}),
        ("start", ["--guest-os", "windows"], "start", {"guest_os": "windows"}),
        (
            "start",
            ["--service", "UserData=ConfigDrive", "--service", "Dhcp=A", "--service", "Dhcp=B"],
            "start",
            {"network_offering": {"services": {"UserData": ["ConfigDrive"], "Dhcp": ["A", "B"]}}},
        ),
        ("destroy", [], "destroy", {}),
    ],
)
def test_options_become_an_event(run: Run, command: str, options: list[str], kind: str, data: dict[str, Any]) -> None:
    event = printed(run, command, *VM, *options)

    assert event["type"] == f"configdrive.vm.{kind}.v1"
    assert event["data"] == {
        "sequence": 3,
        "vm": {"uuid": UUID, "instance_name": "i-2-14-VM"},
        "hypervisor": "kvm",
        "host": "kvm-01",
        **data,
    }


def test_id_and_source_can_be_given_and_are_made_otherwise(run: Run) -> None:
    given = printed(run, "stop", *VM, "--id", "e-7", "--source", "billing")
    made = printed(run, "stop", *VM)

    assert (given["id"], given["source"]) == ("e-7", "billing")
    assert made["id"] != printed(run, "stop", *VM)["id"]


def test_content_without_a_secret_is_printed_for_people(run: Run, tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text(f"# mine\n{KEY}\n\n")
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "id.pub").write_text(KEY)
    (tmp_path / "team.pub").write_text(f"{KEY}\n{KEY}\n")
    event = printed(
        run,
        *("start", *VM),
        *("--metadata", "local_hostname=web-1", "--metadata", "rack=r7=left"),
        *("--ssh-key", str(tmp_path / "id.pub"), "--ssh-key", str(tmp_path / "team.pub")),
        *("--ssh-key", str(tmp_path / "bob" / "id.pub")),
        *(
            "--nic",
            "mac=02:00:00:00:00:01,cidr=10.0.0.5/24,gateway=10.0.0.1,dns=10.0.0.2,dns=10.0.0.3,mtu=9000,default",
        ),
        *("--nic", "mac=02:00:00:00:00:02,dhcp=6"),
    )

    assert event["data"]["guest"] == {
        "metadata": {"local_hostname": "web-1", "extra": {"rack": "r7=left"}},
        "ssh_keys": [
            {"name": "id", "key": KEY},
            {"name": "team-1", "key": KEY},
            {"name": "team-2", "key": KEY},
            {"name": "id-2", "key": KEY},
        ],
        "nics": [
            {
                "mac": "02:00:00:00:00:01",
                "dns": ["10.0.0.2", "10.0.0.3"],
                "mtu": 9000,
                "default": True,
                "addresses": [{"cidr": "10.0.0.5/24", "gateway": "10.0.0.1"}],
            },
            {"mac": "02:00:00:00:00:02", "addresses": [{"dhcp": 6}]},
        ],
    }


def unsealed(event: dict[str, Any]) -> GuestData:
    checked = parse(json.dumps(event))
    assert isinstance(checked, ContentEvent)
    return guest_of(checked, make_sealer(load_settings()))


def password_of(event: dict[str, Any]) -> str | None:
    password = unsealed(event).password
    return None if password is None else password.get_secret_value()


@pytest.mark.parametrize("content", [b"#cloud-config\npassword: x\n", b"\x00\xff\xfe"], ids=["text", "bytes"])
def test_user_data_is_printed_sealed(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "user-data").write_bytes(content)
    event = printed(run, "deploy", *VM, "--user-data", str(tmp_path / "user-data"))

    assert "guest" not in event["data"]
    user_data = unsealed(event).user_data
    assert user_data is not None
    assert user_data.content().get_secret_value() == content
    assert base64.b64encode(content).decode() not in json.dumps(event)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["no line end", "unix", "windows"])
def test_a_password_comes_from_a_file_or_standard_input_and_is_printed_sealed(
    run: Run, tmp_path: Path, end: str
) -> None:
    (tmp_path / "password").write_bytes(f"{PASSWORD}{end}".encode())
    from_file = printed(run, "password-reset", *VM, "--password-file", str(tmp_path / "password"))
    from_stdin = printed(run, "password-reset", *VM, "--password-file", "-", stdin=f"{PASSWORD}{end}".encode())

    for event in (from_file, from_stdin):
        assert password_of(event) == PASSWORD
        assert PASSWORD not in json.dumps(event)


def test_a_password_can_be_asked_for(run: Run) -> None:
    run("keys", "generate")
    shown = run("event", "password-reset", *VM, "--password-prompt", stdin=f"{PASSWORD}\n{PASSWORD}\n")

    assert shown.exit_code == ExitCode.DONE
    assert password_of(json.loads(shown.stdout)) == PASSWORD
    assert PASSWORD not in shown.output


def test_no_option_takes_a_password_itself(run: Run) -> None:
    assert run("event", "start", *VM, "--password", PASSWORD).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("command", "options", "stdin", "message"),
    [
        ("start", ["--sequence", "many"], "", "neither a number nor 'next'"),
        ("start", ["--vm", "web 1"], "", "is neither a VM's uuid"),
        ("start", ["--wait"], "", "--wait needs --publish"),
        ("start", ["--metadata", "novalue"], "", "--metadata: needs the form KEY=VALUE"),
        ("start", ["--nic", "mac=02:00:00:00:00:01,ip=1"], "", "unknown key 'ip'"),
        ("start", ["--nic", "mac=02:00:00:00:00:01,mtu=big"], "", "are numbers"),
        ("start", ["--password-file", "-"], f"{PASSWORD}\n{PASSWORD}\n", "has more than one line"),
        ("start", ["--password-file", "-"], b"\xff" + PASSWORD.encode(), "is not UTF-8"),
        ("start", ["--password-file", "-", "--user-data", "-"], PASSWORD, "not both"),
        ("start", ["--password-file", "-", "--password-prompt"], PASSWORD, "not both"),
        ("start", ["--password-file", "/nowhere/password"], "", "does not exist"),
        ("password-reset", [], "", "--password-file or --password-prompt"),
    ],
)
def test_wrong_usage_is_reported_without_the_secret(
    run: Run, command: str, options: list[str], stdin: str | bytes, message: str
) -> None:
    shown = run("event", command, *VM, *options, stdin=stdin)

    assert shown.exit_code == ExitCode.USAGE
    assert message in shown.stderr
    assert PASSWORD not in shown.output


@pytest.mark.parametrize(
    ("options", "stdin", "field"),
    [
        (["--label", "seventeen-letters"], "", "data.label"),
        (["--sequence", "-1"], "", "data.sequence"),
        (["--name", "a\nb"], "", "data.vm.instance_name"),
        (["--host", "kvm 01"], "", "data.host"),
        (["--password-file", "-"], PASSWORD + "\x07", "data.guest: password"),
        (["--password-file", "-"], PASSWORD * 100, "data.guest.password"),
        (["--ssh-key", "-"], f"-----BEGIN OPENSSH PRIVATE KEY-----\n{PASSWORD}\n", "data.guest.ssh_keys"),
        (["--nic", "mac=02:00:00:00:00:01,cidr=10.0.0.500/24"], "", "data.guest.nics"),
    ],
    ids=["label", "sequence", "name", "host", "control character", "too long", "private key", "address"],
)
def test_a_bad_value_names_the_field_and_not_the_value(run: Run, options: list[str], stdin: str, field: str) -> None:
    shown = run("event", "start", *VM, *options, stdin=stdin)

    assert shown.exit_code == ExitCode.FAILED
    assert field in shown.stderr
    assert "remedy:" in shown.stderr
    assert PASSWORD not in shown.output


def test_the_next_sequence_needs_redis(run: Run) -> None:
    assert run("event", "start", *VM, "--sequence", "next").exit_code == ExitCode.UNAVAILABLE
