"""Wake-ups with Celery itself: their form, how many there are in a storm, and what becomes of one that is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.model import EventKey
from rigs.process import wait_until
from rigs.redis import RedisServer
from tasks.wakeup import LEFTOVERS_NAME
from tests.e2e.site import QUICK, Site, new_vm
from tests.mailboxes import QUEUE, Store, posting
from tests.mailboxes import new_vm as new_uuid
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

RESEND = 0.5

# Celery and kombu as they come, with the tasks' names and none of our code.
STOCK_WORKER = f"""
import json, sys
from celery import Celery
url, prefix, queue = sys.argv[1:]
app = Celery("stock", broker=url)
app.conf.update(
    broker_transport_options={{"global_keyprefix": prefix}}, task_ignore_result=True, accept_content=["json"],
    worker_hijack_root_logger=False, worker_redirect_stdouts=False, task_default_queue=queue,
)

def say(task, *arguments, **named):
    request = task.request
    print(json.dumps([task.name, request.id, arguments, named, request.retries, request.argsrepr]), flush=True)

for name in ("configdrive.start", "{LEFTOVERS_NAME}"):
    app.task(name=name, bind=True)(say)
app.Worker(pool_cls="solo", queues=[queue], without_gossip=True, without_mingle=True, quiet=True).start()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with require_rig():
        server = RedisServer(tmp_path / "redis")
    with server:
        yield server


def test_a_stock_celery_worker_takes_what_the_scripts_push(server: RedisServer) -> None:
    """The form that `configdrive/client/lua/common.lua` writes is that of the pinned kombu and Celery."""
    with server.client() as client:
        store = Store(client)
        header = store.put(new_uuid())
        store.client.zadd(store.key("left", QUEUE), {f"{new_uuid()} host-1": 0})
        store.mailbox.ask_hosts(QUEUE, 30)
        with subprocess.Popen(
            [sys.executable, "-c", STOCK_WORKER, server.url, store.prefix, QUEUE], stdout=subprocess.PIPE, text=True
        ) as worker:
            try:
                assert worker.stdout is not None
                wakeup, question = (json.loads(worker.stdout.readline()) for _ in range(2))
                unacked = f"{store.prefix}unacked"
                wait_until(lambda: not client.exists(unacked), "both to be acknowledged", timeout=10)
            finally:
                worker.terminate()
        shown = f"('start', '{header.vm_uuid}', 1)"
        assert wakeup == ["configdrive.start", header.key, ["start", header.vm_uuid, 1, 1], {}, 0, shown]
        assert question[0] == LEFTOVERS_NAME
        assert question[2:] == [["host-1", 2], {}, 0, "('host-1')"]


@dataclass
class Watch:
    """Looks again and again at how many messages and waiting VMs there are."""

    client: Redis
    prefix: str
    seen: list[tuple[int, int]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self.ended.wait(0.02):
            with self.client.pipeline() as pipeline:  # one moment
                pipeline.llen(f"{self.prefix}{QUEUE}")
                for key in ("due", "wakeups"):
                    pipeline.zcard(f"{self.prefix}{key}:{QUEUE}")
                messages, in_work, waiting = pipeline.execute()
            self.seen.append((messages, in_work + waiting))

    @property
    def excess(self) -> int:
        """By how many the messages were more than the VMs with events, at the worst moment."""
        return max(messages - vms for messages, vms in self.seen)


def storm(site: Site, seconds: float, vms: int) -> tuple[Watch, list[EventKey]]:
    """Publish a start for many VMs, more than the workers can do within some resend times, and watch."""
    with site.redis.client() as client:
        watch = Watch(client, site.settings.key_prefix)
        thread = threading.Thread(target=watch.look)
        thread.start()
        try:
            events = [new_vm().event("start") for _ in range(vms)]
            receipts = site.publisher.publish_many(events)
            site.outcomes([receipt.key for receipt in receipts], timeout=seconds)
        finally:
            watch.ended.set()
            thread.join()
    return watch, [receipt.key for receipt in receipts]


def test_a_storm_breeds_no_wake_ups_and_leaves_none(make_site: Callable[..., Site]) -> None:
    """A minute's backlog, many resend times: before, the list grew to several times the VMs that wait."""
    site = make_site(settings={"resend_seconds": 1.0, "concurrency": 8}, latency_ms=100)
    site.start()
    began = time.monotonic()
    watch, events = storm(site, 300, 1200)
    assert time.monotonic() - began > 40, "the last of them waited for many resend times"
    assert len(watch.seen) > 100
    assert watch.excess <= 40
    with site.redis.client() as client:
        counts: Any = client.hgetall(f"{site.settings.key_prefix}queue:{QUEUE}")
        assert client.llen(f"{site.settings.key_prefix}{QUEUE}") == 0, "a fresh VM finds nobody before it"
    again = int(counts[b"sent"]) - len(events)
    assert again <= len(events) * 0.05, f"{again} wake-ups were sent again"


def test_without_a_worker_the_list_does_not_grow(server: RedisServer) -> None:
    """A day in short: 1,000 VMs, and a look for wake-ups at every half of the resend time."""
    with server.client() as client:
        store = Store(client)
        store.mailbox.put_many([posting(new_uuid()) for _ in range(1000)])
        for _ in range(2000):
            store.age_queue(RESEND)
            store.due_now()
        assert len(store.messages()) == 1000
        assert store.mailbox.pending() == {QUEUE: 1000}


def test_what_a_killed_worker_had_taken_and_a_list_that_redis_lost_come_again(make_site: Callable[..., Site]) -> None:
    site = make_site(workers=1, settings=QUICK | {"resend_seconds": RESEND})
    site.redis.start()

    def publish(times: int) -> list[EventKey]:
        return site.publish(*(new_vm().event("start") for _ in range(times)))

    queue = f"{site.settings.key_prefix}{QUEUE}"
    with site.redis.client() as client:
        events = publish(20)
        client.delete(queue)
        events += publish(20)
        for _ in range(10):  # what a worker had popped when it was killed
            assert client.rpop(queue)
    site.start_workers()
    found = site.outcomes(events, timeout=30)
    assert {outcome.status for (outcome,) in found.values()} == {"applied"}
