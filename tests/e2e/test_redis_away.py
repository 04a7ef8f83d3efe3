"""Redis goes away, or hangs, in the middle of a stream of events: everybody waits for it, and nothing is lost."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
from typing_extensions import override

from configdrive.client.replication import NotReplicatedError
from configdrive.contract.outcome import Status
from rigs.process import wait_until
from rigs.redis import RedisServer
from tests.e2e.site import QUICK, Site, new_vm

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.client.postings import Receipt
    from configdrive.model import EventKey
    from rigs.cloud import VmScript


class Stream(threading.Thread):
    """Publishes starts and stops of some VMs, one event after the other, until it is told to end."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._ended = threading.Event()
        self.vms: list[VmScript] = [new_vm() for _ in range(8)]
        self.published: dict[VmScript, list[EventKey]] = {vm: [] for vm in self.vms}
        self.error: Exception | None = None

    @property
    def count(self) -> int:
        return sum(len(ids) for ids in self.published.values())

    @override
    def run(self) -> None:
        number = 0
        try:
            while not self._ended.wait(0.05):
                for vm in self.vms:
                    event = vm.event("start" if number % 2 == 0 else "stop")
                    self.published[vm].append(self._publish(event))
                number += 1
        except Exception as error:  # noqa: BLE001  # handed to the test
            self.error = error

    def _publish(self, event: dict[str, Any]) -> EventKey:
        try:
            receipt = self._site.publisher.publish(event)
        except (NotReplicatedError, redis.ConnectionError):
            # A master that has just become one, or none for longer than a client tries, on a machine that is busy.
            return self._publish_again(event)
        assert receipt.accepted  # asked again after a lost reply, it is no duplicate of itself
        return receipt.key

    def _publish_again(self, event: dict[str, Any]) -> EventKey:
        """Do what the error asks for: the same event, which is not doubled if it was stored."""

        def stored() -> Receipt | None:
            with suppress(NotReplicatedError, redis.ConnectionError):
                return self._site.publisher.publish(event)
            return None

        return wait_until(stored, "the event to be stored", timeout=60, interval=0.5).key

    def wait_for(self, count: int) -> None:
        """Wait until so many were published, or publishing failed."""
        wait_until(lambda: self.error or self.count >= count, f"{count} events to be published", timeout=30)

    def end(self) -> None:
        self._ended.set()
        self.join(300)


def stop_and_start(server: RedisServer) -> None:
    server.restart()


def kill_and_start(server: RedisServer) -> None:
    server.kill()
    time.sleep(0.5)
    server.start()


def freeze(server: RedisServer) -> None:
    server.pause()
    time.sleep(3)
    server.resume()


def test_stream_goes_on_after_each_trouble(
    make_site: Callable[..., Site], tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    # Redis' own default may lose up to two seconds of answered writes in a kill; "always" is what docs recommend.
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="always")
    with server:
        site = make_site(workers=2, redis=server, settings={**QUICK, "unclassified_attempts": 20})
        site.start()
        pids = [worker.pid for worker in site.workers]
        stream = Stream(site)
        stream.start()
        report = []
        for trouble in (stop_and_start, kill_and_start, freeze):
            stream.wait_for(stream.count + 20)
            trouble(server)
            begun = time.monotonic()
            mark = new_vm()
            assert site.outcome(mark.event("start"), timeout=40).status is Status.APPLIED
            report.append(f"{trouble.__name__} {time.monotonic() - begun:.1f} s")
        time.sleep(0.5)
        stream.end()
        assert stream.error is None
        outcomes = site.require_all_done(stream.published)
        assert [worker.pid for worker in site.workers if worker.running] == pids  # they reconnected by themselves

        with capsys.disabled():
            sys.stdout.write(
                f"\n[measured] an event after Redis came back: {', '.join(report)}; {len(outcomes)} events, none lost\n"
            )
        site.stop()
