"""The webhooks' server as CloudStack meets it: a process of its own, over HTTPS."""

import itertools
import socket
import ssl
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack, machine
from rigs.process import LOOPBACK
from rigs.redis import RedisServer
from tests.integration.cloudstack.cutting import CuttingProxy
from tests.integration.cloudstack.site import AdapterSite, Hook, idle_fleet, sign, started
from tests.support import require_rig
from tests.unit.workers.cloudstack.recorded import body
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES

CLOUDSTACK_TRIES = 3


@pytest.fixture
def hook(shared_hook: Hook, site: AdapterSite) -> Hook:
    """An adapter's server; what it leaves is looked for in its site."""
    assert shared_hook.daemon.running, site.log
    return shared_hook


def test_a_signed_payload_is_stored_before_it_is_answered_and_once(hook: Hook, site: AdapterSite, running: str) -> None:
    payload = started(running)

    assert hook.post(payload, X_CS_Event_ID="e-1", X_CS_Event="VM.START") == 200
    assert site.types(running) == ["start"]
    assert hook.post(payload, X_CS_Event_ID="e-1") == 200
    assert hook.post(started(running, 2)) == 200
    assert site.types(running) == ["start"]


def test_a_payload_without_the_right_signature_is_refused_and_leaves_nothing(
    hook: Hook, site: AdapterSite, running: str
) -> None:
    payload = started(running)
    right = sign(payload)
    before = site.everything_in_redis()
    for wrong in (
        "",
        sign(payload, "another"),  # of another key
        sign(payload + b" "),  # of other bytes
        "*" * len(right),
        right[:-4],
        "ä" + right[1:],
    ):
        assert hook.post(payload, signature=wrong) == 401, wrong
        assert hook.call("POST", "/", b"no JSON either", {"X-CS-Signature": wrong.encode().decode("latin-1")}) == 401
    assert hook.call("POST", "/", payload, {}) == 401
    assert site.types(running) == []
    assert site.everything_in_redis() == before
    assert site.dead_letters() == []
    assert site.cloudstack.calls == []


def test_what_leads_to_nothing_is_answered_with_200_so_that_it_does_not_come_again_but_no_json_with_400(
    hook: Hook, site: AdapterSite
) -> None:
    for name in ("webhook-trial", "action-destroy-scheduled", "action-reboot-completed", "action-volume-create"):
        assert hook.post(body(name)) == 200
    assert hook.post(body("action-null-uuid-nowhere")) == 200

    (letter,) = site.dead_letters()
    assert letter.origin == "cloudstack webhook"
    assert [hook.post(unreadable) for unreadable in (b"no JSON", b"[1]")] == [400, 400]
    assert len(site.dead_letters()) == 3


def test_what_is_too_large_is_refused_before_it_is_there(hook: Hook, certificates: Certificates) -> None:
    large = b" " * (MAX_PAYLOAD_BYTES + 1)
    assert hook.call("POST", "/", iter([large]), {"X-CS-Signature": sign(large), "Transfer-Encoding": "chunked"}) == 413

    context = ssl.create_default_context(cafile=certificates.directory / "cacert.pem")
    with (
        socket.create_connection((LOOPBACK, hook.port), timeout=600) as plain,
        context.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
    ):
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_PAYLOAD_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
        assert hook.call("GET", "/health") == 200


def test_other_calls_are_refused(hook: Hook) -> None:
    assert hook.call("GET", "/health") == 200
    assert hook.call("GET", "/") == 405
    assert hook.call("PUT", "/", b"{}") == 405
    assert hook.call("POST", "/elsewhere", b"{}") == 404


def test_while_cloudstack_s_api_is_away_or_refuses_our_keys_a_payload_must_come_again_and_each_is_counted(
    hook: Hook, site: AdapterSite, running: str
) -> None:
    before = hook.counted()
    for site.cloudstack.status in (503, 401):
        assert hook.post(started(running)) == 503
    assert (site.types(running), site.dead_letters()) == ([], [])
    site.cloudstack.status = None
    for payload in (started(running), started(running), b"no JSON", body("webhook-trial")):
        hook.post(payload)
    assert site.types(running) == ["start"]

    counted = {result: number - before[result] for result, number in hook.counted().items()}
    assert counted == {"published": 1, "duplicate": 1, "dead_letter": 1, "ignored": 1, "retried": 2, "stale": 0}
    assert hook.post(b"{}", signature="") == 401
    assert sum(hook.counted().values()) == sum(before.values()) + 6, "a stranger's call is no notice"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with require_rig(), RedisServer(tmp_path / "own-redis") as server:
        yield server


def test_while_redis_is_away_a_payload_must_come_again_and_term_ends_all_in_order(
    own_redis: RedisServer, tmp_path: Path, cloudstack: CloudStack, certificates: Certificates, running: str
) -> None:
    with idle_fleet(tmp_path, own_redis) as fleet, AdapterSite(tmp_path, fleet, cloudstack) as site:
        hook = site.webhook(certificates)
        own_redis.stop()
        assert hook.post(started(running)) == 503
        own_redis.start()
        assert hook.post(started(running)) == 200
        assert site.types(running) == ["start"]

        assert hook.terminate() == 0
        assert "ended: 1 published" in site.log


@pytest.fixture(scope="module")
def breaking(
    shared_site: AdapterSite, redis_server: RedisServer, certificates: Certificates
) -> Iterator[tuple[CuttingProxy, Hook]]:
    """An adapter's server whose way to Redis breaks."""
    settings = shared_site.fleet.settings
    with CuttingProxy(redis_server.port) as proxy:
        url = settings.redis_url.get_secret_value().replace(f":{redis_server.port}", f":{proxy.port}")
        patient = {"CONFIGDRIVE_CLOUDSTACK__WEBHOOK_SECONDS": "60"}
        hook = shared_site.webhook(certificates, CONFIGDRIVE_REDIS_URL=url, **patient)
        yield proxy, hook
        assert hook.terminate() == 0


def test_a_call_is_kept_waiting_while_redis_is_away_as_cloudstack_tries_again_at_once(
    breaking: tuple[CuttingProxy, Hook], site: AdapterSite, running: str
) -> None:
    proxy, hook = breaking
    proxy.forget(lambda sent: "asked" if sent < 12 else None)
    assert hook.post(started(running)) == 200
    assert proxy.cut == 12
    assert site.types(running) == ["start"]


@pytest.mark.parametrize("before", ["asked", "answered"])
def test_200_means_stored_wherever_the_way_to_redis_breaks(
    breaking: tuple[CuttingProxy, Hook], site: AdapterSite, cloudstack: CloudStack, before: str
) -> None:
    proxy, hook = breaking
    for number in itertools.count():
        vm = str(uuid.uuid4())
        cloudstack.vms[vm] = machine(vm)
        proxy.forget({number: before}.get)
        tries = [hook.post(started(vm)) for _ in range(CLOUDSTACK_TRIES)]
        assert set(tries) <= {200, 503}
        assert tries[-1] == 200, (number, tries)
        assert site.types(vm) == ["start"], number
        if not proxy.cut:
            break
    assert number > 5, "lock, look, check, put, keep, release"
    assert site.dead_letters() == []


def test_200_means_stored_under_load_too(
    breaking: tuple[CuttingProxy, Hook], site: AdapterSite, cloudstack: CloudStack
) -> None:
    proxy, hook = breaking
    vms = [str(uuid.uuid4()) for _ in range(24)]
    cloudstack.vms.update({vm: machine(vm) for vm in vms})

    def post(vm: str) -> None:
        while hook.post(started(vm)) != 200:
            pass
        assert site.types(vm) == ["start"]

    proxy.forget(lambda sent: {5: "asked", 26: "answered"}.get(sent % 41))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(post, [*vms, *vms]))
    assert proxy.cut > 5
    assert site.dead_letters() == []
