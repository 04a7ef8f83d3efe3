"""A Redis that speaks TLS only and asks for a client's certificate: publisher, workers and command line."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from configdrive.client.connection import connect_redis
from configdrive.contract.outcome import Status
from rigs.certificates import Certificates
from rigs.process import LOOPBACK, Daemon, find_program, free_port
from rigs.redis import TlsRedisServer
from tests.e2e.site import QUICK, Site, new_vm
from tests.support import require_rig, run_command, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedisServer]:
    directory = tmp_path_factory.mktemp("tls-redis")
    certificates = Certificates.make(directory / "pki", "redis.example")
    with require_rig():
        server = TlsRedisServer(directory / "redis", certificates.directory)
    with server:
        yield server


def files_of(server: TlsRedisServer) -> dict[str, object]:
    pki = server.pki
    return {
        "redis_ca": pki / "cacert.pem",
        "redis_certificate": pki / "clientcert.pem",
        "redis_certificate_key": pki / "clientkey.pem",
    }


@pytest.fixture
def sentinel(server: TlsRedisServer, tmp_path: Path) -> Iterator[int]:
    """One Sentinel that speaks TLS only, with its master and with us; its port."""
    port, pki = free_port(), server.pki
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"port 0\ntls-port {port}\nbind {LOOPBACK}\ndir {tmp_path}\ntls-replication yes\ntls-auth-clients yes\n"
        f"tls-ca-cert-file {pki}/cacert.pem\ntls-cert-file {pki}/servercert.pem\ntls-key-file {pki}/serverkey.pem\n"
        f"tls-client-cert-file {pki}/clientcert.pem\ntls-client-key-file {pki}/clientkey.pem\n"
        f"requirepass lantern\nsentinel monitor fleet {LOOPBACK} {server.port} 1\n"
    )
    daemon = Daemon([find_program("redis-server", "redis-server"), str(conf), "--sentinel"], tmp_path / "sentinel.log")
    daemon.start()
    try:
        yield port
    finally:
        daemon.stop()


@pytest.mark.parametrize("by_sentinel", [False, True], ids=["directly", "by a Sentinel"])
def test_events_go_through_tls(
    make_site: Callable[..., Site], server: TlsRedisServer, sentinel: int, *, by_sentinel: bool
) -> None:
    """The Sentinel is asked with its own password; its fleet has keys of its own, beside the other on this Redis."""
    url = {"redis_url": f"rediss+sentinel://{LOOPBACK}:{sentinel}/fleet/0", "sentinel_password": "lantern"}
    settings = {**QUICK, **files_of(server), **(url | {"key_prefix": "sentinel:"} if by_sentinel else {})}
    site = make_site(workers=1, redis=server, settings=settings, options=["--pool", "solo"])

    def known() -> bool:
        with connect_redis(site.settings, patient=False) as client, suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    wait_until(known, "the Sentinel to know its master", timeout=20, interval=0.2)
    site.start()
    ids = site.publish(*[new_vm().event("start") for _ in range(20)])
    assert {outcomes[-1].status for outcomes in site.outcomes(ids).values()} == {Status.APPLIED}

    def reported() -> str | None:
        """Give what doctor says once the worker has answered it within its second."""
        shown = run_command(site.environment, "doctor").stdout
        return shown if "OK    worker worker-1@" in shown else None

    shown = wait_until(reported, "the worker to answer", timeout=30)
    assert re.search(r"OK    redis .+: answers", shown)
    assert "FAIL" not in shown
    assert [word for word in ("insecure SSL", "lantern") if word in site.log + shown] == []


@pytest.mark.parametrize("missing", ["redis_ca", "redis_certificate"])
def test_neither_an_unknown_server_nor_an_unknown_client_is_let_in(
    make_site: Callable[..., Site], server: TlsRedisServer, missing: str
) -> None:
    files = files_of(server)
    for name in {missing, f"{missing}_key"} & files.keys():
        del files[name]
    site = make_site(workers=0, redis=server, settings=files)
    with connect_redis(site.settings, patient=False) as client, pytest.raises(redis.ConnectionError):
        client.ping()
