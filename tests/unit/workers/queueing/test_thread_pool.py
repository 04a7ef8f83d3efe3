"""The pool of threads: Celery's loop learns at once that a thread is free."""

import threading
from typing import Any

from kombu.asynchronous import Hub

from workers.queueing.thread_pool import ThreadPool


def test_the_loop_is_woken_when_a_thread_is_free_again_and_not_before() -> None:
    hub, pool, goes_on = Hub(), ThreadPool(limit=1), threading.Event()
    pool.register_with_event_loop(hub)
    done: list[object] = []
    result = pool.on_apply(goes_on.wait, (600,), {}, callback=done.append)
    assert _woken(hub) == 0
    goes_on.set()
    result.wait()
    pool.on_stop()
    assert (done, _woken(hub)) == ([True], 1)
    hub.close()


def _woken(hub: Hub) -> int:
    """Say how many calls wait for the loop's next turn."""
    ready: Any = hub._pop_ready()
    return len(ready)
