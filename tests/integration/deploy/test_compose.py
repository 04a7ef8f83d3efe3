"""docker-compose.yml, run as processes: what it says works, and each role may do what it needs and no more."""

import inspect
import json
import os
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from typing import Any

import pytest
import redis
from celery import Celery
from celery.worker.control import Panel
from pydantic import SecretStr

from rigs.cloud import VmScript, key_of
from rigs.go_client import GoClient
from tests.integration.deploy.compose import ROOT, Stack, configdrive, read_services
from tests.integration.deploy.conftest import RUNNING
from tests.support import require_rig, wait_until
from tests.unit.docs.commands import assert_accepted
from workers.cli.program import COMMANDS
from workers.config.settings import Settings
from workers.queueing.app import make_app

SERVICES = read_services()


def test_an_event_goes_from_the_publisher_through_the_stack(stack: Stack) -> None:
    vm = VmScript()
    events = "\n".join(json.dumps(vm.event(kind, host="host-01")) for kind in ("deploy", "start"))
    reported = configdrive(stack, "publisher", "publish", "--wait", "-", given=events)
    assert "2 stored, 2 applied" in reported
    flower = stack.services["flower"]
    wait_until(
        lambda: vm.uuid in asked_of_flower(stack, "/api/tasks"), "Flower to show the events", timeout=20, interval=0.2
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(flower.outside("http://127.0.0.1:5555/"), timeout=600)  # noqa: S310  # as above
    # And nobody asked Redis for more than they may.
    for name, service in stack.services.items():
        reported = service.log.read_text() if service.log.exists() else ""
        assert "permission" not in reported, name
        assert "NOPERM" not in reported, name


@pytest.mark.parametrize(("way", "role"), [("publish", "intake"), ("call", "publisher")])
def test_a_program_in_another_language_needs_no_more_than_its_role_has(stack: Stack, way: str, role: str) -> None:
    if way == "call":
        configdrive(stack, "worker", "functions", "load")
    settings = stack.settings(role)
    with require_rig():
        client = GoClient(settings["redis_url"].removesuffix("/0"), settings["public_key"])
    vm, guest = VmScript(), {"password": "swordfish"}
    event = {**vm.event("start", host="host-01", guest=guest), "time": "2026-03-10T12:33:00Z"}
    (outcome,) = client.send(way, event)
    assert (outcome["status"], client.said) == ("applied", "")
    with stack.client(role) as asking:
        nonce, content, reported = asking.get(f"configdrive:seen:{key_of(event)}").split(b" ", 2)
    assert nonce
    assert content == b"="
    assert json.loads(reported) == outcome


CHANNEL = "configdrive:/0.celery.pidbox"
SILENT = ("publisher", "intake", "cloudstack", None)
"""Logins that may publish on no channel."""


def commands(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every command that Celery's control panel has, whatever its version, with arguments that would do harm."""
    harm = {
        "task_id": key_of(event),
        "terminate": True,
        "signal": "SIGKILL",
        "n": 1,
        "max": 0,
        "min": 0,
        "queue": "configdrive.simulated",
        "task_name": "configdrive.start",
        "rate_limit": "1/h",
        "soft": 0.001,
        "hard": 0.001,
        "from_node": "x@y",
        "ids": [],
        "headers": {"id": ["x"]},
    }
    named = {name: inspect.signature(function).parameters for name, function in Panel.data.items()}
    return {name: {one: value for one, value in harm.items() if one in wanted} for name, wanted in named.items()}


def test_no_login_can_stop_silence_or_slow_a_worker_by_any_command_of_celery_s(stack: Stack) -> None:
    vm = VmScript()
    event = vm.event("start", host="host-01")
    sent = commands(event)
    app = make_app(Settings(redis_url=SecretStr(stack.settings("worker")["redis_url"])))
    before = at_work(app)
    payloads: dict[str, bytes] = {}
    with stack.client("worker") as client, client.pubsub(ignore_subscribe_messages=True) as listening:
        listening.psubscribe(CHANNEL)
        for name, arguments in sent.items():
            app.control.broadcast(name, arguments=arguments)

        def all_heard() -> bool:
            while (heard := listening.get_message(timeout=0.05)) is not None:
                payloads[json.loads(b64decode(json.loads(heard["data"])["body"]))["method"]] = heard["data"]
            return payloads.keys() >= sent.keys()

        wait_until(all_heard, "what a worker's login sends", timeout=20)
    for role in SILENT:
        with stack.client(role) as client:
            for payload in payloads.values():
                with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.AuthenticationError)):
                    client.publish(CHANNEL, payload)
    with stack.client("flower") as client:
        for payload in payloads.values():
            client.publish(CHANNEL, payload)
    assert at_work(app) == before
    reported = configdrive(stack, "publisher", "publish", "--wait", "-", given=json.dumps(event))
    assert "applied" in reported
    pages = json.loads(asked_of_flower(stack, "/api/workers?refresh=1"))
    assert {worker for worker, about in pages.items() if about["active_queues"]} == before.keys()
    assert stack.services["worker-simulated"].healthy()


def at_work(app: Celery) -> dict[str, Any]:
    """Return what each worker serves, and with how many processes."""
    asking = app.control.inspect(timeout=600, limit=sum(name.startswith("worker-") for name in RUNNING))
    queues, stats = asking.active_queues() or {}, asking.stats() or {}
    return {
        name: ([queue["name"] for queue in queues[name]], stats[name]["pool"]["processes"], stats[name]["pid"])
        for name in queues
    }


def asked_of_flower(stack: Stack, path: str) -> str:
    login = (stack.volume("secrets-flower") / "login").read_text().strip()
    request = urllib.request.Request(  # noqa: S310  # our own loopback address
        stack.services["flower"].outside(f"http://127.0.0.1:5555{path}"),
        headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310  # as above
        return str(answer.read().decode())


def test_a_service_that_hangs_is_not_healthy(stack: Stack) -> None:
    service = stack.services["worker-kvm"]
    assert service.healthy()
    alive = service.temporary / "alive"
    os.utime(alive, (1, 1))  # as it would be half a minute after the worker's loop hung
    service.freeze()
    try:
        assert not service.healthy()
    finally:
        service.resume()
    wait_until(service.healthy, "the worker to be healthy again", timeout=20, interval=0.2)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_confined_and_watched_and_runs_a_command_that_there_is(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "container_name" not in service  # it could not be scaled
    if service["image"].startswith("configdrive-fleet"):
        # The image's own user, whom the Dockerfile names.
        assert "user" not in service
        if service["command"][0] in COMMANDS:
            assert_accepted(service["command"])


def test_every_file_that_the_services_mount_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source
