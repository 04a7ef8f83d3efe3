from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from rigs.redis import RedisServer
from tests.integration.rigs.conftest import gone
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with require_rig():
        server = RedisServer(tmp_path / "redis")
    with server:
        yield server


def test_what_was_written_outlives_a_restart_and_a_kill(server: RedisServer) -> None:
    with server.client() as client:
        client.set("event", "1")
    server.restart()
    with server.client() as client:
        assert client.get("event") == b"1"
        client.set("event", "2")
    server.kill()
    assert not server.running
    server.start()
    with server.client(decode_responses=True) as client:
        assert client.get("event") == "2"


def test_without_the_append_only_file_a_restart_forgets(tmp_path: Path) -> None:
    with require_rig():
        server = RedisServer(tmp_path / "redis", appendonly=False)
    with server:
        with server.client() as client:
            client.set("event", "1")
        server.restart()
        with server.client() as client:
            assert client.get("event") is None


def test_it_is_set_up_as_a_broker(server: RedisServer) -> None:
    with server.client(decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_a_paused_server_hangs_and_goes_on(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        assert client.ping()
        server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_it_dies_with_the_process_that_started_it(tmp_path: Path, killed_after: Callable[..., list[int]]) -> None:
    with require_rig():
        RedisServer(tmp_path)
    script = """
import pathlib, sys, threading, time
from rigs.redis import RedisServer
server = RedisServer(pathlib.Path(sys.argv[1]))
starter = threading.Thread(target=server.start)  # its end alone must not end the server
starter.start(); starter.join(); time.sleep(0.1)
print(server.pid if server.running else "ended with the thread", end="\\n\\n", flush=True)
time.sleep(60)
"""
    [pid] = killed_after(script, str(tmp_path / "redis"))
    wait_until(lambda: gone(pid), "the server's end", timeout=5)
