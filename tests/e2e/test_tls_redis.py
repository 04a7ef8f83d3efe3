"""A Redis that speaks TLS only and asks for a client's certificate: publisher, workers and command line."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import redis

from configdrive.outcome import Status
from tests.e2e.site import QUICK, new_vm
from tests.rigs.certificates import Certificates
from tests.rigs.process import LOOPBACK
from tests.rigs.redis import TlsRedisServer
from tests.rigs.worker import CONFIGDRIVE
from tests.support import require_rig
from workers.access import connect_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.site import Site


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedisServer]:
    directory = tmp_path_factory.mktemp("tls-redis")
    certificates = Certificates.make(directory / "pki", "redis.example")
    with require_rig():
        server = TlsRedisServer(directory / "redis", certificates)
    with server:
        yield server


def files_of(server: TlsRedisServer) -> dict[str, object]:
    pki = server.certificates.directory
    return {
        "redis_ca": pki / "cacert.pem",
        "redis_certificate": pki / "clientcert.pem",
        "redis_certificate_key": pki / "clientkey.pem",
    }


def test_events_go_through_tls(make_site: Callable[..., Site], server: TlsRedisServer) -> None:
    site = make_site(workers=1, redis=server, settings={**QUICK, **files_of(server)})
    site.start()
    vm = new_vm()
    assert site.outcome(vm.event("start")).status is Status.APPLIED
    ids = site.publish(*[new_vm().event("start") for _ in range(20)])
    assert {outcomes[-1].status for outcomes in site.outcomes(ids).values()} == {Status.APPLIED}
    answer = subprocess.run(  # noqa: PLW1510 - the exit code is 1: see below
        [CONFIGDRIVE, "doctor"], capture_output=True, text=True, timeout=60, env=site.environment
    )
    assert f"OK    redis {LOOPBACK}:{server.port}: answers" in answer.stdout
    assert "OK    worker worker-1@" in answer.stdout
    assert "FAIL" not in answer.stdout
    assert "insecure SSL" not in site.log


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
