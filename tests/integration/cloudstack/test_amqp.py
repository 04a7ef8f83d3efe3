"""The entry point for the event bus on a real RabbitMQ, with messages as CloudStack publishes them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange

from rigs.process import wait_until
from rigs.rabbitmq import RabbitMq
from tests.integration.cloudstack.site import PASSWORD, AdapterSite, started
from tests.unit.workers.cloudstack.recorded import state

EXCHANGE = Exchange("cloudstack-events", type="topic", durable=True)


class Bus:
    """CloudStack's side of RabbitMQ."""

    def __init__(self, connection: Connection) -> None:
        self._channel: Any = connection.channel()
        self._producer = connection.Producer(self._channel)
        EXCHANGE(self._channel).declare()

    def publish(self, body: bytes, key: str) -> None:
        """Publish as `RabbitMQEventBus` does."""
        self._producer.publish(body, exchange=EXCHANGE, routing_key=key, content_type=None, content_encoding="binary")

    def waiting(self, queue: str) -> int:
        """Return how many messages of a queue nobody has in work."""
        return int(self._channel.queue_declare(queue, passive=True).message_count)


@pytest.fixture
def bus(rabbitmq: RabbitMq) -> Iterator[Bus]:
    with Connection(rabbitmq.url) as connection:
        yield Bus(connection)


def key(vm: str, category: str = "ActionEvent", event: str = "VM-START") -> str:
    return f"management-server.{category}.{event}.VirtualMachine.{vm}"


@contextmanager
def away(site: AdapterSite) -> Iterator[None]:
    site.cloudstack.status = 503
    try:
        yield
    finally:
        site.cloudstack.status = None


def test_what_is_published_is_stored_acknowledged_and_never_lost(
    site: AdapterSite, rabbitmq: RabbitMq, bus: Bus, running: str, tmp_path: Path
) -> None:
    vm = running
    queue = f"configdrive-{vm}"
    alive = tmp_path / "alive"
    sign = {"CONFIGDRIVE_HEALTH_FILE": str(alive)}
    daemon = site.adapter("amqp", environment=sign, AMQP_URL=rabbitmq.url, AMQP_QUEUE=queue)
    assert_fresh_again(alive)
    state_key = key(vm, "ResourceStateEvent", "OperationSucceeded")

    # In order, doubled, of other resources, with the uuid in the routing key only.
    bus.publish(state("Starting", "Running", 1, vm=vm), state_key)
    bus.publish(state("Starting", "Running", 1, vm=vm), state_key)
    bus.publish(b'{"resource": "Volume"}', "management-server.ResourceStateEvent.x.Volume.1")
    job: dict[str, Any] = {
        "jobId": vm,
        "commandEventType": "VM.RESETPASSWORD",
        "instanceUuid": None,
        "instanceType": None,
    }
    job |= {"status": "SUCCEEDED", "jobResult": {"password": PASSWORD}, "cmdInfo": {"id": vm}}
    bus.publish(json.dumps(job).encode(), "management-server.AsyncJobEvent.complete.unknown.")
    wait_until(lambda: site.types(vm) == ["start", "password_reset"], "the events", timeout=30)
    site.cloudstack.vms[vm]["state"] = "Stopped"
    bus.publish(state("Stopping", "Stopped", 5, vm=None), state_key)
    wait_until(lambda: site.types(vm) == ["start", "password_reset", "stop"], "the stop", timeout=30)

    # What cannot be taken stays with RabbitMQ, also when the adapter dies over it.
    with away(site):
        bus.publish(started(vm, 10), key(vm))
        wait_until(lambda: "not taken now" in daemon.log.read_text(), "a try", timeout=30)
        assert_fresh_again(alive)
        daemon.kill()
    wait_until(lambda: bus.waiting(queue) == 1, "the message to be back", timeout=30)

    # What comes while no adapter is there waits for the next one.
    site.cloudstack.vms[vm]["state"] = "Running"
    bus.publish(b"no JSON", key(vm))
    again = site.adapter("amqp", AMQP_URL=rabbitmq.url, AMQP_QUEUE=queue)
    wait_until(lambda: site.types(vm)[3:] == ["start"], "the second start", timeout=30)
    wait_until(lambda: len(site.dead_letters()) == 1, "the dead letter", timeout=30)
    wait_until(lambda: bus.waiting(queue) == 0, "an empty queue", timeout=30)
    again.stop()
    assert bus.waiting(queue) == 0

    assert PASSWORD.encode() not in site.everything_in_redis()
    assert "guest:guest" not in site.log


def test_over_tls_a_rabbitmq_that_is_trusted_is_listened_to_and_no_other(
    site: AdapterSite, rabbitmq: RabbitMq, bus: Bus, running: str
) -> None:
    queue = f"configdrive-{running}"
    trusts_nobody = site.adapter(
        "amqp", says="set cloudstack.amqp_ca_file", AMQP_URL=rabbitmq.tls_url, AMQP_QUEUE=queue
    )
    trusts_nobody.stop()
    authority = str(site.cloudstack.ca_file)
    daemon = site.adapter("amqp", AMQP_URL=rabbitmq.tls_url, AMQP_QUEUE=queue, AMQP_CA_FILE=authority)
    bus.publish(started(running), key(running))
    wait_until(lambda: site.types(running) == ["start"], "the start", timeout=30)
    daemon.stop()


def test_a_login_that_is_refused_is_reported(site: AdapterSite, rabbitmq: RabbitMq, vm: str) -> None:
    url = rabbitmq.url.replace("guest:guest", "guest:Hunter2-of-the-bus")
    shown = site.run("amqp", AMQP_URL=url, AMQP_QUEUE=vm)

    assert shown.returncode == 78, "no supervisor starts it again: it would be refused for ever"
    assert "RabbitMQ refuses the login" in shown.stderr
    assert "Hunter2" not in shown.stdout + shown.stderr


def assert_fresh_again(alive: Path) -> None:
    os.utime(alive, (1, 1))
    wait_until(lambda: alive.stat().st_mtime > 1, "a sign of life", timeout=30)
