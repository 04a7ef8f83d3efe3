"""What commands say before they reach Redis, and when they cannot."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.workers.cli.conftest import REDIS_PASSWORD, Run
from workers.cli.errors import ExitCode
from workers.cli.watch import _position

UUID = "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"
EVENT = json.dumps(
    {
        "id": "e1",
        "source": "test",
        "type": "configdrive.vm.stop.v1",
        "data": {"sequence": 1, "vm": {"uuid": UUID, "instance_name": "i-1"}, "hypervisor": "simulated"},
    }
)


@pytest.mark.parametrize(
    "args",
    [
        ["publish", "-"],
        ["publish", "-", "--wait", "--json"],
        ["watch"],
        ["show"],
        ["show", UUID, "--json"],
        ["retry", UUID],
        ["retry", "--all-parked"],
        ["skip", UUID, "--yes"],
        ["dead"],
        ["wake"],
        ["wake", "--dry-run"],
        ["functions", "load"],
        ["keys", "list", "--usage"],
    ],
    ids=" ".join,
)
def test_a_redis_that_is_away_is_reported_without_its_password(run: Run, args: list[str]) -> None:
    run("keys", "generate")
    shown = run(*args, stdin=EVENT)

    assert shown.exit_code == ExitCode.UNAVAILABLE
    assert shown.stderr.startswith(
        "configdrive: Redis at 127.0.0.1:1 cannot be reached (Connection refused)\n  remedy: "
    )
    assert REDIS_PASSWORD not in shown.output


@pytest.mark.parametrize("args", [["show"], ["publish", "-"], ["doctor"], ["worker", "--hypervisor", "simulated"]])
def test_wrong_settings_are_named_without_their_value(
    run: Run, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    monkeypatch.setenv("CONFIGDRIVE_LEASE_SECONDS", "Hunter2")
    shown = run(*args, stdin=EVENT)

    assert shown.exit_code == (ExitCode.FAILED if args == ["doctor"] else ExitCode.MISCONFIGURED)
    assert "lease_seconds" in shown.output
    assert "Hunter2" not in shown.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["publish"], "Missing argument 'FILE'"),
        (["publish", "/nowhere/event.json"], "does not exist"),
        (["retry"], "give a VM, or --all-parked"),
        (["retry", UUID, "--all-parked"], "give a VM, or --all-parked"),
        (["retry", UUID, "--code", "storage_full"], "--code needs --all-parked"),
        (["retry", "--all-parked", "--event", "e1"], "--event needs a VM"),
        (["show", "web 1"], "is neither a VM's uuid"),
        (["wake", "--every", "1", "--dry-run"], "--every goes with neither"),
        (["wake", "--every", "0"], "0"),
        (["watch", "--since", "yesterday"], "is none of 90s"),
        (["worker"], "Missing option '--hypervisor'"),
        (["worker", "--hypervisor", "kvm", "--pool", "gevent"], "'gevent' is not one of"),
    ],
)
def test_wrong_usage_is_explained(run: Run, args: list[str], message: str) -> None:
    shown = run(*args)

    assert shown.exit_code == ExitCode.USAGE
    assert message in shown.stderr


@pytest.mark.parametrize(
    ("option", "holds"),
    [
        ((), {'"DeployData"', '"configdrive.vm.deploy.v1"', '2020-12/schema"'}),
        (("--outcome",), {'"event_id"', '2020-12/schema"'}),
        (("--asyncapi",), {'"asyncapi": "3.1.0"'}),
    ],
)
def test_each_contract_is_printed(run: Run, option: tuple[str, ...], holds: set[str]) -> None:
    shown = run("schema", *option)
    assert shown.exit_code == ExitCode.DONE
    assert [word for word in holds if word not in json.dumps(json.loads(shown.stdout))] == []


def test_a_worker_needs_a_driver_and_its_table(run: Run, tmp_path: Path) -> None:
    (tmp_path / "inventory.toml").write_text("")
    unknown = run("worker", "--hypervisor", "hyper-w")
    no_table = run("worker", "--hypervisor", "simulated")
    (tmp_path / "inventory.toml").unlink()
    no_inventory = run("worker", "--hypervisor", "simulated")

    assert {shown.exit_code for shown in (unknown, no_table, no_inventory)} == {ExitCode.MISCONFIGURED}
    assert "installed are: " in unknown.stderr
    assert "[simulated]" in no_table.stderr
    assert "CONFIGDRIVE_INVENTORY" in no_inventory.stderr


def test_a_worker_takes_from_known_zones_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGDRIVE_ZONES", '["berlin"]')
    shown = run("worker", "--hypervisor", "simulated", "--zone", "paris")

    assert shown.exit_code == ExitCode.MISCONFIGURED
    assert "zone 'paris'" in shown.stderr
    assert "known are: berlin" in shown.stderr


def test_the_beginning_of_watching_is_a_position_in_the_stream() -> None:
    now = time.time()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)

    assert _position("all") == "0"
    assert abs(int(_position("90s")) / 1000 - (now - 90)) < 5
    assert abs(int(_position("2h")) / 1000 - (now - 7200)) < 5
    assert abs(int(_position(hour_ago.isoformat())) / 1000 - hour_ago.timestamp()) < 0.01
    assert _position("1900-01-01T00:00:00+00:00") == "0"
