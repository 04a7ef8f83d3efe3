"""The Celery app's settings: each that is not Celery's default, with the value that was measured (docs/adr/0003)."""

from __future__ import annotations

from workers.config.settings import Settings
from workers.queueing.app import make_app

MEASURED = {
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "task_ignore_result": True,
    "result_backend": None,
    "task_create_missing_queues": False,
    "accept_content": ["json"],
    "task_serializer": "json",
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "task_soft_time_limit": 300.0,
    "task_time_limit": 335.0,
}


def test_a_wake_up_is_disposable_and_a_worker_outlives_redis() -> None:
    conf = make_app(Settings(key_prefix="mine:")).conf
    assert {name: conf[name] for name in MEASURED} == MEASURED
    options = conf.broker_transport_options
    assert [options[name] for name in ("socket_timeout", "health_check_interval", "global_keyprefix")] == [
        10,
        5,
        "mine:",
    ]
