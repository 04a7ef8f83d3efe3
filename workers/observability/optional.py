"""The extras `metrics` and `otel`: opened when the settings ask for them, and named when they are not installed."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from celery import signals

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HypervisorName
from configdrive.ports import Drivers
from workers.config.extras import how_to_install
from workers.config.hypervisors import queues
from workers.config.settings import Settings
from workers.observability.observers import WorkObserver

if TYPE_CHECKING:
    from workers.observability.metrics_server import AdapterMetrics, GateMetrics, SweeperMetrics, WorkerMetrics


class _Closing(Protocol):
    def close(self) -> None: ...


_Metrics = TypeVar("_Metrics", bound=_Closing)


def open_worker_metrics(settings: Settings, hypervisor: HypervisorName, served: Sequence[str]) -> WorkerMetrics | None:
    """Return a worker's metrics, when they are asked for; they end with this process.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """

    def make(extra: Any) -> WorkerMetrics:  # noqa: ANN401 - the module
        metrics: WorkerMetrics = extra.WorkerMetrics(settings, hypervisor, served)
        # A child that takes the place of one that died: see WorkMetrics.forget_work.
        signals.worker_process_init.connect(lambda **_named: metrics.watcher.forget_work(), weak=False)
        return metrics

    return _opened(settings, make)


def open_sweeper_metrics(settings: Settings) -> SweeperMetrics | None:
    """Return the storage sweeper's metrics; else as a worker's."""
    return _opened(settings, lambda extra: extra.SweeperMetrics(settings, queues(settings)))


def open_adapter_metrics(settings: Settings, entry_point: str, results: Sequence[str]) -> AdapterMetrics | None:
    """Return the metrics of an adapter for CloudStack; else as a worker's."""
    return _opened(settings, lambda extra: extra.AdapterMetrics(settings, entry_point, results))


def open_gate_metrics(settings: Settings, verdicts: Sequence[str]) -> GateMetrics | None:
    """Return the metrics of a gate for CloudStack's hosts; else as a worker's."""
    return _opened(settings, lambda extra: extra.GateMetrics(settings, verdicts))


def count_connections(metrics: WorkerMetrics, drivers: Callable[[], Drivers]) -> None:
    """Have a process's connections counted after each of its tasks.

    Args:
        metrics: where.
        drivers: those that the process uses, none as long as it has none.
    """

    def count(**_named: object) -> None:
        for name, driver in drivers().items():
            metrics.watcher.connected(name, driver.connections())

    signals.task_postrun.connect(count, weak=False)


def open_tracing(settings: Settings) -> list[WorkObserver]:
    """Return what makes spans, when they are asked for.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.traces_url is None:
        return []
    try:
        from workers.observability.tracing import TracingObserver, make_provider  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise _lacking("traces_url", error, "otel") from None
    return [TracingObserver(make_provider(settings.traces_url))]


def _opened(settings: Settings, make: Callable[[Any], _Metrics]) -> _Metrics | None:
    if settings.metrics_port is None:
        return None
    try:
        from workers.observability import metrics_server  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise _lacking("metrics_port", error, "metrics") from None
    metrics = make(metrics_server)
    atexit.register(metrics.close)
    return metrics


def _lacking(setting: str, error: ImportError, extra: str) -> PermanentError:
    detail = f"{setting}: needs the module {error.name!r}, which is not installed"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, how_to_install(extra))
