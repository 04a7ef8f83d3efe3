"""The pool of threads: Celery's own, which tells the worker's loop that a thread is free again.

The loop takes a message when there is a thread for it (`worker_disable_prefetch`), and looks at each of its turns. It
reads a child's result itself; a thread ends beside it, and it slept on until its next timer: up to a tenth of a second,
in which the whole pool may have had nothing to do (Celery 5.7.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.concurrency.thread import TaskPool
from typing_extensions import override

if TYPE_CHECKING:
    from kombu.asynchronous import Hub

NAME = "workers.queueing.thread_pool:ThreadPool"
"""As Celery takes a pool's class."""


class ThreadPool(TaskPool):
    """Threads whose ends wake the worker's loop."""

    _loop: Hub | None = None

    @override
    def register_with_event_loop(self, loop: Hub) -> None:
        self._loop = loop

    @override
    def on_apply(self, *arguments: Any, **named: Any) -> Any:
        result = super().on_apply(*arguments, **named)
        result.f.add_done_callback(self._wake)
        return result

    def _wake(self, _ended: object) -> None:
        if self._loop is not None:
            self._loop.call_soon(_nothing)


def _nothing() -> None:
    """Be called by the loop, which looks for messages then."""
