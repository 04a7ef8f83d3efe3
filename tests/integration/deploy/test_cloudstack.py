"""The adapter for CloudStack as the compose file runs it: with a login and secrets of its own, and a sign of life."""

import http.client
import json
import os
import shutil
import ssl
import uuid
from collections.abc import Iterator

import pytest

from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack, machine
from rigs.process import LOOPBACK, free_port
from tests.integration.cloudstack.site import SECRET, sign, started
from tests.integration.deploy.compose import Service, Stack, begun, configdrive
from tests.integration.metrics.asking import scrape
from tests.support import require_rig, wait_until
from workers.cloudstack.gate import Verdict
from workers.cloudstack.gate_tokens import new_token


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with begun(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def cloudstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStack]:
    with require_rig(), CloudStack(Certificates.make(tmp_path_factory.mktemp("pki"), LOOPBACK)) as server:
        yield server


def configured(service: Service, cloudstack: CloudStack) -> Service:
    """Put into the service's directory what its owner has to put there."""
    pki = cloudstack.ca_file.parent
    cloudstack.environment(service.configuration)  # writes the keys
    (service.configuration / "cloudstack.toml").write_text(
        f'[cloudstack]\nurl = "{cloudstack.url}"\nca_file = "{cloudstack.ca_file}"\ndrives_for = "all"\n'
        "gate_seconds = 2\n"
        f'amqp_url = "amqp://guest:swordfish@{LOOPBACK}:{free_port()}/"\n'
    )
    for server in ("webhook", "gate"):
        shutil.copy(pki / "servercert.pem", service.configuration / f"{server}.pem")
        shutil.copy(pki / "serverkey.pem", service.configuration / f"{server}.key")
    (service.configuration / "webhook.secret").write_text(SECRET)
    for file in ("cloudstack.keys", "webhook.secret", "webhook.key", "gate.key"):
        (service.configuration / file).chmod(0o600)
    return service


def test_one_that_waits_for_rabbitmq_is_healthy_and_ends_in_order(stack: Stack, cloudstack: CloudStack) -> None:
    service = configured(stack.service("cloudstack"), cloudstack)
    service.start()
    wait_until(lambda: "RabbitMQ is away" in service.log.read_text(), "a try", timeout=30)
    assert service.healthy()
    os.utime(service.temporary / "alive", (1, 1))
    wait_until(service.healthy, "a sign of life while RabbitMQ is away", timeout=30, interval=0.2)
    assert service.stop() == 0
    assert "swordfish" not in service.log.read_text()
    assert (service.temporary / "settings.toml").stat().st_mode & 0o777 == 0o600


def test_a_webhook_becomes_an_event_by_the_login_that_init_made(stack: Stack, cloudstack: CloudStack) -> None:
    service = configured(stack.service("cloudstack-webhook"), cloudstack)
    service.start()
    wait_until(lambda: "listening on" in service.log.read_text(), "the webhook", timeout=30)
    vm = str(uuid.uuid4())
    cloudstack.vms[vm] = machine(vm)
    body = started(vm)
    trusting = ssl.create_default_context(cafile=cloudstack.ca_file)
    client = http.client.HTTPSConnection(LOOPBACK, int(service.outside("8443")), timeout=600, context=trusting)
    client.request("POST", "/", body, {"X-CS-Signature": sign(body)})
    assert client.getresponse().status == 200
    client.close()
    assert "start" in configdrive(stack, "worker", "show", vm)
    page = scrape(service.outside("http://127.0.0.1:9109/metrics"))
    assert page.sum("configdrive_cloudstack_notices_total", entry_point="webhook", result="published") == 1
    assert "NOPERM" not in service.log.read_text()
    assert service.healthy()
    assert service.stop() == 0


def test_a_host_s_question_becomes_a_start_by_the_login_that_init_made(stack: Stack, cloudstack: CloudStack) -> None:
    service = configured(stack.service("cloudstack-gate"), cloudstack)
    new_token(service.configuration / "gate.tokens", "other")
    service.start()
    wait_until(lambda: "listening on" in service.log.read_text(), "the gate", timeout=30)
    token = new_token(service.configuration / "gate.tokens", "h1")  # known at once, without a restart
    vm = str(uuid.uuid4())
    cloudstack.vms[vm] = machine(vm, state="Starting", hostname="h1")

    def asks(method: str, path: str, body: str | None = None) -> tuple[int, str]:
        trusting = ssl.create_default_context(cafile=cloudstack.ca_file)
        client = http.client.HTTPSConnection(LOOPBACK, int(service.outside("8444")), timeout=600, context=trusting)
        client.request(method, path, body, {"Authorization": f"Bearer {token}"})
        answer = client.getresponse()
        said = answer.status, answer.read().decode()
        client.close()
        return said

    assert asks("GET", "/host") == (200, "h1\n")
    question = {
        "uuid": vm,
        "host": "h1",
        "definition": {"machine": "pc", "disks": [{"target": "vda", "bus": "virtio"}]},
    }
    status, said = asks("POST", "/start", json.dumps(question))
    assert (status, json.loads(said)["verdict"]) == (504, "late"), said  # no worker runs
    assert asks("POST", "/start", "{}")[0] == 400
    assert "start" in configdrive(stack, "worker", "show", vm)
    page = scrape(service.outside("http://127.0.0.1:9109/metrics"))
    counted = {verdict: page.sum("configdrive_gate_answers_total", verdict=verdict) for verdict in Verdict}
    assert counted == dict.fromkeys(Verdict, 0) | {Verdict.LATE: 1, Verdict.REFUSED: 1}
    assert page.sum("configdrive_gate_seconds_count", verdict="late") == 1
    assert "NOPERM" not in service.log.read_text()
    assert service.healthy()
    assert service.stop() == 0
