"""Wake-ups with Celery itself: their form, and how many there are in a storm."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rigs.process import wait_until
from rigs.redis import RedisServer
from tasks.wakeup import LEFTOVERS_NAME
from tests.e2e.site import Site, new_vm
from tests.mailboxes import QUEUE, Store
from tests.mailboxes import new_vm as new_uuid
from tests.support import require_rig

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


def test_a_stock_celery_worker_takes_what_the_scripts_push(tmp_path: Path) -> None:
    """The form that `configdrive/client/lua/common.lua` writes is that of the pinned kombu and Celery."""
    with require_rig():
        server = RedisServer(tmp_path / "redis")
    with server, server.client() as client:
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


def test_a_storm_breeds_no_wake_ups_and_leaves_none(make_site: Callable[..., Site]) -> None:
    """A minute's backlog, many resend times: before, the list grew to several times the VMs that wait."""
    site = make_site(settings={"resend_seconds": 1.0, "concurrency": 8}, latency_ms=100)
    site.start()
    prefix = site.settings.key_prefix
    excess, ended = list[int](), threading.Event()

    def watch() -> None:
        """Look again and again by how many the messages are more than the VMs with events."""
        while not ended.wait(0.02):
            with client.pipeline() as pipeline:  # one moment
                pipeline.llen(f"{prefix}{QUEUE}").zcard(f"{prefix}due:{QUEUE}").zcard(f"{prefix}wakeups:{QUEUE}")
                messages, in_work, waiting = pipeline.execute()
            excess.append(messages - in_work - waiting)

    began = time.monotonic()
    with site.redis.client() as client, ThreadPoolExecutor(1) as watcher:
        watched = watcher.submit(watch)
        try:
            events = site.publish(*(new_vm().event("start") for _ in range(1200)))
            site.outcomes(events, timeout=300)
        finally:
            ended.set()
        watched.result()
        assert time.monotonic() - began > 40, "the last of them waited for many resend times"
        assert len(excess) > 100
        assert max(excess) <= 40
        counts: Any = client.hgetall(f"{prefix}queue:{QUEUE}")
        assert client.llen(f"{prefix}{QUEUE}") == 0, "a fresh VM finds nobody before it"
    again = int(counts[b"sent"]) - len(events)
    assert again <= len(events) * 0.05, f"{again} wake-ups were sent again"
