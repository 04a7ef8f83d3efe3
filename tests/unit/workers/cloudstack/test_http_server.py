"""The server of the gate and of webhooks: who waits when it is asked to end gets an answer."""

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus

from typing_extensions import override

from rigs.process import LOOPBACK, free_port, wait_until
from workers.cloudstack import http_server
from workers.cloudstack.retrying import Life

SECONDS = 60.0


class Held(http_server.Posted):
    """Answers once it may."""

    most = 10

    @override
    def initialize(self, begun: threading.Event, may: threading.Event, threads: ThreadPoolExecutor) -> None:
        self._begun, self._may, self._threads = begun, may, threads

    @override
    async def post(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        self._begun.set()
        await self.in_thread(self._threads, self._may.wait, SECONDS)
        self.answer(HTTPStatus.OK)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def test_a_call_in_work_is_answered_though_the_server_is_to_end_and_then_it_ends() -> None:
    begun, may, ended, port = threading.Event(), threading.Event(), threading.Event(), free_port()
    threads = ThreadPoolExecutor(1)
    server = threading.Thread(
        target=http_server.serve,
        args=([("/", Held, {"begun": begun, "may": may, "threads": threads})],),
        kwargs={
            "name": "test", "address": LOOPBACK, "port": port, "certificate": None, "life": Life(ended),
            "threads": threads, "grace_seconds": SECONDS,
        },
    )  # fmt: skip
    server.start()
    wait_until(lambda: is_listening(port), "the server", timeout=SECONDS)
    idle, caller = (http.client.HTTPConnection(LOOPBACK, port, timeout=SECONDS) for _ in range(2))
    with closing(idle), closing(caller):
        idle.connect()
        caller.request("POST", "/", b"x")
        assert begun.wait(SECONDS)
        ended.set()
        wait_until(lambda: not is_listening(port), "its end", timeout=SECONDS)
        may.set()
        assert caller.getresponse().read() == b"OK\n"
        server.join(SECONDS)
    assert not server.is_alive()
