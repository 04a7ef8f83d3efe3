"""Celery's events: those of tasks sent together, ten times a second, and none for which the worker's loop waits."""

from __future__ import annotations

from typing import Any, Final

from celery.events.dispatcher import EventDispatcher
from kombu.asynchronous import get_event_loop
from typing_extensions import override

_PAUSE_SECONDS: Final = 0.1
_AT_ONCE: Final = 100


class BatchedDispatcher(EventDispatcher):
    """Keeps task events for a moment: Celery sends them at each turn of its loop, a sixth of a worker's work.

    A heartbeat that Celery tries to send as Redis goes away, it sends again and again until Redis is back (5.7.0), in
    the loop itself: it notices no broken connection meanwhile, says nothing, and does not end. Here it is kept, and
    goes out when the loop has connected again.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Celery's
        loop = named.pop("on_send_buffered", None) and get_event_loop()  # without a loop nothing is kept
        super().__init__(*arguments, **{**named, "buffer_limit": _AT_ONCE})
        self._timer: Any = loop and loop.call_repeatedly(_PAUSE_SECONDS, self._send_kept)

    @override
    def send(self, type: str, *arguments: Any, **named: Any) -> Any:
        if type == "worker-offline":  # the last one
            self._send_kept()
        return super().send(type, *arguments, **{**named, "retry": False})

    @override
    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        super().close()

    def _send_kept(self) -> None:
        kept: dict[str, list[Any]] = self._group_buffer  # type: ignore[attr-defined]  # not in Celery's stubs
        if any(kept.values()):
            self.flush(errors=False)
