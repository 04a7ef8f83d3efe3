"""The Celery app: its settings and queues. Every value that is not Celery's default has its reason in docs/adr/0003."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu import Queue

from configdrive.client.connection import endpoint_of, sentinel_options, tls_options

if TYPE_CHECKING:
    from collections.abc import Collection

    from tasks.mailbox import DeadLetters
    from workers.config.settings import Settings

GRACE_SECONDS = 35.0
"""What a task may still take after its soft time limit, to write down what became of it."""


def make_app(
    settings: Settings,
    served: Collection[str] = (),
    dead_letters: DeadLetters | None = None,
) -> Celery:
    """Return a Celery app for this fleet.

    Args:
        settings: the fleet's.
        served: the queues that a worker takes from.
        dead_letters: where a worker puts what lies in these queues and is no wake-up.
    """
    app = Celery("configdrive", set_as_current=bool(served))
    app.conf.update(_configuration(settings))
    app.conf.task_queues = [Queue(name, routing_key=name) for name in served]
    if dead_letters is not None:
        from workers.queueing.transport import NAME, guarded  # noqa: PLC0415 - only workers need it

        guarded(served, dead_letters, sentinel=bool(endpoint_of(settings).nodes))
        app.events.dispatcher_cls = "workers.queueing.task_events:BatchedDispatcher"
        app.conf.update(broker_transport=NAME, broker_url=broker_url(settings, unix=NAME))
    return app


def _configuration(settings: Settings) -> dict[str, Any]:
    endpoint = endpoint_of(settings)
    return {
        "broker_url": broker_url(settings),
        "broker_use_ssl": tls_options(settings) if endpoint.tls else None,
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "task_soft_time_limit": settings.task_seconds,
        "task_time_limit": settings.task_seconds + GRACE_SECONDS,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": True,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "global_keyprefix": settings.key_prefix,
            **_sentinel(settings),
        },
    }


def _sentinel(settings: Settings) -> dict[str, Any]:
    endpoint = endpoint_of(settings)
    if not endpoint.nodes:
        return {}
    return {"master_name": endpoint.master, "sentinel_kwargs": sentinel_options(settings, endpoint, 2.0)}


def broker_url(settings: Settings, *, unix: str = "redis") -> str:
    """Return the broker's URL in the form that kombu knows; `unix` is the transport for a Unix socket."""
    endpoint = endpoint_of(settings)
    if endpoint.nodes:
        return endpoint.sentinel_urls
    if endpoint.url.startswith("unix:"):
        return f"{unix}+socket://" + endpoint.url.removeprefix("unix://")
    return endpoint.url
