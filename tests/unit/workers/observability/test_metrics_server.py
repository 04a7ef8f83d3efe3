"""The metrics' endpoint, and clients that take their time: none keeps a thread, and they are not many."""

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rigs.process import wait_until

prometheus_client = pytest.importorskip("prometheus_client")

from workers.observability import metrics_server  # noqa: E402 - needs that extra

LIMIT = 0.5


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[metrics_server.MetricsEndpoint]:
    monkeypatch.setattr(metrics_server, "_CLIENT_SECONDS", LIMIT)
    endpoint = metrics_server.MetricsEndpoint("127.0.0.1", 0, prometheus_client.CollectorRegistry())
    endpoint.start()
    yield endpoint
    endpoint.close()


def scraped(endpoint: metrics_server.MetricsEndpoint) -> bool:
    with urllib.request.urlopen(endpoint.url, timeout=600) as answer:  # noqa: S310 - our own loopback address
        return bool(answer.status == 200)


def dribble(client: socket.socket) -> None:
    """Send bytes, each of which comes within the limit that a read has."""
    for _ in range(1000):
        client.sendall(b"G")
        time.sleep(LIMIT / 20)


def test_who_dribbles_is_cut_off(endpoint: metrics_server.MetricsEndpoint) -> None:
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", endpoint.port)) as client:
        client.settimeout(10)
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            dribble(client)
    wait_until(lambda: not set(threading.enumerate()) - before, "its threads to end", timeout=100)
    assert scraped(endpoint)


def test_more_than_some_at_once_are_turned_away(endpoint: metrics_server.MetricsEndpoint) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), timeout=600)) for _ in range(17)
        ]
        assert clients[-1].recv(1) == b""
    wait_until(lambda: scraped(endpoint), "the others to be gone", timeout=100)
