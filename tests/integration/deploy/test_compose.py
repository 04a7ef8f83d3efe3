"""docker-compose.yml, run as processes: what it says works, and each role may do what it needs and no more."""

from __future__ import annotations

import json
import os
import tomllib
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
import redis

from rigs.cloud import VmScript, key_of
from rigs.go_client import GoClient
from tests.integration.deploy.compose import ROOT, configdrive, read_services
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from tests.integration.deploy.compose import Stack

SERVICES = read_services()


def client_of(stack: Stack, role: str) -> redis.Redis:
    settings = tomllib.loads((stack.volume(f"secrets-{role}") / "settings.toml").read_text())
    return redis.Redis.from_url(settings["redis_url"], decode_responses=True, socket_timeout=5)


def test_an_event_goes_from_the_publisher_through_the_stack(stack: Stack) -> None:
    vm = VmScript()
    events = "\n".join(json.dumps(vm.event(kind, host="host-01")) for kind in ("deploy", "start"))
    reported = configdrive(stack, "publisher", "publish", "--wait", "-", given=events)
    assert "2 stored, 2 applied" in reported
    flower = stack.services["flower"]
    login = (stack.volume("secrets-flower") / "login").read_text().strip()
    request = urllib.request.Request(  # noqa: S310  # our own loopback address
        flower.outside("http://127.0.0.1:5555/api/tasks"),
        headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"},
    )

    def seen() -> bool:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # as above
            return vm.uuid in answer.read().decode()

    wait_until(seen, "Flower to show the events", timeout=20, interval=0.2)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(flower.outside("http://127.0.0.1:5555/"), timeout=10)  # noqa: S310  # as above
    # And nobody asked Redis for more than they may.
    for name, service in stack.services.items():
        reported = service.log.read_text() if service.log.exists() else ""
        assert "permission" not in reported, name
        assert "NOPERM" not in reported, name


@pytest.mark.parametrize(("way", "role"), [("publish", "intake"), ("call", "publisher")])
def test_a_program_in_another_language_needs_no_more_than_its_role_has(stack: Stack, way: str, role: str) -> None:
    if way == "call":
        configdrive(stack, "worker", "functions", "load")
    settings = tomllib.loads((stack.volume(f"secrets-{role}") / "settings.toml").read_text())
    with require_rig():
        client = GoClient(settings["redis_url"].removesuffix("/0"), settings["public_key"])
    vm, guest = VmScript(), {"password": "swordfish"}
    event = {**vm.event("start", host="host-01", guest=guest), "time": "2026-03-10T12:33:00Z"}
    (outcome,) = client.send(way, event)
    assert (outcome["status"], client.said) == ("applied", "")
    with redis.Redis.from_url(settings["redis_url"]) as asking:
        nonce, content, reported = asking.get(f"configdrive:seen:{key_of(event)}").split(b" ", 2)
    assert nonce
    assert content.decode() == f"start:{vm.uuid}:1"
    assert reported


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("publisher", "LRANGE configdrive:mail:{vm} 0 -1"),
        ("publisher", "HGET configdrive:body:{vm} {event}"),
        ("publisher", "HMGET configdrive:body:{vm} {event}"),
        ("publisher", "HGETALL configdrive:body:{vm}"),
        ("publisher", "HGETALL configdrive:vm:{vm}"),
        ("publisher", "DEL configdrive:mail:{vm}"),
        ("publisher", "KEYS *"),
        ("publisher", "XADD configdrive:outcomes * event x outcome x"),
        ("publisher", "BRPOP configdrive:configdrive.simulated 1"),
        ("publisher", "FLUSHALL"),
        ("worker", "FLUSHALL"),
        ("worker", "FLUSHDB"),
        ("worker", "SCRIPT FLUSH"),
        ("worker", "CONFIG GET requirepass"),
        ("worker", "ACL LIST"),
        ("worker", "SHUTDOWN"),
        ("worker", "GET another:fleet"),
        ("flower", "LRANGE configdrive:mail:{vm} 0 -1"),
        ("flower", "HGETALL configdrive:vm:{vm}"),
        ("flower", "HGETALL configdrive:body:{vm}"),
        ("flower", "RPUSH configdrive:mail:{vm} x"),
        ("flower", "LPUSH configdrive:configdrive.simulated x"),
        ("flower", "EVAL return 0"),
        ("flower", "FLUSHALL"),
        (None, "GET configdrive:queues"),
        (None, "INFO"),
        (None, "CLIENT LIST"),
    ],
)
def test_a_role_may_not(stack: Stack, role: str | None, command: str) -> None:
    words = command.format(vm="6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", event="x").split()
    if role is None:
        client = redis.Redis(port=int(stack.services["redis"].outside("6379")), socket_timeout=5)
    else:
        client = client_of(stack, role)
    with client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)  # type: ignore[no-untyped-call]


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
def test_every_service_is_confined_and_watched(name: str) -> None:
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


def test_every_file_that_the_services_mount_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source
