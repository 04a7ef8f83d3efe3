"""Boot steps: what a worker's main process runs beside Celery's own parts: wake-ups, sign of life, intake, metrics."""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps, signals
from celery.worker import state
from typing_extensions import override

from configdrive.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tasks.wakeup import Pass

_log = logging.getLogger(__name__)
_SIGN_OF_LIFE_SECONDS = 5.0
_HANDED_OVER_SECONDS = 3.0


def install(  # noqa: PLR0913 - all by name, in the one place that installs
    app: Celery,
    *,
    wake_due: Callable[[], Pass],
    wakeup_seconds: float,
    served: Collection[str],
    health_file: Path | None,
    require: Callable[[], object] = lambda: None,
    ingest: Callable[[threading.Event], None] | None = None,
    sweep_storage: Callable[[threading.Event], None] | None = None,
    fill_drives: Callable[[threading.Event], None] | None = None,
    serve_metrics: Callable[[], None] | None = None,
) -> None:
    """Add the look for wake-ups, the sign of life, the ingester and the metrics' endpoint to every worker of this app.

    `require` raises `PermanentError` when the worker must end: it is called before the first message is taken, and then
    every few seconds, as Redis may have been away at the start, or may be another one by now.

    The first two hang on the timer of Celery's main loop: when that loop hangs, the health file grows old. The others
    begin when the pool is there: the ingester in a thread that uses nothing which a child of the pool uses as well.
    """
    if ingest is not None:
        app.steps["worker"].add(_thread_behind_the_pool("Intake", ingest))
    if sweep_storage is not None:
        app.steps["worker"].add(_thread_behind_the_pool("StorageSweep", sweep_storage))
    if fill_drives is not None:
        app.steps["worker"].add(_thread_behind_the_pool("Drives", fill_drives))
    if serve_metrics is not None:
        app.steps["worker"].add(_behind_the_pool("Metrics", serve_metrics))
    app.steps["worker"].add(_periodic("Wakeups", wakeup_seconds, partial(_wake_quietly, wake_due)))
    end = partial(_end_unless, require)
    signals.worker_ready.connect(lambda **_named: end(None), weak=False)
    app.steps["worker"].add(_periodic("Requirements", _SIGN_OF_LIFE_SECONDS, end))
    if health_file is not None:
        health_file.touch()
        sign = partial(_give_sign_of_life, health_file, served)
        app.steps["worker"].add(_periodic("SignOfLife", _SIGN_OF_LIFE_SECONDS, sign))


def _periodic(name: str, seconds: float, job: Callable[[Any], None]) -> type[bootsteps.StartStopStep]:
    class Periodic(bootsteps.StartStopStep):
        """Calls a job with the worker at its interval, on the worker's timer."""

        requires: tuple[type[bootsteps.Step] | str, ...] = ("celery.worker.components:Timer",)

        def __init__(self, parent: object, **options: object) -> None:
            super().__init__(parent, **options)
            self._entry: Any = None

        @override
        def start(self, parent: Any) -> None:
            self._entry = parent.timer.call_repeatedly(seconds, job, (parent,))

        @override
        def stop(self, parent: Any) -> None:
            if self._entry is not None:
                self._entry.cancel()

    Periodic.name = f"configdrive.{name}"
    return Periodic


def _behind_the_pool(name: str, job: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    class BehindThePool(bootsteps.StartStopStep):
        """Calls a job once the pool is there."""

        requires: tuple[type[bootsteps.Step] | str, ...] = ("celery.worker.components:Pool",)

        @override
        def start(self, parent: Any) -> None:
            job()

    BehindThePool.name = f"configdrive.{name}"
    return BehindThePool


def _thread_behind_the_pool(name: str, job: Callable[[threading.Event], None]) -> type[bootsteps.StartStopStep]:
    class ThreadBehindThePool(bootsteps.StartStopStep):
        """Has a thread do a job from when the pool is there until the worker is asked to end."""

        requires: tuple[type[bootsteps.Step] | str, ...] = ("celery.worker.components:Pool",)

        def __init__(self, parent: object, **options: object) -> None:
            super().__init__(parent, **options)
            self._ended = threading.Event()
            self._thread: threading.Thread | None = None

        @override
        def start(self, parent: Any) -> None:
            self._thread = threading.Thread(target=job, args=(self._ended,), name=name, daemon=True)
            self._thread.start()

        @override
        def stop(self, parent: Any) -> None:
            self._ended.set()
            if self._thread is not None:
                self._thread.join(_HANDED_OVER_SECONDS)

        terminate = stop

    ThreadBehindThePool.name = f"configdrive.{name}"
    return ThreadBehindThePool


def _give_sign_of_life(health_file: Path, served: Collection[str], worker: Any) -> None:  # noqa: ANN401 - Celery's
    """Touch the file, unless the worker is connected and yet takes from one of its queues no more."""
    consumer = worker.consumer
    connected = consumer is not None and consumer.blueprint.started == len(consumer.steps)
    deaf = [name for name in served if connected and not consumer.task_consumer.consuming_from(name)]
    if deaf:
        _log.error("takes nothing from %s: no sign of life", ", ".join(deaf))
    else:
        health_file.touch()


def _end_unless(require: Callable[[], object], _worker: object) -> None:
    """Have the worker end with 78 (`EX_CONFIG`), as at its start, when what it needs is not so."""
    try:
        require()
    except PermanentError as error:
        _log.error("%s: %s. Remedy: %s", error.code, error.detail, error.remedy)
        state.should_stop = os.EX_CONFIG  # type: ignore[assignment]  # Celery's stubs know None only
    except Exception as error:  # noqa: BLE001 - Redis may be away; the next look tries again
        _log.debug("not known whether all is as it must be: %s", type(error).__name__)


def _wake_quietly(wake_due: Callable[[], Pass], _worker: object) -> None:
    try:
        sent = wake_due()
    except Exception as error:  # noqa: BLE001 - Redis may be away; the next pass tries again
        _log.warning("no look for wake-ups: %s", type(error).__name__)
    else:
        if sent.wakeups:
            _log.info("sent %d wake-ups", len(sent.wakeups))
