"""What is sent to workers by Celery's remote control: questions are answered, and nothing else is done."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from configdrive.contract.outcome import Status
from tests.e2e.site import Site, new_vm
from workers.queueing.app import make_app
from workers.queueing.remote_control import QUESTIONS

COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "pool_shrink": {"n": 10},
    "cancel_consumer": {"queue": "configdrive.simulated"},
    "rate_limit": {"task_name": "configdrive.lifecycle", "rate_limit": "1/h"},
    "time_limit": {"task_name": "configdrive.lifecycle", "soft": 0.001, "hard": 0.001},
}


@pytest.fixture
def app(site: Site) -> Celery:
    """An app as whoever may write to Redis makes one."""
    return make_app(site.settings)


def test_a_worker_does_nothing_that_is_asked_of_it_and_answers_questions(site: Site, app: Celery) -> None:
    vm = new_vm()
    event = vm.event("start")
    app.control.broadcast("revoke", arguments={"task_id": event["id"], "terminate": True})
    app.control.broadcast("hello", arguments={"from_node": "x@y", "revoked": {event["id"]: 1.0}})
    for command, arguments in COMMANDS.items():
        app.control.broadcast(command, arguments=arguments)
    answers = app.control.ping(timeout=5)
    assert answers, "the worker is there, and has taken all that came before"
    assert site.outcome(event).status is Status.APPLIED


def test_a_worker_knows_the_questions_only() -> None:
    program = (
        "from workers.queueing.remote_control import restrict_to_questions as r; r(); r();"
        "from celery.worker.control import Panel; print(*sorted(Panel.data)); print(*sorted(Panel.meta))"
    )
    lines = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    assert [set(line.split()) for line in lines[:2]] == [QUESTIONS, QUESTIONS]
