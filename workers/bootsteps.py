"""What runs in a worker's main process beside Celery's own parts: the sweeper and the sign of life."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from typing_extensions import override

_log = logging.getLogger(__name__)
_SIGN_OF_LIFE_SECONDS = 5.0


def install(app: Celery, *, sweep: Callable[[], int], sweep_seconds: float, health_file: Path | None) -> None:
    """Add the sweeper and the sign of life to every worker of this app.

    Both hang on the timer of Celery's main loop: when that loop hangs, the health file grows old.
    """

    def sweep_quietly() -> None:
        try:
            sent = sweep()
        except Exception as error:  # noqa: BLE001 - Redis may be away; the next pass tries again
            _log.warning("sweep failed: %s", type(error).__name__)
        else:
            if sent:
                _log.info("sweeper sent %d wake-ups", sent)

    def touch() -> None:
        if health_file is not None:
            health_file.touch()

    jobs: Sequence[tuple[float, Callable[[], None]]] = (
        (sweep_seconds, sweep_quietly),
        *(((_SIGN_OF_LIFE_SECONDS, touch),) if health_file is not None else ()),
    )

    class Periodic(bootsteps.StartStopStep):
        """Calls the jobs at their intervals, on the worker's timer."""

        requires: tuple[type[bootsteps.Step] | str, ...] = ("celery.worker.components:Timer",)

        def __init__(self, parent: object, **options: object) -> None:
            super().__init__(parent, **options)
            self._entries: list[Any] = []

        @override
        def start(self, parent: Any) -> None:
            touch()
            self._entries = [parent.timer.call_repeatedly(seconds, job) for seconds, job in jobs]

        @override
        def stop(self, parent: Any) -> None:
            for entry in self._entries:
                entry.cancel()

    app.steps["worker"].add(Periodic)
